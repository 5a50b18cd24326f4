"""Chunks: the unit of work that a worker leases, and everything that may happen to one.

A chunk is in one of six states. `ready` waits for a worker; `leased` has one, until the lease
expires; `done`, `split` (bisected into two others), `dead` and `cancelled` are final. Every
transition is one conditional UPDATE, so that it happens once however often it is asked for. All
times are the database's: workers' clocks may differ.
"""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from aparella.db.leases import Claimed

_LOCK_FAILED = sa.text("""
    SELECT c.id, c.job_id, c.stage_id, c.items, c.attempt, c.lost, s.handler, s.params,
           j.traceparent
    FROM chunk c JOIN stage s ON s.id = c.stage_id JOIN job j ON j.id = c.job_id
    WHERE c.id = :id AND c.lease_token = :token AND c.state = 'leased' FOR NO KEY UPDATE OF c
""")
_RETRY = sa.text("""
    UPDATE chunk
    SET state = 'ready', lease_until = NULL, sent_at = NULL, code = :code, error = :error,
        available_at = now() + make_interval(secs => :delay), attempt = attempt - :uncounted,
        lost = lost + :lost
    WHERE id = :id
""")
_END = sa.text("""
    UPDATE chunk SET state = :state, lease_until = NULL, code = :code, error = :error,
                     finished_at = now()
    WHERE id = :id
""")
_SPLIT_INTO = sa.text("""
    INSERT INTO chunk (job_id, stage_id, parent_id, kind, items, size)
    SELECT job_id, stage_id, id, kind, CAST(:items AS bigint[]), :size FROM chunk WHERE id = :id
""")


@dataclass(frozen=True)
class Failed:
    """What is needed to decide about a chunk whose attempt failed."""

    id: int
    job_id: int
    stage_id: int
    items: list[int]
    attempt: int
    lost: int
    handler: str
    params: dict[str, Any]
    traceparent: str | None


def lock_failed(connection: sa.Connection, chunk_id: int, lease_token: int) -> Failed | None:
    """Lock a chunk whose attempt failed; None when it is no longer in that attempt's hands."""
    values = {"id": chunk_id, "token": lease_token}
    row = connection.execute(_LOCK_FAILED, values).first()
    return None if row is None else Failed(**row._mapping)


def retry(
    connection: sa.Connection,
    chunk_id: int,
    *,
    delay: float,
    code: str | None,
    error: str | None,
    counted: bool = True,
    lost: bool = False,
) -> None:
    """Put a chunk back to `ready` after `delay` seconds.

    Args:
        connection: whose transaction has locked it.
        chunk_id: of the chunk.
        delay: seconds for which nobody may claim it.
        code: kind of the failure.
        error: its words.
        counted: False gives the attempt back.
        lost: the attempt ended with the worker gone.
    """
    values = {
        "id": chunk_id,
        "delay": delay,
        "code": code,
        "error": error,
        "uncounted": 0 if counted else 1,
        "lost": int(lost),
    }
    connection.execute(_RETRY, values)


def end(
    connection: sa.Connection, chunk_id: int, state: str, *, code: str | None, error: str | None
) -> None:
    """Give a chunk its final state: `dead`, `split` or `cancelled`."""
    connection.execute(_END, {"id": chunk_id, "state": state, "code": code, "error": error})


def split(connection: sa.Connection, chunk_id: int, halves: list[list[int]]) -> None:
    """Replace a chunk by others that hold its items between them."""
    end(connection, chunk_id, "split", code=None, error=None)
    for items in halves:
        connection.execute(_SPLIT_INTO, {"id": chunk_id, "items": items, "size": len(items)})


def add(
    connection: sa.Connection, *, job_id: int, stage_id: int, kind: str, items: list[int], size: int
) -> int:
    """Add one chunk; large plans insert theirs by set-based SQL instead."""
    return int(
        connection.execute(
            sa.text(
                "INSERT INTO chunk (job_id, stage_id, kind, items, size) "
                "VALUES (:job, :stage, :kind, CAST(:items AS bigint[]), :size) RETURNING id"
            ),
            {"job": job_id, "stage": stage_id, "kind": kind, "items": items, "size": size},
        ).scalar_one()
    )


def add_whole(connection: sa.Connection, plan: Claimed, *, size: int = 1) -> None:
    """Add the one chunk of a stage that is a single piece of work; `plan` is its plan chunk."""
    add(connection, job_id=plan.job_id, stage_id=plan.stage_id, kind="work", items=[], size=size)


def notify(connection: sa.Connection) -> None:
    """Wake the reconciler when this transaction commits: there is work, or room for more."""
    connection.execute(sa.text("NOTIFY aparella_work"))
