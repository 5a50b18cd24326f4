"""A match job under observation: started, watched to its end, and put into the ledger."""

import csv
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import sleep, strftime, time
from typing import Any

import sqlalchemy as sa

from aparella.errors import AparellaError
from bench.faults import ledger
from bench.faults.faults import query
from bench.faults.journal import Happening
from bench.faults.ledger import Account
from bench.faults.processes import K, Stack, until
from bench.faults.watcher import Watcher


@dataclass(frozen=True)
class Plan:
    """How big a campaign is.

    Attributes:
        lines: rows of the source; a chunk has four.
        records: rows of the catalogue.
        counts: faults by kind.
        pauses: seconds between two, least and most.
        pace: seconds that a chunk takes longer during the storm.
        processes: of each worker.
        poisons: the kinds of poison.
        throughput: seconds of each of the two measurements; 0: none.
        surroundings: whether a host of its own and a small disk are tried.
        freeze: seconds that Redis is frozen.
        patience: seconds that a job may take to end after the last fault.
    """

    lines: int
    records: int
    counts: Mapping[str, int]
    pauses: tuple[float, float]
    pace: float
    processes: Mapping[str, int]
    poisons: tuple[str, ...]
    throughput: float
    surroundings: bool
    freeze: float
    patience: float


@dataclass
class Result:
    """What came of a campaign."""

    happenings: list[Happening] = field(default_factory=list)
    accounts: list[Account] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    """What is wrong besides the ledger."""
    facts: dict[str, Any] = field(default_factory=dict)


def say(words: str) -> None:
    """Show how far it is."""
    print(f"  {strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


def imported(on: Stack, name: str, texts: list[str]) -> int:
    """Import a collection; its id."""
    path = on.folder / f"{name}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["id", "text"])
        out.writerows((f"{name}{i}", text) for i, text in enumerate(texts))
    with on.client() as client:
        job = client.wait(client.import_file(name, path, key="id", text=["text"]).id)
    if job.state != "succeeded":
        raise RuntimeError(f"the import of {name} {job.state}: {job.error}")
    ((number,),) = query(on, "SELECT id FROM collection WHERE name = :name", name=name)
    return int(number)


def forget_vectors(on: Stack) -> None:
    """So that the next job encodes everything again."""
    with on.db.begin() as connection:
        connection.execute(sa.text("TRUNCATE embedding"))


def enqueue(on: Stack, source: str) -> int:
    """Start a match job, however often the API has to be asked."""

    def ask() -> int | None:
        try:
            with on.client() as client:
                return client.match(source, "catalogue", k=K, idempotency_key=key).id
        except AparellaError:
            return None

    key = f"{source} {time()}"
    job = until(ask, 60)
    if job is None:
        raise RuntimeError("the API takes no job")
    return job


def ended(on: Stack, job: int, seconds: float) -> str | None:
    """The state in which a job ends; None if it does not in time."""
    query_ = "SELECT state FROM job WHERE id = :id AND finished_at IS NOT NULL"
    rows = until(lambda: query(on, query_, id=job), seconds, every=0.2)
    return str(rows[0].state) if rows else None


def watched(
    on: Stack, job: int, during: Callable[[], None], seconds: float
) -> tuple[str | None, list[str]]:
    """Do something while a client watches a job, and wait for its end."""
    watcher = Watcher(on.api_url, job)
    watcher.start()
    try:
        during()
        state = ended(on, job, seconds)
        sleep(0.6)
    finally:
        watcher.stop()
    return state, watcher.trouble(state)


def draw_up(
    on: Stack,
    job: int,
    state: str | None,
    source: int,
    calm: int,
    progress: list[str],
    deadly: Mapping[int, str] | None = None,
) -> Account:
    """The account of a job."""
    with on.db.begin() as connection:
        connection.execute(sa.text("SET LOCAL work_mem = '64MB'"))
        return ledger.account(
            connection,
            job,
            state=state,
            source=source,
            k=K,
            calm=calm,
            progress=progress,
            poisoned=deadly,
        )
