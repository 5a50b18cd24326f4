"""Queues as the database sees them: what waits, what is in work, and for how long."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

# waiting: ready chunks that may be taken up, by queue and kind of stage; those that wait for their
# next attempt count too: they need a worker soon
_WAITING = sa.text("""
    SELECT s.queue, s.handler,
           count(*) FILTER (WHERE c.state = 'ready' AND NOT rest.s) AS waiting,
           count(*) FILTER (WHERE c.state = 'ready' AND rest.s) AS paused,
           count(*) FILTER (WHERE c.state = 'leased') AS leased
    FROM stage s JOIN job j ON j.id = s.job_id JOIN chunk c ON c.stage_id = s.id
    LEFT JOIN paused_queue p ON p.name = s.queue
    CROSS JOIN LATERAL (SELECT j.paused_at IS NOT NULL OR p.name IS NOT NULL AS s) rest
    WHERE s.state = 'running' AND c.state IN ('ready', 'leased')
    GROUP BY s.queue, s.handler ORDER BY s.queue, s.handler
""")
# oldest: of a stage's unsent chunks the first is the oldest, and of sent ones there are few: flat
# in the number of chunks
_OLDEST = sa.text("""
    SELECT s.queue, extract(epoch FROM now() - min(o.available_at))::float8 AS seconds
    FROM stage s JOIN job j ON j.id = s.job_id
    CROSS JOIN LATERAL (
        (SELECT c.available_at FROM chunk c
         WHERE c.stage_id = s.id AND c.state = 'ready' AND c.sent_at IS NULL
         ORDER BY c.id LIMIT 1)
        UNION ALL
        SELECT c.available_at FROM chunk c
        WHERE c.stage_id = s.id AND c.state = 'ready' AND c.sent_at IS NOT NULL) o
    WHERE s.state = 'running' AND j.paused_at IS NULL AND o.available_at <= now()
      AND NOT EXISTS (SELECT FROM paused_queue p WHERE p.name = s.queue)
    GROUP BY s.queue
""")
_JOBS = sa.text("""
    SELECT CASE WHEN paused_at IS NOT NULL AND state IN ('queued', 'running')
                THEN 'paused' ELSE state END AS state, count(*) AS jobs
    FROM job GROUP BY 1
""")


@dataclass(frozen=True)
class Depth:
    """Chunks of running stages of a kind in a queue; `paused` ones wait, but not for workers."""

    queue: str
    handler: str
    waiting: int
    paused: int
    leased: int


def depths(connection: sa.Connection) -> list[Depth]:
    """What there is to do and in work, for each queue and kind of stage that has any."""
    return [Depth(**row._mapping) for row in connection.execute(_WAITING)]


def oldest_seconds(connection: sa.Connection) -> dict[str, float]:
    """For each queue in which something could be taken up, how long it could have been."""
    return {row.queue: max(0.0, row.seconds) for row in connection.execute(_OLDEST)}


def paused(connection: sa.Connection) -> dict[str, datetime]:
    """The queues that rest, and since when."""
    rows = connection.execute(sa.text("SELECT name, paused_at FROM paused_queue ORDER BY name"))
    return {row.name: row.paused_at for row in rows}


def jobs_by_state(connection: sa.Connection) -> dict[str, int]:
    """How many jobs there are in each state that has any."""
    return {row.state: row.jobs for row in connection.execute(_JOBS)}
