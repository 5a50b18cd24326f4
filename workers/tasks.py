"""The one task, and what a pool process sets up before its first."""

import logging
import os
import signal
import socket
from collections.abc import Callable
from types import FrameType
from uuid import UUID

import sqlalchemy as sa
from celery.signals import worker_process_init, worker_process_shutdown

from aparella import logs, traces
from aparella.db import budget
from aparella.db.engine import create
from aparella.errors import TransientError
from aparella.settings import load
from aparella.workers import watchdog
from aparella.workers.app import app
from aparella.workers.context import Context
from aparella.workers.contracts import TASK
from aparella.workers.heartbeat import draining
from aparella.workers.presence import VARIABLE, Presence, report_process
from aparella.workers.runner import run_chunk

log = logging.getLogger(__name__)

DRAIN_SIGNAL = signal.SIGUSR2
"""Sent to a pool process that must hand its chunk back before it is killed."""

_context: Context | None = None
_presence: Presence | None = None


@worker_process_init.connect  # type: ignore[untyped-decorator]
def set_up(**_: object) -> None:
    """Make this process's engine, and its way to the traces' collector: after the spawn only."""
    global _context, _presence
    settings = load()
    logs.set_up(settings.log)
    traces.start("aparella-worker")
    db = create(settings, name="worker", pool=budget.PROCESS, silence=settings.lease_seconds)
    _context = Context(db, settings)
    watchdog.start(settings.progress_seconds)
    signal.signal(DRAIN_SIGNAL, _drain)
    if worker := os.environ.get(VARIABLE):
        _presence = Presence(_context.db, _report(UUID(worker)), settings.report_seconds)
        _presence.start()


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def tear_down(**_: object) -> None:
    """Tell what was counted and traced since the last report."""
    if _presence is not None:
        _presence.stop(_report(UUID(os.environ[VARIABLE])))
    traces.shut_down()


def _report(worker_id: UUID) -> Callable[[sa.Connection], None]:
    return lambda connection: report_process(connection, worker_id)


def _drain(_signal: int, _frame: FrameType | None) -> None:
    draining.set()


@app.task(name=TASK)  # type: ignore[untyped-decorator]
def chunk(chunk_id: int) -> None:
    """Do the chunk of that id, if it is to be had."""
    if _context is None:
        raise RuntimeError("the pool process was not set up")
    try:
        run_chunk(_context, chunk_id, worker=f"{socket.gethostname()}:{os.getpid()}")
    except TransientError as error:
        # The message is gone, the chunk is not: its lease runs out and the reconciler sees to it.
        log.warning("chunk %d: %s", chunk_id, error)
