"""Tells the database every few seconds that a process is there, and what it counts.

It has a thread of its own, so that a process that computes for long is seen all the while; that a
chunk makes progress is another matter, which `heartbeat` sees to.
"""

import logging
import os
import shutil
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import time
from uuid import UUID, uuid4

import sqlalchemy as sa
from platformdirs import user_cache_path

from aparella import __version__, machine
from aparella.db import workers
from aparella.db.engine import transaction
from aparella.errors import AparellaError
from aparella.workers import figures

VARIABLE = "APARELLA_WORKER"
"""Carries the worker's id to the processes that it starts."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Identity:
    """What a worker or reconciler is, for as long as it runs; it reports every `seconds`."""

    id: UUID
    kind: str
    name: str
    queues: tuple[str, ...] = ()
    processes: int = 1
    threads: int = 1
    seconds: float = 5.0

    @classmethod
    def make(cls, kind: str, name: str, **more: object) -> "Identity":
        """One that begins now, called `name` on this host."""
        return cls(uuid4(), kind, f"{name}@{socket.gethostname()}", **more)  # type: ignore[arg-type]

    def report(self) -> workers.Report:
        """How it is now."""
        return workers.Report(
            id=self.id,
            kind=self.kind,
            name=self.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            queues=list(self.queues),
            processes=self.processes,
            threads=self.threads,
            version=__version__,
            beat_seconds=self.seconds,
            clock=time(),
            memory_bytes=machine.memory_used(),
            disk_free_bytes=_free(),
        )


class Presence:
    """Reports now and every few seconds, until it is stopped. The first report is not waited for.

    Args:
        db: an engine of this process.
        report: writes what is to be told, in a transaction of its own.
        seconds: between two reports.
    """

    def __init__(
        self, db: sa.Engine, report: Callable[[sa.Connection], None], seconds: float
    ) -> None:
        self._db = db
        self._report = report
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, name="presence", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, last: Callable[[sa.Connection], None] | None = None) -> None:
        """End, with a last word if there is one; a database that is away does not hold it up."""
        self._stop.set()
        self._thread.join(timeout=2.0)
        if last is not None:
            self._tell(last)

    def _live(self) -> None:
        while True:
            self._tell(self._report)
            if self._stop.wait(self._seconds):
                return

    def _tell(self, report: Callable[[sa.Connection], None]) -> None:
        try:
            with transaction(self._db) as connection:
                report(connection)
        except AparellaError as error:
            log.warning("this process cannot report itself: %s", error)


def report_process(
    connection: sa.Connection, worker_id: UUID, *, memory_bytes: int | None = None
) -> None:
    """Write what this process has counted so far, and the memory that it holds."""
    workers.report_process(
        connection,
        worker_id,
        os.getpid(),
        memory_bytes=machine.memory_used() if memory_bytes is None else memory_bytes,
        figures=figures.own.snapshot(),
        rates=figures.own.rates(),
    )


def tidy(connection: sa.Connection) -> None:
    """Remove those that are long gone; what they counted stays in the sums."""
    if left := workers.forget(connection):
        workers.keep_past(connection, figures.total([workers.past(connection), *left]))


def _free() -> int | None:
    """Bytes free on the disk that takes this host's copies of models."""
    cache = user_cache_path("aparella")
    try:
        return shutil.disk_usage(next(p for p in (cache, *cache.parents) if p.is_dir())).free
    except OSError:
        return None
