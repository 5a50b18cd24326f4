"""Jobs: what a user asked for, its stages, its end, and its errors row by row."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from aparella import traces
from aparella.db import chunks, stages
from aparella.errors import ConflictError, NotFoundError

OPEN = ("queued", "running", "paused", "cancelling")
"""States of a job that has not ended. `paused` is what a queued or running one shows as while it
rests: underneath it stays what it was, so that chunks in hand can finish."""


def _sql(query: str, *json: str) -> sa.TextClause:
    return sa.text(query).bindparams(*(sa.bindparam(name, type_=JSONB) for name in json))


_CREATE = _sql(
    """
    INSERT INTO job (kind, params, model_id, idempotency_key, request_hash, traceparent)
    VALUES (:kind, :params, :model_id, :key, :hash, :traceparent)
    ON CONFLICT (idempotency_key) DO NOTHING RETURNING id
    """,
    "params",
)
_ADD_STAGE = _sql(
    """
    INSERT INTO stage (job_id, position, name, handler, queue, params)
    VALUES (:job_id, :position, :name, :handler, :queue, :params)
    """,
    "params",
)
_STATE = """CASE WHEN j.paused_at IS NOT NULL AND j.state IN ('queued', 'running')
                 THEN 'paused' ELSE j.state END"""
_SELECT = f"""
    SELECT j.id, j.kind, {_STATE} AS state, j.params, j.summary, j.error, j.created_at,
           j.started_at, j.finished_at, m.name || '@' || m.version AS model,
           (SELECT count(*) FROM job_error e WHERE e.job_id = j.id) AS errors
    FROM job j LEFT JOIN model m ON m.id = j.model_id
"""
_CANCEL = sa.text("""
    UPDATE job SET state = 'cancelling'
    WHERE id = :id AND state IN ('queued', 'running') RETURNING id
""")


@dataclass(frozen=True)
class NewStage:
    """A stage to be: `handler` names a module of `workers/stages/`, `queue` who runs it."""

    name: str
    handler: str
    queue: str
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """A job as it stands; its progress is in its stages."""

    id: int
    kind: str
    state: str
    params: dict[str, Any]
    summary: dict[str, Any]
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    model: str | None
    errors: int


def create(
    connection: sa.Connection,
    *,
    kind: str,
    params: dict[str, Any],
    plan: list[NewStage],
    model_id: int | None,
    idempotency_key: str | None = None,
    request_hash: bytes | None = None,
) -> tuple[int, bool]:
    """Create a job with its stages and the first stage's plan chunk: this row is the outbox.

    Its chunks continue the trace in which it is created.

    Returns:
        The job's id, and whether it is new (False: the idempotency key named it already).

    Raises:
        ConflictError: the idempotency key was used for another request.
    """
    values = {
        "kind": kind,
        "params": params,
        "model_id": model_id,
        "key": idempotency_key,
        "hash": request_hash,
        "traceparent": traces.traceparent(),
    }
    job_id = connection.execute(_CREATE, values).scalar()
    if job_id is None:
        old = connection.execute(
            sa.text("SELECT id, request_hash FROM job WHERE idempotency_key = :key"),
            {"key": idempotency_key},
        ).one()
        if bytes(old.request_hash) != request_hash:
            raise ConflictError(
                f"The Idempotency-Key '{idempotency_key}' belongs to job {old.id}, whose request "
                "was another one. Use a new key for a new request."
            )
        return int(old.id), False
    for position, stage in enumerate(plan):
        connection.execute(_ADD_STAGE, {"job_id": job_id, "position": position, **stage.__dict__})
    stages.start_next(connection, job_id)
    chunks.notify(connection)
    return int(job_id), True


def find(connection: sa.Connection, job_id: int) -> Job:
    """The job of that id.

    Raises:
        NotFoundError: there is none.
    """
    row = connection.execute(sa.text(_SELECT + " WHERE j.id = :id"), {"id": job_id}).first()
    if row is None:
        raise NotFoundError(f"There is no job {job_id}. `aparella jobs` lists them.")
    return Job(**row._mapping)


def page(
    connection: sa.Connection,
    *,
    limit: int,
    before: int | None = None,
    state: str | None = None,
    kind: str | None = None,
) -> list[Job]:
    """Up to `limit` jobs, newest first, older than `before`."""
    rows = connection.execute(
        sa.text(
            _SELECT + " WHERE (CAST(:before AS bigint) IS NULL OR j.id < :before)"
            f" AND (CAST(:state AS text) IS NULL OR {_STATE} = :state)"
            " AND (CAST(:kind AS text) IS NULL OR j.kind = :kind)"
            " ORDER BY j.id DESC LIMIT :limit"
        ),
        {"limit": limit, "before": before, "state": state, "kind": kind},
    )
    return [Job(**row._mapping) for row in rows]


def cancel(connection: sa.Connection, job_id: int) -> bool:
    """Ask for a job's end; False when it has ended already. The reconciler carries it out."""
    find(connection, job_id)
    asked = connection.execute(_CANCEL, {"id": job_id}).scalar() is not None
    chunks.notify(connection)
    return asked


def end(connection: sa.Connection, job_id: int, state: str, error: str | None = None) -> None:
    """Give an open job its final state."""
    connection.execute(
        sa.text(
            "UPDATE job SET state = :state, error = coalesce(error, :error), finished_at = now(), "
            "started_at = coalesce(started_at, now()) "
            "WHERE id = :id AND state IN ('queued', 'running', 'cancelling')"
        ),
        {"id": job_id, "state": state, "error": error},
    )


def state(connection: sa.Connection, job_id: int) -> str:
    """The job's state now."""
    return str(
        connection.execute(
            sa.text("SELECT state FROM job WHERE id = :id"), {"id": job_id}
        ).scalar_one()
    )


def add_summary(connection: sa.Connection, job_id: int, patch: dict[str, Any]) -> None:
    """Merge figures into what the job says about itself."""
    connection.execute(
        _sql("UPDATE job SET summary = summary || :patch WHERE id = :id", "patch"),
        {"id": job_id, "patch": patch},
    )


def add_to_summary(connection: sa.Connection, job_id: int, figures: dict[str, int]) -> None:
    """Add figures to those that the job has already: its stages count the same things in turn."""
    summary: dict[str, Any] = connection.execute(
        sa.text("SELECT summary FROM job WHERE id = :id FOR NO KEY UPDATE"), {"id": job_id}
    ).scalar_one()
    add_summary(
        connection, job_id, {name: summary.get(name, 0) + more for name, more in figures.items()}
    )


def cancelling(connection: sa.Connection) -> list[int]:
    """Ids of jobs whose cancel was asked for and not yet carried out."""
    return [
        int(i)
        for i in connection.execute(
            sa.text("SELECT id FROM job WHERE state = 'cancelling'")
        ).scalars()
    ]


def cancel_ready_chunks(connection: sa.Connection, job_id: int) -> None:
    """Cancel what no worker has in hand."""
    connection.execute(
        sa.text(
            "UPDATE chunk SET state = 'cancelled', finished_at = now() "
            "WHERE job_id = :id AND state = 'ready'"
        ),
        {"id": job_id},
    )


def has_leased_chunks(connection: sa.Connection, job_id: int) -> bool:
    """Whether some worker has a chunk of the job in hand."""
    return bool(
        connection.execute(
            sa.text("SELECT EXISTS (SELECT FROM chunk WHERE job_id = :id AND state = 'leased')"),
            {"id": job_id},
        ).scalar_one()
    )


def cancel_stages(connection: sa.Connection, job_id: int, state: str) -> None:
    """End the job's running stage in this state, and cancel those that wait."""
    connection.execute(
        sa.text(
            "UPDATE stage SET state = CASE state WHEN 'running' THEN :state ELSE 'cancelled' END, "
            "finished_at = now() WHERE job_id = :id AND state IN ('waiting', 'running')"
        ),
        {"id": job_id, "state": state},
    )
