"""One long list end to end: uploaded, encoded and matched with a catalogue, a tenth of it first.

`BENCH_LINES` (100,000; docs/scaling.md had 1,000,000) and `BENCH_ROWS` (20,000, the catalogue's;
100,000 there). The encoder is the stand-in, whose vectors are drawn from the text's hash: encoding
is measured by `encode`, and takes however long it takes.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import psutil

from aparella.client import Client
from aparella.client.models import Job
from bench._memory import Peak
from bench._pairs import Figure
from bench._services import Stack, stack, variables, workers
from bench.clients import TOKEN, served

LINES = int(os.environ.get("BENCH_LINES", "100000"))
ROWS = int(os.environ.get("BENCH_ROWS", "20000"))
SCORING = os.environ.get("BENCH_SCORING", "cosine")
PROCESSES = 2
MOST = 1.1
"""Memory of a worker process with all lines over that with a tenth of them."""


def run() -> list[Figure]:
    """The highest memory of a worker process with all lines, against a tenth of them."""
    with (
        variables(APARELLA_ENCODER="hash", APARELLA_TOKEN=TOKEN),
        stack() as on,
        served(on) as (host, port),
        Client(f"http://{host}:{port}", TOKEN) as client,
        workers(on, PROCESSES),
    ):
        _import(client, on.folder, "catalogue", ROWS)
        few = _match(client, on, "tenth", LINES // 10)
        many = _match(client, on, "list", LINES)
    return [
        Figure(
            f"whole: a worker process with {LINES:,} lines : with {LINES // 10:,}",
            *(many, few, "MiB", [many / few], MOST, False),
        )
    ]


def _import(client: Client, folder: Path, name: str, lines: int) -> None:
    """Upload so many lines, all different, and see them in the database."""
    path = folder / f"{name}.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("key,text\n")
        file.writelines(f"{n},{name.upper()} {n} ML ESTERIL\n" for n in range(lines))
    start = time.perf_counter()
    job = client.import_file(name, path, key="key", text=["text"])
    _say(f"{name}: {path.stat().st_size >> 20} MiB uploaded in {time.perf_counter() - start:.1f} s")
    _ended(client, job)


def _match(client: Client, on: Stack, name: str, lines: int) -> float:
    """The highest memory of a worker process, in MiB, while the lines come in and are matched."""
    with _largest() as largest, Peak(on.folder) as servers:
        _import(client, on.folder, name, lines)
        _ended(client, client.match(name, "catalogue", scoring=SCORING))
    _say(f"{name}: a worker process took {largest[0]:.0f} MiB, the servers {servers.mib:.0f} MiB")
    return largest[0]


def _ended(client: Client, job: Job) -> None:
    """Wait for the job's end, and show how long each of its stages took."""
    job = client.wait(job.id, poll=1.0)
    assert job.state == "succeeded", f"job {job.id} {job.state}: {job.error}"
    for stage in job.stages:
        assert stage.started_at is not None
        assert stage.finished_at is not None
        took = (stage.finished_at - stage.started_at).total_seconds()
        _say(f"  {job.kind}, {stage.name}: {stage.done:,} in {took:.1f} s")


@contextmanager
def _largest() -> Iterator[list[float]]:
    """The most memory of its own that one worker process took while the block ran, in MiB."""
    most, over = [0.0], Event()

    def watch() -> None:
        while not over.wait(1.0):
            most[0] = max(most[0], *(own / 2**20 for own in _own()), 0.0)

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


def _own() -> Iterator[int]:
    """Bytes of each process of the worker's pool that it shares with no other (USS)."""
    for process in psutil.Process().children(recursive=True):
        try:
            if "spawn_main" in " ".join(process.cmdline()):
                yield process.memory_full_info().uss
        except psutil.Error:  # it has ended meanwhile
            continue


def _say(line: str) -> None:
    print(f"bench: {line}", file=sys.stderr, flush=True)
