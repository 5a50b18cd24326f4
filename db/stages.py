"""Stages: a job's steps, in order; a stage is over when none of its chunks is open.

A stage starts with one `plan` chunk. Whichever worker runs it inserts the stage's work chunks in
the transaction that marks it done, so planning is leased, fenced and retried like all other work.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from aparella.db import chunks

_LOCK = sa.text("""
    SELECT s.id, s.job_id, s.position, s.name, s.handler, s.params
    FROM stage s JOIN job j ON j.id = s.job_id
    WHERE s.id = :id AND s.state = 'running' AND j.state IN ('queued', 'running')
    FOR NO KEY UPDATE OF s
""")
_TALLY = sa.text("""
    SELECT count(*) FILTER (WHERE state IN ('ready', 'leased')) AS open,
           count(*) FILTER (WHERE state = 'dead' AND items = '{}') AS dead_whole,
           coalesce(sum(size) FILTER (WHERE state IN ('done', 'dead')), 0) AS tried,
           coalesce(sum(failed) FILTER (WHERE state = 'done'), 0)
             + coalesce(sum(size) FILTER (WHERE state = 'dead'), 0) AS failed
    FROM chunk WHERE stage_id = :id
""")
_HAS_OPEN = sa.text("""
    SELECT EXISTS (SELECT FROM chunk WHERE stage_id = :id AND state = 'ready')
        OR EXISTS (SELECT FROM chunk WHERE stage_id = :id AND state = 'leased')
""")
# progress: one row a stage; the rate is over the last minute of finished chunks. `meanwhile` is how
# far chunks are that are one long piece of work
_PROGRESS = sa.text("""
    SELECT s.id, s.job_id, s.name, s.queue, s.state, s.skipped, s.started_at, s.finished_at,
           coalesce(sum(c.size) FILTER (WHERE c.state <> 'split'), 0) AS total,
           coalesce(sum(c.size - c.failed) FILTER (WHERE c.state = 'done'), 0)
             + meanwhile.done AS done,
           coalesce(sum(c.failed) FILTER (WHERE c.state = 'done'), 0)
             + coalesce(sum(c.size) FILTER (WHERE c.state = 'dead'), 0) AS failed,
           coalesce(sum(c.size) FILTER (WHERE c.state = 'done'
             AND c.finished_at > now() - interval '60 s'), 0) AS recent,
           extract(epoch FROM least(now() - s.started_at, interval '60 s'))::float8
             AS recent_seconds,
           meanwhile.detail
    FROM stage s LEFT JOIN chunk c ON c.stage_id = s.id
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(o.progress_done), 0) AS done,
               (array_agg(o.detail) FILTER (WHERE o.detail IS NOT NULL))[1] AS detail
        FROM chunk o WHERE o.stage_id = s.id AND o.state IN ('ready', 'leased')
          AND o.items = '{}') meanwhile
    WHERE s.job_id = ANY(:jobs)
    GROUP BY s.id, meanwhile.done, meanwhile.detail ORDER BY s.job_id, s.position
""")


@dataclass(frozen=True)
class Stage:
    """A running stage, locked for this transaction."""

    id: int
    job_id: int
    position: int
    name: str
    handler: str
    params: dict[str, Any]


@dataclass(frozen=True)
class Tally:
    """What a stage's chunks add up to; `tried` and `failed` count items, the others chunks."""

    open: int
    dead_whole: int
    tried: int
    failed: int


@dataclass(frozen=True)
class Progress:
    """One stage's progress in items. `recent` items were done in the last `recent_seconds`."""

    id: int
    job_id: int
    name: str
    queue: str
    state: str
    skipped: int
    started_at: datetime | None
    finished_at: datetime | None
    total: int
    done: int
    failed: int
    recent: int
    recent_seconds: float | None
    detail: dict[str, Any] | None = None


def has_open_chunks(connection: sa.Connection, stage_id: int) -> bool:
    """Whether a chunk of the stage is ready or leased: cheap however many there are."""
    return bool(connection.execute(_HAS_OPEN, {"id": stage_id}).scalar_one())


def lock_running(connection: sa.Connection, stage_id: int) -> Stage | None:
    """Lock a stage if it still runs: the compare half of the fan-in's compare-and-set.

    A stage of a job that is being cancelled does not: its ready chunks were cancelled, so that none
    is open does not mean that all are done.
    """
    row = connection.execute(_LOCK, {"id": stage_id}).first()
    return None if row is None else Stage(**row._mapping)


def tally(connection: sa.Connection, stage_id: int) -> Tally:
    """Add up the stage's chunks."""
    return Tally(**connection.execute(_TALLY, {"id": stage_id}).one()._mapping)


def first_error(connection: sa.Connection, stage_id: int) -> str | None:
    """What the first of the stage's dead chunks died of."""
    return connection.execute(
        sa.text(
            "SELECT error FROM chunk WHERE stage_id = :id AND state = 'dead' ORDER BY id LIMIT 1"
        ),
        {"id": stage_id},
    ).scalar()


def running(connection: sa.Connection) -> list[int]:
    """Ids of the running stages."""
    query = sa.text("SELECT id FROM stage WHERE state = 'running' ORDER BY id")
    return [int(i) for i in connection.execute(query).scalars()]


def end(connection: sa.Connection, stage_id: int, state: str) -> None:
    """Give a running stage its final state."""
    connection.execute(
        sa.text(
            "UPDATE stage SET state = :state, finished_at = now() WHERE id = :id "
            "AND state = 'running'"
        ),
        {"id": stage_id, "state": state},
    )


def start_next(connection: sa.Connection, job_id: int) -> bool:
    """Start the job's first waiting stage with its plan chunk; False when there is none."""
    stage_id = connection.execute(
        sa.text(
            "UPDATE stage SET state = 'running', started_at = now() WHERE id = "
            "(SELECT id FROM stage WHERE job_id = :job AND state = 'waiting' "
            " ORDER BY position LIMIT 1) RETURNING id"
        ),
        {"job": job_id},
    ).scalar()
    if stage_id is None:
        return False
    chunks.add(connection, job_id=job_id, stage_id=stage_id, kind="plan", items=[], size=0)
    return True


def add_skipped(connection: sa.Connection, stage_id: int, skipped: int) -> None:
    """Note how many items the plan found already done."""
    connection.execute(
        sa.text("UPDATE stage SET skipped = :skipped WHERE id = :id"),
        {"id": stage_id, "skipped": skipped},
    )


def add_params(connection: sa.Connection, job_id: int, handler: str, patch: dict[str, Any]) -> None:
    """Hand findings of one stage to the job's stages of another kind."""
    query = sa.text(
        "UPDATE stage SET params = params || :patch WHERE job_id = :job AND handler = :handler"
    ).bindparams(sa.bindparam("patch", type_=JSONB))
    connection.execute(query, {"job": job_id, "handler": handler, "patch": patch})


def params(connection: sa.Connection, job_id: int, handler: str) -> dict[str, Any]:
    """The params of the job's stage of that kind; of several the first; empty if there is none."""
    query = sa.text(
        "SELECT params FROM stage WHERE job_id = :job AND handler = :handler "
        "ORDER BY position LIMIT 1"
    )
    found = connection.execute(query, {"job": job_id, "handler": handler}).scalar()
    return dict(found or {})


def skip_waiting(connection: sa.Connection, job_id: int) -> None:
    """Leave out the stages that have not begun: the job ends well without them."""
    query = "UPDATE stage SET state = 'skipped' WHERE job_id = :job AND state = 'waiting'"
    connection.execute(sa.text(query), {"job": job_id})


def progress(connection: sa.Connection, job_ids: list[int]) -> list[Progress]:
    """The stages of these jobs, job by job and in order, counted from the chunks."""
    return [Progress(**row._mapping) for row in connection.execute(_PROGRESS, {"jobs": job_ids})]
