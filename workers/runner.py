"""What a worker does with one message: claim the chunk, do it, commit it, fan in."""

import logging
from collections.abc import Callable
from functools import partial
from time import monotonic, sleep, time_ns
from typing import TypeVar

import sqlalchemy as sa

from aparella import logs, traces
from aparella.db import leases, stages
from aparella.db.engine import transaction
from aparella.db.leases import Claimed
from aparella.errors import AparellaError, LeaseLostError, TransientError
from aparella.workers import decisions, engine, figures
from aparella.workers.context import Context, Outcome, Tick, Write
from aparella.workers.decisions import Cause
from aparella.workers.heartbeat import DrainedError, Heartbeat, draining
from aparella.workers.stages import HANDLERS

log = logging.getLogger(__name__)

_TURN = 0.25
"""Seconds for which one message's worker goes on with the chunks of a stage: a small part of what
any one chunk is meant to take, and long beside one that costs what a message does."""
_AGAIN = 0.5
"""Seconds between two tries to reach a database that went away while a chunk was in hand."""
_TAKEN = "chunk %d: the lease was lost; nothing of this attempt is kept"
_T = TypeVar("_T")
_LONGEST_MESSAGE = 2_000
"""Characters kept of an error: it may stand in the job's list once for each record."""


def run_chunk(context: Context, chunk_id: int, *, worker: str) -> None:
    """Do a chunk, if it is to be had; whatever happens, the database knows what comes next.

    Of a stage with many chunks that take milliseconds, more follow without a message for each.

    Raises:
        TransientError: the database is out of reach; the lease and the reconciler see to the rest.
    """
    until, began = monotonic() + _TURN, time_ns()

    def go_on(connection: sa.Connection, done: Claimed) -> Claimed | None:
        if monotonic() > until or draining.is_set():
            return None
        seconds = context.settings.lease_seconds
        return leases.claim_next(connection, done, worker=worker, seconds=seconds)

    chunk = engine.claim(context.db, context.settings, chunk_id, worker=worker)
    while chunk is not None:
        chunk = _traced(context, chunk, began, partial(go_on, done=chunk))
        began = time_ns()


def _traced(context: Context, chunk: Claimed, began: int, go_on: engine.GoOn) -> Claimed | None:
    """Do a chunk in a span of its own; the one that is to be done next."""
    facts: dict[str, str | int] = {
        "job": chunk.job_id,
        "stage": chunk.stage_name,
        "chunk": chunk.id,
        "attempt": chunk.attempt,
    }
    tracing = traces.span(
        f"chunk {chunk.handler}",
        facts,
        since=began,
        queue=chunk.queue,
        kind=chunk.kind,
        items=chunk.size,
        outcome="abandoned",  # unless it comes to an end that says something else
    )
    with logs.about(**facts), traces.continued(chunk.traceparent), tracing as span:
        with traces.span("claim", since=began):
            pass  # It is over: it had to say first whose trace this is.
        return _run(context, chunk, span, go_on)


def _run(context: Context, chunk: Claimed, span: traces.Span, go_on: engine.GoOn) -> Claimed | None:
    failed, committed, begin = False, engine.Committed(), monotonic()
    with Heartbeat(context.db, context.settings, chunk) as heart:
        try:
            with traces.span("work"):
                write = _work(context, chunk, heart.tick)
            with traces.span("commit"), heart.waiting():
                committed = _persist(
                    context, lambda: engine.commit(context.db, chunk, write, go_on=go_on)
                )
        except LeaseLostError as error:
            log.warning(_TAKEN, chunk.id)
            span.set(outcome=error.code)
            span.fail(error)
            return None
        except Exception as error:
            # Whatever a record causes is settled here, not lost.
            failed = True
            span.set(outcome=_settle(context, chunk, error))
            span.fail(error)
        else:
            span.set(outcome="done")
    if not failed and chunk.kind == "work":
        seconds = monotonic() - begin
        figures.own.chunk(chunk.handler, seconds, chunk.size)
        log.info("chunk %d of job %d: done in %.2f s", chunk.id, chunk.job_id, seconds)
    if not committed.many:
        engine.advance(context.db, chunk.stage_id, after_failure=failed)
    return committed.following


def _work(context: Context, chunk: Claimed, tick: Tick) -> Write:
    handler = HANDLERS[chunk.handler]
    if chunk.kind == "work":
        return handler.work(context, chunk, tick)

    def plan(connection: sa.Connection) -> Outcome:
        skipped = handler.plan(connection, context, chunk)
        stages.add_skipped(connection, chunk.stage_id, skipped)
        return Outcome(size=0)

    return plan


def _settle(context: Context, chunk: Claimed, error: Exception) -> str:
    """Leave the chunk to what its failure calls for; what became of the attempt, in a word."""
    drained = isinstance(error, DrainedError)
    cause = Cause.DRAINED if drained else decisions.cause_of(error)
    message = str(error)
    if not isinstance(error, AparellaError):
        log.error("chunk %d: unexpected error", chunk.id, exc_info=error)
        message = f"{type(error).__name__}: {error}"
    message, outcome = _storable(message), cause.value

    def settle() -> None:
        nonlocal outcome
        with transaction(context.db) as connection:
            ours = engine.settle(connection, chunk.id, chunk.lease_token, cause, message)
        if not ours:
            log.warning(_TAKEN, chunk.id)
            outcome = LeaseLostError.code

    _persist(context, settle)
    return outcome


def _storable(message: str) -> str:
    """What PostgreSQL can store of a message: no NUL, no half surrogate pairs, and not endless."""
    text = message.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + " …"


def _persist(context: Context, write: Callable[[], _T]) -> _T:
    """Carry work that is done over a short absence of the database, as long as the lease lasts."""
    until = monotonic() + context.settings.lease_seconds
    while True:
        try:
            return write()
        except TransientError as error:
            if monotonic() > until:
                raise
            log.warning("the database is away, trying again: %s", error)
            sleep(_AGAIN)
