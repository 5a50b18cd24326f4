"""Leases of chunks: a worker's hold on one, from the claim to the end of the attempt.

Times are the database's, as those of `chunks` are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from aparella.errors import LeaseLostError

# claim: ready -> leased, in one statement. The job must still run, and neither it nor the queue be
# paused. SKIP LOCKED: a row that is being claimed or committed now is somebody else's anyway. An
# expired lease is only found
_CLAIM = sa.text("""
    WITH found AS MATERIALIZED (
        SELECT c.id, c.state, c.lease_token, c.job_id, j.state AS job_state, j.traceparent,
               s.handler, s.name AS stage_name, s.params, s.queue
        FROM chunk c JOIN job j ON j.id = c.job_id JOIN stage s ON s.id = c.stage_id
        WHERE c.id = :id
          AND (c.state = 'ready' AND c.available_at <= now() AND j.paused_at IS NULL
                 AND NOT EXISTS (SELECT FROM paused_queue p WHERE p.name = s.queue)
               OR c.state = 'leased' AND c.lease_until < now())
          AND j.state IN ('queued', 'running')
        FOR NO KEY UPDATE OF c SKIP LOCKED
    ), started AS (
        UPDATE job j SET state = 'running', started_at = now() FROM found f
        WHERE j.id = f.job_id AND f.state = 'ready' AND f.job_state = 'queued'
          AND j.state = 'queued'
    ), leased AS (
        UPDATE chunk c
        SET state = 'leased', attempt = attempt + 1, lease_token = c.lease_token + 1,
            lease_until = now() + make_interval(secs => :lease), progress_at = now(),
            leased_by = :worker, sent_at = NULL, started_at = now()
        FROM found f WHERE c.id = f.id AND f.state = 'ready'
        RETURNING c.id, c.job_id, c.stage_id, c.kind, c.items, c.size, c.attempt, c.lease_token
    )
    SELECT f.id AS found, f.lease_token AS expired, l.*, f.handler, f.stage_name, f.params,
           f.queue, f.traceparent
    FROM found f LEFT JOIN leased l ON true
""")
# claim_next: of the chunks that no message was sent for, in the order in which they would be. What
# is asked of the job, and of the other stages, is no join, so that the order is the index's own
_CLAIM_NEXT = sa.text("""
    UPDATE chunk
    SET state = 'leased', attempt = attempt + 1, lease_token = lease_token + 1,
        lease_until = now() + make_interval(secs => :lease), progress_at = now(),
        leased_by = :worker, started_at = now()
    WHERE id = (
        SELECT c.id FROM chunk c
        WHERE c.stage_id = :stage AND c.state = 'ready' AND c.sent_at IS NULL
          AND c.available_at <= now()
          AND EXISTS (SELECT FROM job WHERE id = :job AND state = 'running' AND paused_at IS NULL)
          AND NOT EXISTS (SELECT FROM paused_queue WHERE name = :queue)
          AND NOT EXISTS (SELECT FROM stage
                          WHERE state = 'running' AND queue = :queue AND id <> :stage)
        ORDER BY c.parent_id IS NULL, c.id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED)
    RETURNING id, kind, items, size, attempt, lease_token
""")

# heartbeat: prolongs the lease and brings back whether the job is being cancelled. Progress within
# a chunk never goes back, even when another attempt starts from an older checkpoint.
_HEARTBEAT = sa.text("""
    UPDATE chunk c
    SET lease_until = now() + make_interval(secs => :lease),
        progress_at = now() - make_interval(secs => :idle),
        progress_done = greatest(c.progress_done, :done),
        detail = coalesce(:detail, c.detail)
    FROM job j
    WHERE c.id = :id AND c.lease_token = :token AND c.state = 'leased' AND j.id = c.job_id
    RETURNING j.state
""").bindparams(sa.bindparam("detail", type_=JSONB(none_as_null=True)))

# commit, first half: whoever holds this row lock with the right token may write results
_FENCE = sa.text("SELECT state, lease_token FROM chunk WHERE id = :id FOR NO KEY UPDATE")
# done: many: a stage with so many ready chunks is not over when this transaction has committed
_DONE = sa.text("""
    UPDATE chunk c SET state = 'done', failed = :failed, size = :size, finished_at = now(),
                       lease_until = NULL, code = NULL, error = NULL
    WHERE id = :id
    RETURNING EXISTS (SELECT FROM chunk r WHERE r.stage_id = c.stage_id AND r.state = 'ready'
                      OFFSET 100) AS many
""")

# expired: leases that ran out, and hung workers whose heart still beats
_EXPIRED = """
    SELECT c.id, c.lease_token, c.progress_at < now() - make_interval(secs => :progress) AS hung
    FROM chunk c
    WHERE c.state = 'leased'
      AND (c.lease_until < now() OR c.progress_at < now() - make_interval(secs => :progress))
"""
_ALL_EXPIRED = sa.text(f"{_EXPIRED} ORDER BY c.lease_until LIMIT 1000")
# still_expired: looked at again under its lock, since its worker may have come back meanwhile
_STILL_EXPIRED = sa.text(
    f"{_EXPIRED} AND c.id = :id AND c.lease_token = :token FOR NO KEY UPDATE SKIP LOCKED"
)


@dataclass(frozen=True)
class Claimed:
    """A chunk in this worker's hands, for as long as its lease token is the chunk's."""

    id: int
    job_id: int
    stage_id: int
    kind: str
    items: list[int]
    size: int
    attempt: int
    lease_token: int
    handler: str
    stage_name: str
    params: dict[str, Any]
    queue: str
    traceparent: str | None


@dataclass(frozen=True)
class Expired:
    """A lease that has run out and is not settled yet."""

    id: int
    lease_token: int


def claim(
    connection: sa.Connection, chunk_id: int, *, worker: str, seconds: float
) -> Claimed | Expired | None:
    """Lease a ready chunk and count the attempt, and the job as running.

    Returns:
        None when it is not to be had, because somebody has it, it is done, it must wait, or its job
        is over. An expired one is not leased: its last attempt is to be settled first.
    """
    values = {"id": chunk_id, "worker": worker, "lease": seconds}
    row = connection.execute(_CLAIM, values).first()
    if row is None:
        return None
    if row.id is None:
        return Expired(row.found, row.expired)
    return Claimed(**{name: getattr(row, name) for name in Claimed.__dataclass_fields__})


def claim_next(
    connection: sa.Connection, chunk: Claimed, *, worker: str, seconds: float
) -> Claimed | None:
    """Lease the next ready chunk of the same stage, if no other stage shares its queue."""
    values = {
        "stage": chunk.stage_id,
        "job": chunk.job_id,
        "queue": chunk.queue,
        "worker": worker,
        "lease": seconds,
    }
    row = connection.execute(_CLAIM_NEXT, values).first()
    return None if row is None else replace(chunk, **row._mapping)


def heartbeat(
    connection: sa.Connection,
    chunk: Claimed,
    *,
    lease_seconds: float,
    idle_seconds: float,
    done: int = 0,
    detail: Mapping[str, Any] | None = None,
) -> str | None:
    """Prolong a lease; the job's state, or None when the lease is no longer ours.

    Args:
        connection: the heartbeat's own, never the one that results are written on.
        chunk: as claimed.
        lease_seconds: from now on.
        idle_seconds: since the worker last made progress.
        done: of the chunk's size, where it is one long piece of work.
        detail: what that work says about itself; None: nothing new.
    """
    values = {
        "id": chunk.id,
        "token": chunk.lease_token,
        "lease": lease_seconds,
        "idle": idle_seconds,
        "done": done,
        "detail": detail,
    }
    state = connection.execute(_HEARTBEAT, values).scalar()
    return None if state is None else str(state)


def fence(connection: sa.Connection, chunk: Claimed) -> bool:
    """Lock the chunk for this transaction's writes.

    Returns:
        True: go on and write. False: an earlier try of this very attempt has already committed
        (its COMMIT's answer was lost on the way).

    Raises:
        LeaseLostError: another worker holds the chunk, or it was settled: write nothing.
    """
    row = connection.execute(_FENCE, {"id": chunk.id}).first()
    if row is not None and row.lease_token == chunk.lease_token:
        if row.state == "leased":
            return True
        if row.state == "done":
            return False
    raise LeaseLostError(f"chunk {chunk.id}: lease {chunk.lease_token} is no longer valid")


def finish(connection: sa.Connection, chunk: Claimed, *, size: int, failed: int) -> bool:
    """Mark a fenced chunk done: of its `size` items, `failed` have an error of their own.

    Returns:
        Whether so many of its stage are ready that it is surely not over: others cannot do them all
        before this transaction commits, so the last of them finds this one done.
    """
    values = {"id": chunk.id, "size": size, "failed": failed}
    # No row: what it wrote has begun the job anew, without its chunks (`restarts`).
    return bool(connection.execute(_DONE, values).scalar())


def expired(connection: sa.Connection, *, progress_seconds: float) -> list[tuple[int, int]]:
    """Chunks whose worker is gone or hung: (id, lease token); none of them is locked."""
    rows = connection.execute(_ALL_EXPIRED, {"progress": progress_seconds})
    return [(row.id, row.lease_token) for row in rows]


def still_expired(
    connection: sa.Connection, chunk_id: int, lease_token: int, *, progress_seconds: float
) -> bool | None:
    """Lock a chunk if its worker is still gone (False) or hung (True); None: it is not to settle.

    Somebody else may be settling it.
    """
    values = {"id": chunk_id, "token": lease_token, "progress": progress_seconds}
    row = connection.execute(_STILL_EXPIRED, values).first()
    return None if row is None else bool(row.hung)
