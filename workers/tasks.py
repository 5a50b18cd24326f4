"""The one task, and what a pool process sets up before its first."""

import logging
import os
import signal
import socket
from types import FrameType

from celery.signals import worker_process_init

from aparella.db.engine import create
from aparella.errors import TransientError
from aparella.settings import load
from aparella.workers.app import app
from aparella.workers.context import Context
from aparella.workers.contracts import TASK
from aparella.workers.devices import use_threads
from aparella.workers.heartbeat import draining
from aparella.workers.runner import run_chunk

log = logging.getLogger(__name__)

DRAIN_SIGNAL = signal.SIGUSR2
"""Sent to a pool process that must hand its chunk back before it is killed."""

_context: Context | None = None


@worker_process_init.connect  # type: ignore[untyped-decorator]
def set_up(**_: object) -> None:
    """Make this process's engine: after the spawn, never before."""
    global _context
    settings = load()
    _context = Context(create(settings, name="worker"), settings)
    signal.signal(DRAIN_SIGNAL, _drain)
    use_threads(settings.threads)


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
