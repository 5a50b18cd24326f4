"""The API under many clients at once that enqueue jobs and follow them, while workers do them.

First at the pace of the Python client's `wait()`, where the 99th percentile of the answers counts;
then without any pause, where nothing may fail but by 429 with `Retry-After`, and the answers per
second may not collapse against a tenth of the clients. `BENCH_CLIENTS` (200) and `BENCH_SECONDS`
(20, of each part) make it smaller or bigger.
"""

import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from secrets import token_urlsafe
from socket import create_server
from statistics import median
from typing import Any, TypeAlias
from uuid import uuid4

from aparella.client.client import LAST_POLL
from aparella.db.jobs import OPEN
from bench._pairs import Figure, compare
from bench._services import Stack, process, stack, variables, workers
from bench.backlog import fill

Address: TypeAlias = tuple[str, int]

CLIENTS = int(os.environ.get("BENCH_CLIENTS", "200"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "20"))
PAIRS = int(os.environ.get("BENCH_PAIRS", "3"))
ROWS = 500
TOKEN = token_urlsafe()
WANTED = json.dumps({"kind": "embed", "collection": "list"})
GOOD, REFUSED = (200, 202), 429
LONGEST = 1.0
"""Seconds within which 99 of 100 answers are wanted at the clients' own pace."""


@dataclass
class Seen:
    """What the clients were answered.

    Attributes:
        seconds: of each answer that was no refusal.
        statuses: how often each status came; -1 for a connection that broke.
        unsaid: 429 without `Retry-After`.
        jobs: those that ended while somebody looked.
    """

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    unsaid: int = 0
    jobs: int = 0

    def add(self, other: "Seen") -> None:
        """Add another client's."""
        self.seconds += other.seconds
        self.statuses += other.statuses
        self.unsaid += other.unsaid
        self.jobs += other.jobs

    @property
    def errors(self) -> int:
        """Answers that were neither what was asked for nor a proper refusal."""
        good = sum(n for status, n in self.statuses.items() if status in (*GOOD, REFUSED))
        return self.statuses.total() - good + self.unsaid

    @property
    def p99(self) -> float:
        """Seconds within which 99 of 100 answers came."""
        return sorted(self.seconds)[len(self.seconds) * 99 // 100]


def run() -> list[Figure]:
    """Errors and the 99th percentile at the clients' pace; answers per second without a pause."""
    settings = {"APARELLA_TOKEN": TOKEN, "APARELLA_ENCODER": "hash"}
    with variables(**settings), stack() as on, workers(on, 1), served(on) as address:
        fill(on.db, ROWS)
        return figures(address, clients=CLIENTS, seconds=SECONDS, pairs=PAIRS)


def figures(address: Address, *, clients: int, seconds: float, pairs: int) -> list[Figure]:
    """The same of an API that is served already, whose workers are there too."""
    paced = crowd(address, clients, seconds, pause=LAST_POLL)
    everybody = [paced]

    def flood(clients: int) -> float:
        everybody.append(crowd(address, clients, seconds, pause=0))
        return len(everybody[-1].seconds) / seconds

    standing = compare(
        f"clients: {clients} without a pause : {clients // 10}",
        lambda: flood(clients),
        lambda: flood(clients // 10),
        unit="answers/s",
        pairs=pairs,
        target=0.8,
    )
    errors = sum(seen.errors for seen in everybody)
    within = paced.p99 / LONGEST
    return [
        # There is no ratio to none: the number itself is what may not exceed it.
        Figure("clients: errors : none", errors, 0, "answers", [errors], 0, False),
        Figure(
            f"clients: 99 % of {clients} clients' answers within : the target",
            *(paced.p99, LONGEST, "s", [within], 1.0, False),
        ),
        standing,
    ]


@contextmanager
def served(on: Stack) -> Iterator[Address]:
    """The API as a process of its own, where it listens."""
    with create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()
    with process(on, "api", "--port", str(address[1])):
        deadline = time.monotonic() + 60
        while ask(HTTPConnection(*address), "GET", "/readyz", Seen()) is None:
            assert time.monotonic() < deadline, "the API is not ready within 60 s"
            time.sleep(0.1)
        yield address


def crowd(address: Address, clients: int, seconds: float, *, pause: float) -> Seen:
    """So many clients for so many seconds, each with a connection of its own."""
    until = time.monotonic() + seconds
    with ThreadPoolExecutor(clients) as pool:
        parts = [pool.submit(follow, address, until, pause) for _ in range(clients)]
    seen = Seen()
    for part in parts:
        seen.add(part.result())
    statuses = ", ".join(f"{n:,} × {status}" for status, n in sorted(seen.statuses.items()))
    print(
        f"bench: {clients} clients, {pause:g} s between two questions: {statuses}; answers within "
        f"{median(seen.seconds) * 1e3:.0f} ms in the median, 99 % within {seen.p99 * 1e3:.0f} ms; "
        f"{seen.jobs:,} jobs followed to their end",
        file=sys.stderr,
        flush=True,
    )
    return seen


def follow(address: Address, until: float, pause: float) -> Seen:
    """One client: it asks for a job, looks at it until it has ended, and asks for the next."""
    seen = Seen()
    connection = HTTPConnection(*address, timeout=60)
    path = None
    # Not all at the same moment: people do not either.
    time.sleep(pause * random.random())
    while time.monotonic() < until:
        if path is None:
            answer = ask(connection, "POST", "/v1/jobs", seen)
        else:
            answer = ask(connection, "GET", path, seen)
        if answer is not None:
            ended = answer["state"] not in OPEN
            seen.jobs += ended
            path = None if ended else f"/v1/jobs/{answer['id']}"
        time.sleep(pause)
    connection.close()
    return seen


def ask(connection: HTTPConnection, method: str, path: str, seen: Seen) -> dict[str, Any] | None:
    """One question; nothing where it was refused or failed."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    if method == "POST":
        headers["Idempotency-Key"] = str(uuid4())
    start = time.perf_counter()
    try:
        connection.request(method, path, WANTED if method == "POST" else None, headers)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, HTTPException):
        connection.close()
        seen.statuses[-1] += 1
        return None
    seen.statuses[answer.status] += 1
    if answer.status == REFUSED:
        seen.unsaid += answer.headers["Retry-After"] is None
    if answer.status not in GOOD:
        return None
    seen.seconds.append(time.perf_counter() - start)
    return dict(json.loads(body))
