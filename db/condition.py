"""How the database and the work in it do, for who looks after them."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

_SERVER = sa.text("""
    SELECT current_setting('server_version') AS version, pg_is_in_recovery() AS read_only,
           (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')
             AS connections,
           current_setting('max_connections')::int AS connections_most,
           pg_database_size(current_database()) AS bytes,
           extract(epoch FROM clock_timestamp())::float8 AS clock,
           (SELECT coalesce(max(extract(epoch FROM now() - xact_start)), 0)::float8
            FROM pg_stat_activity
            WHERE datname = current_database() AND backend_type = 'client backend')
             AS oldest_transaction_seconds
""")
_EXTENSIONS = sa.text("""
    SELECT name, installed_version FROM pg_available_extensions WHERE name = ANY(:names)
""")
_WORK = sa.text("""
    SELECT (SELECT count(*) FROM job
            WHERE state IN ('queued', 'running', 'cancelling') AND paused_at IS NULL) AS open_jobs,
           (SELECT count(*) FROM chunk WHERE state = 'leased'
              AND lease_until < now() - make_interval(secs => :patience)) AS expired,
           (SELECT count(*) FROM chunk WHERE state = 'leased' AND lease_until >= now()
              AND progress_at < now() - make_interval(secs => :idle)) AS idle
""")
_DEAD = sa.text("""
    SELECT j.id, count(*) AS chunks FROM job j JOIN stage s ON s.job_id = j.id
    JOIN chunk c ON c.stage_id = s.id AND c.state = 'dead'
    WHERE j.state IN ('queued', 'running', 'cancelling')
       OR j.finished_at > now() - make_interval(secs => :within)
    GROUP BY j.id ORDER BY j.id DESC
""")

EXTENSIONS = ("vector", "pg_trgm", "unaccent")
"""Those that the schema needs."""


@dataclass(frozen=True)
class Server:
    """The database server.

    Attributes:
        version: its own.
        read_only: it is a replica.
        connections: open now; `connections_most` may be.
        bytes: of this database on its disk.
        clock: its time, in seconds since 1970.
        oldest_transaction_seconds: since the longest open transaction began.
        extensions: versions of those that are needed; None: not installed.
    """

    version: str
    read_only: bool
    connections: int
    connections_most: int
    bytes: int
    clock: float
    oldest_transaction_seconds: float
    extensions: dict[str, str | None]


@dataclass(frozen=True)
class Work:
    """What does not go on as it should.

    Attributes:
        open_jobs: that go on, the paused ones aside.
        expired: chunks whose lease ran out a while ago, and nobody has settled it.
        idle: chunks in hand that make no progress.
        dead: chunks of recent jobs that were given up, by job, the newest first.
    """

    open_jobs: int
    expired: int
    idle: int
    dead: dict[int, int]


def server(connection: sa.Connection) -> Server:
    """Look at the server; whatever schema it has."""
    facts: dict[str, Any] = dict(connection.execute(_SERVER).one()._mapping)
    rows = connection.execute(_EXTENSIONS, {"names": list(EXTENSIONS)})
    found = {row.name: row.installed_version for row in rows}
    return Server(**facts, extensions={name: found.get(name) for name in EXTENSIONS})


def work(
    connection: sa.Connection,
    *,
    patience_seconds: float,
    idle_seconds: float,
    within_seconds: float,
) -> Work:
    """Look at jobs and chunks.

    Args:
        connection: to a database of this version's schema.
        patience_seconds: after which a lease that ran out should have been settled.
        idle_seconds: without progress after which a chunk in hand is worth a look.
        within_seconds: jobs that ended so recently are looked at for dead chunks.
    """
    values = {"patience": patience_seconds, "idle": idle_seconds, "within": within_seconds}
    facts: dict[str, Any] = dict(connection.execute(_WORK, values).one()._mapping)
    dead = {row.id: row.chunks for row in connection.execute(_DEAD, values)}
    return Work(**facts, dead=dead)
