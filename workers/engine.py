"""The job engine's transactions: claim, commit, settle, fan-in, cancel.

PostgreSQL owns all state; what happens is decided in `decisions`, carried out here. Each function
is one transaction or takes part in its caller's, and each may be repeated: the second time it
finds nothing left to do.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import sqlalchemy as sa

from aparella import logs, traces
from aparella.db import chunks, faults, jobs, leases, stages
from aparella.db.engine import statements, transaction
from aparella.settings import Settings
from aparella.workers import decisions, figures
from aparella.workers.context import Write
from aparella.workers.decisions import Cause
from aparella.workers.stages import HANDLERS

log = logging.getLogger(__name__)

GoOn: TypeAlias = Callable[[sa.Connection], leases.Claimed | None]


def claim(
    db: sa.Engine, settings: Settings, chunk_id: int, *, worker: str
) -> leases.Claimed | None:
    """Lease a chunk; None when somebody else has it, it is done, or it must wait.

    A chunk whose lease has expired is settled first, as the reconciler would.
    """
    with statements(db) as connection:
        found = leases.claim(connection, chunk_id, worker=worker, seconds=settings.lease_seconds)
    if isinstance(found, leases.Expired):
        settle_expired(db, settings, found.id, found.lease_token)
        return None
    return found


@dataclass(frozen=True)
class Committed:
    """What is known of a stage whose chunk was committed.

    Attributes:
        many: it is surely not over; else somebody must `advance` it.
        following: the next of its chunks, leased in the same transaction.
    """

    many: bool = False
    following: leases.Claimed | None = None


def commit(
    db: sa.Engine, chunk: leases.Claimed, write: Write, *, go_on: GoOn = lambda _: None
) -> Committed:
    """Write a chunk's results and mark it done, in one transaction, if the lease is still ours.

    Args:
        db: to write to.
        chunk: as claimed.
        write: its results.
        go_on: leases the stage's next chunk, if it is to be; asked where there are many.

    Raises:
        LeaseLostError: it is not: nothing was written.
    """
    with transaction(db) as connection:
        if not leases.fence(connection, chunk):
            return Committed()
        outcome = write(connection)
        many = leases.finish(connection, chunk, size=outcome.size, failed=outcome.failed)
        if outcome.fatal is not None:
            fail_job(connection, chunk.job_id, outcome.fatal)
        # A plan has just made ready chunks, of which nobody knows yet.
        if chunk.kind == "plan":
            chunks.notify(connection)
        return Committed(many, go_on(connection) if many else None)


def settle_expired(db: sa.Engine, settings: Settings, chunk_id: int, lease_token: int) -> None:
    """Settle an attempt whose worker is gone or hung, if that is still so under the row's lock."""
    with transaction(db) as connection:
        hung = leases.still_expired(
            connection, chunk_id, lease_token, progress_seconds=hang_seconds(settings)
        )
        if hung is not None:
            figures.own.count("expired")
            why = "the worker made no progress" if hung else "the worker's lease expired"
            settle(connection, chunk_id, lease_token, Cause.LOST, why)


def hang_seconds(settings: Settings) -> float:
    """Without progress for so long a worker counts as hung: it should have ended itself before."""
    return settings.progress_seconds * 1.25


def settle(
    connection: sa.Connection, chunk_id: int, lease_token: int, cause: Cause, message: str
) -> bool:
    """Decide about a chunk whose attempt failed, and carry the decision out.

    Returns:
        False if the lease was another one's already: then nothing was done.
    """
    failed = chunks.lock_failed(connection, chunk_id, lease_token)
    if failed is None:
        return False
    if jobs.state(connection, failed.job_id) not in ("queued", "running"):
        cause = Cause.CANCELLED
    decision = decisions.after_failure(
        cause, attempt=failed.attempt, size=len(failed.items), lost=failed.lost
    )
    word = type(decision).__name__.lower()
    facts = {"job": failed.job_id, "chunk": chunk_id, "attempt": failed.attempt}
    # In the attempt's span, if this is its worker; a lost one's next span in its job's trace.
    settling = traces.span("settle", facts, cause=cause.value, decision=word)
    with logs.about(**facts), traces.continued(failed.traceparent), settling:
        log.warning(
            "chunk %d, attempt %d: %s (%s): %s",
            chunk_id,
            failed.attempt,
            word,
            cause.value,
            message,
        )
        _carry_out(connection, failed, decision, cause, message)
    chunks.notify(connection)
    return True


def _carry_out(
    connection: sa.Connection,
    failed: chunks.Failed,
    decision: decisions.Decision,
    cause: Cause,
    message: str,
) -> None:
    chunk_id, code, lost = failed.id, cause.value, cause is Cause.LOST
    match decision:
        case decisions.Retry(delay, counted):
            figures.own.count("retries", int(counted))
            chunks.retry(
                connection,
                chunk_id,
                delay=delay,
                code=code,
                error=message,
                counted=counted,
                lost=lost,
            )
        case decisions.Split():
            chunks.split(connection, chunk_id, decisions.halves(failed.items))
        case decisions.Drop():
            chunks.end(connection, chunk_id, "cancelled", code=code, error=message)
        case decisions.FailJob():
            figures.own.count("dead")
            chunks.end(connection, chunk_id, "dead", code=code, error=message)
            fail_job(connection, failed.job_id, message)
        case decisions.Bury():
            figures.own.count("dead")
            if lost:
                message = f"its worker vanished or hung on every one of {failed.lost + 1} attempts"
            chunks.end(connection, chunk_id, "dead", code=code, error=message)
            HANDLERS[failed.handler].bury(connection, failed, code, message)


def fail_job(connection: sa.Connection, job_id: int, message: str) -> None:
    """End a job as failed; chunks in other workers' hands are dropped as those notice."""
    jobs.end(connection, job_id, "failed", message)
    jobs.cancel_ready_chunks(connection, job_id)
    jobs.cancel_stages(connection, job_id, "failed")


def advance(db: sa.Engine, stage_id: int, *, after_failure: bool = False) -> None:
    """Fan in: when no chunk of a stage is open, end it and start the next one, or end the job.

    After a failure it looks too whether the stage has become hopeless while chunks are open.

    A transaction of its own, after the commit of the chunk: of two workers that commit a stage's
    last two chunks at once, at least the later one sees that none is open. The stage's row lock
    and state make it happen once.
    """
    if not after_failure:
        with statements(db) as connection:
            if stages.has_open_chunks(connection, stage_id):
                return
    with transaction(db) as connection:
        tally = stages.tally(connection, stage_id)
        end = decisions.stage_end(
            open_chunks=tally.open,
            dead_whole=tally.dead_whole,
            tried=tally.tried,
            failed=tally.failed,
        )
        if end is None:
            return
        stage = stages.lock_running(connection, stage_id)
        if stage is None:
            return
        if end is decisions.StageEnd.FAILED:
            reason = stages.first_error(connection, stage_id) or "too many of its records failed"
            fail_job(connection, stage.job_id, f"The stage '{stage.name}' failed: {reason}")
            return
        stages.end(connection, stage_id, "done")
        if not stages.start_next(connection, stage.job_id):
            errors = faults.count(connection, stage.job_id)
            jobs.end(connection, stage.job_id, decisions.job_end(errors=errors))
        chunks.notify(connection)


def carry_out_cancels(db: sa.Engine) -> None:
    """End the jobs that are being cancelled and of which no chunk is in a worker's hands."""
    with transaction(db) as connection:
        for job_id in jobs.cancelling(connection):
            jobs.cancel_ready_chunks(connection, job_id)
            if not jobs.has_leased_chunks(connection, job_id):
                # A plan that was committed between the two statements has left ready chunks.
                jobs.cancel_ready_chunks(connection, job_id)
                jobs.cancel_stages(connection, job_id, "cancelled")
                jobs.end(connection, job_id, "cancelled")
