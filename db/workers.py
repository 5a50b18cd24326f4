"""Workers and reconcilers as they report themselves; all times are the database's."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from aparella.errors import NotFoundError

NOBODY = UUID(int=0)
"""Stands for the processes that are gone; what they counted is added up in one row of its own."""
FORGOTTEN_AFTER = 3_600.0
"""Seconds for which a worker that stopped or vanished is still listed."""

_REPORT = sa.text("""
    INSERT INTO worker (id, kind, name, host, pid, queues, processes, threads, version,
                        beat_seconds, skew_seconds, memory_bytes, disk_free_bytes)
    VALUES (:id, :kind, :name, :host, :pid, :queues, :processes, :threads, :version,
            :beat_seconds, :clock - extract(epoch FROM clock_timestamp()),
            :memory_bytes, :disk_free_bytes)
    ON CONFLICT (id) DO UPDATE
    SET seen_at = now(), skew_seconds = excluded.skew_seconds,
        memory_bytes = excluded.memory_bytes, disk_free_bytes = excluded.disk_free_bytes
    RETURNING draining
""")
_REPORT_PROCESS = sa.text("""
    INSERT INTO worker_process (worker_id, pid, memory_bytes, figures, rates)
    VALUES (:worker_id, :pid, :memory_bytes, :figures, :rates)
    ON CONFLICT (worker_id, pid) DO UPDATE
    SET seen_at = now(), memory_bytes = excluded.memory_bytes, figures = excluded.figures,
        rates = excluded.rates
""").bindparams(sa.bindparam("figures", type_=JSONB), sa.bindparam("rates", type_=JSONB))
# alive: three beats and a moment without a sign are too long
_SELECT = """
    SELECT w.id, w.kind, w.name, w.host, w.pid, w.queues, w.processes, w.threads, w.version,
           w.draining, w.skew_seconds, w.disk_free_bytes, w.started_at, w.seen_at, w.stopped_at,
           w.memory_bytes + p.memory_bytes AS memory_bytes, p.rates,
           w.stopped_at IS NULL
             AND w.seen_at > now() - make_interval(secs => 3 * w.beat_seconds + 2) AS alive,
           (SELECT count(*) FROM chunk c WHERE c.state = 'leased' AND c.lease_until > now()
              AND c.leased_by = ANY(p.names)) AS busy
    FROM worker w CROSS JOIN LATERAL (
        SELECT coalesce(sum(p.memory_bytes), 0)::bigint AS memory_bytes,
               array_agg(w.host || ':' || p.pid) AS names,
               coalesce(jsonb_agg(p.rates) FILTER (WHERE p.rates <> '{}'), '[]') AS rates
        FROM worker_process p WHERE p.worker_id = w.id AND p.seen_at > now() - interval '1 min') p
"""
_DRAIN = sa.text("""
    UPDATE worker SET draining = :draining
    WHERE id = ANY(:ids) AND stopped_at IS NULL
""")
_GONE = sa.text("""
    DELETE FROM worker WHERE coalesce(stopped_at, seen_at) < now() - make_interval(secs => :after)
    RETURNING id
""")
# leavings: processes of workers that are gone, and replaced ones of those that are not
_LEAVINGS = sa.text("""
    DELETE FROM worker_process
    WHERE worker_id <> :nobody AND seen_at < now() - make_interval(secs => :after)
    RETURNING figures
""")
# pace: by the sums since each process began, so that one odd chunk counts for little
_PACE = sa.text("""
    SELECT sum((p.figures #>> ARRAY['chunks', :handler, 'items'])::float8) AS items,
           sum((p.figures #>> ARRAY['chunks', :handler, 'seconds'])::float8) AS seconds,
           count(*) AS processes
    FROM worker_process p JOIN worker w ON w.id = p.worker_id
    WHERE w.kind = 'worker' AND w.stopped_at IS NULL AND :queue = ANY(w.queues)
      AND p.seen_at > now() - interval '1 minute'
""")
_PAST = sa.text("SELECT figures FROM worker_process WHERE worker_id = :nobody AND pid = 0")


@dataclass(frozen=True)
class Report:
    """What a process says about itself; `clock` is its own, in seconds since 1970."""

    id: UUID
    kind: str
    name: str
    host: str
    pid: int
    queues: list[str]
    processes: int
    threads: int
    version: str
    beat_seconds: float
    clock: float
    memory_bytes: int
    disk_free_bytes: int | None


@dataclass(frozen=True)
class Worker:
    """A worker or reconciler, as it was when it last reported.

    Attributes:
        busy: chunks that its processes have in hand.
        rates: of each process, items a second by kind of stage.
        memory_bytes: of it and its processes.
        alive: whether it reported of late and has not said that it stops.
    """

    id: UUID
    kind: str
    name: str
    host: str
    pid: int
    queues: list[str]
    processes: int
    threads: int
    version: str
    draining: bool
    skew_seconds: float
    disk_free_bytes: int | None
    started_at: datetime
    seen_at: datetime
    stopped_at: datetime | None
    memory_bytes: int
    rates: list[dict[str, float]]
    alive: bool
    busy: int


def report(connection: sa.Connection, own: Report) -> bool:
    """Note that a worker is there; returns whether it is to take no more chunks."""
    return bool(connection.execute(_REPORT, asdict(own)).scalar_one())


def report_process(
    connection: sa.Connection,
    worker_id: UUID,
    pid: int,
    *,
    memory_bytes: int,
    figures: Mapping[str, Any],
    rates: Mapping[str, float],
) -> None:
    """Note what one of a worker's processes has counted since it began."""
    values = {
        "worker_id": worker_id,
        "pid": pid,
        "memory_bytes": memory_bytes,
        "figures": figures,
        "rates": rates,
    }
    connection.execute(_REPORT_PROCESS, values)


def stopped(connection: sa.Connection, worker_id: UUID) -> None:
    """Note that a worker ends in good order."""
    connection.execute(
        sa.text("UPDATE worker SET stopped_at = now() WHERE id = :id"), {"id": worker_id}
    )


def present(connection: sa.Connection) -> list[Worker]:
    """The workers and reconcilers that have not said that they stop, by name, the newest last."""
    query = sa.text(
        _SELECT + " WHERE w.stopped_at IS NULL ORDER BY w.kind DESC, w.name, w.started_at, w.id"
    )
    return [Worker(**row._mapping) for row in connection.execute(query)]


def drain(connection: sa.Connection, name: str, *, draining: bool = True) -> list[Worker]:
    """Let the workers of that name take no more chunks, or again.

    Args:
        connection: in a transaction.
        name: `NAME@HOST`, or `NAME` or `HOST` alone where that means one worker.
        draining: False takes it back.

    Returns:
        Those that it concerns, as they were.

    Raises:
        NotFoundError: none of that name is there, or the short name means several.
    """
    there = [w for w in present(connection) if w.kind == "worker" and w.alive]
    found = [w for w in there if w.name == name]
    if not found:
        found = [w for w in there if name in {w.host, w.name.partition("@")[0]}]
        if len({w.name for w in found}) > 1:
            names = ", ".join(sorted({w.name for w in found}))
            raise NotFoundError(f"{name!r} means several workers: write one of {names}.")
    if not found:
        raise NotFoundError(f"There is no worker {name!r}. `aparella workers` lists them.")
    connection.execute(_DRAIN, {"ids": [w.id for w in found], "draining": draining})
    return found


def figures(connection: sa.Connection) -> list[dict[str, Any]]:
    """What each process has counted, with what is left of those that are gone."""
    return list(connection.execute(sa.text("SELECT figures FROM worker_process")).scalars())


def pace(connection: sa.Connection, handler: str, queue: str) -> tuple[float | None, int]:
    """What is known of the processes that are there to work on a queue.

    Returns:
        Items a second that one of them does of a kind of stage, None while none has done any; and
        how many they are.
    """
    row = connection.execute(_PACE, {"handler": handler, "queue": queue}).one()
    return (row.items / row.seconds if row.seconds else None), row.processes


def forget(connection: sa.Connection, *, after_seconds: float = FORGOTTEN_AFTER) -> list[Any]:
    """Remove what has not been seen for long; returns what it had counted, to be added up."""
    connection.execute(_GONE, {"after": after_seconds})
    values = {"nobody": NOBODY, "after": after_seconds}
    return list(connection.execute(_LEAVINGS, values).scalars())


def past(connection: sa.Connection) -> dict[str, Any]:
    """What processes that are gone have counted, added up."""
    return connection.execute(_PAST, {"nobody": NOBODY}).scalar() or {}


def keep_past(connection: sa.Connection, total: Mapping[str, Any]) -> None:
    """Replace what `past` gives."""
    report_process(connection, NOBODY, 0, memory_bytes=0, figures=total, rates={})


def alive(workers: Iterable[Worker], kind: str = "worker") -> list[Worker]:
    """Those of a kind that are there."""
    return [worker for worker in workers if worker.alive and worker.kind == kind]
