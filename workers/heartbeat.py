"""The heartbeat of a leased chunk: keeps the lease, notices its loss, and the job's end.

It beats in a thread of its own on a connection of its own. A hung C call would not stop it, so it
watches the work's progress too: when that stands still for too long it ends the whole process,
whose chunk then goes to another worker.
"""

import logging
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from time import monotonic
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa

from aparella.db import leases
from aparella.db.engine import transaction
from aparella.errors import AparellaError, CancelledError, LeaseLostError, TransientError
from aparella.settings import Settings

log = logging.getLogger(__name__)


class DrainedError(TransientError):
    """This worker is being stopped: the chunk goes back as it was."""

    code = "drained"


_NEWS = 2.0
"""Seconds between two beats of work that says how far it is."""

draining = threading.Event()
"""Set when this process is to hand back what it has in hand."""


class Heartbeat:
    """Keeps a chunk's lease for as long as the block lasts.

    `tick` is what the work calls as a sign of life; it raises when the work is to stop.
    """

    def __init__(self, db: sa.Engine, settings: Settings, chunk: leases.Claimed) -> None:
        self._db = db
        self._settings = settings
        self._chunk = chunk
        self._stop = threading.Event()
        self._verdict: type[AparellaError] | None = None
        self._progress = monotonic()
        # Only of a chunk that is one long piece of work: others count when they are done.
        self._whole = not chunk.items
        self._done = 0
        self._waits = False
        self._detail: Mapping[str, Any] | None = None
        # In the context of who starts it: what it logs is about this chunk too.
        beat = partial(copy_context().run, self._beat)
        self._thread = threading.Thread(target=beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        # A beat that waits for a dead server must not hold up the worker: the thread is a daemon.
        self._thread.join(timeout=1.0)

    def tick(self, done: int = 0, detail: Mapping[str, Any] | None = None) -> None:
        """Note progress; see `context.Tick`.

        Raises:
            LeaseLostError: another worker has the chunk.
            CancelledError: the job is being cancelled, or has ended.
            DrainedError: this worker is being stopped.
        """
        self._progress = monotonic()
        if self._whole:
            self._done += done
            self._detail = detail or self._detail
        if self._verdict is not None:
            raise self._verdict(f"chunk {self._chunk.id}")
        if draining.is_set():
            raise DrainedError("the worker is being stopped")

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """For as long as the block waits for the database, standing still is no sign of a hang."""
        self._waits = True
        try:
            yield
        finally:
            self._progress, self._waits = monotonic(), False

    def _beat(self) -> None:
        while not self._stop.wait(self._pause()):
            idle = 0.0 if self._waits else monotonic() - self._progress
            if idle > self._settings.progress_seconds:
                log.critical(
                    "chunk %d: no progress for %.0f s: this process is hung and ends itself",
                    self._chunk.id,
                    idle,
                )
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                with transaction(self._db) as connection:
                    state = leases.heartbeat(
                        connection,
                        self._chunk,
                        lease_seconds=self._settings.lease_seconds,
                        idle_seconds=idle,
                        done=min(self._done, self._chunk.size),
                        detail=self._detail,
                    )
            except AparellaError as error:
                log.warning("chunk %d: heartbeat failed: %s", self._chunk.id, error)
                continue
            if state is None:
                self._verdict = LeaseLostError
            elif state not in ("queued", "running"):
                self._verdict = CancelledError

    def _pause(self) -> float:
        """Seconds to the next beat: few while there is progress that somebody may be watching."""
        seconds = self._settings.heartbeat_seconds
        return min(seconds, _NEWS) if self._detail is not None else seconds
