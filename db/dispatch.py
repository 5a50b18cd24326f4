"""Which chunks a message is to be sent for: new ones as there is room, and those whose was lost."""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

# unsent: for one queue, the next chunks without a message, in turn between the stages, so that a
# small job does not wait behind a big one; whose chunks are in work or sent has had its turns, and
# of the others it is the turn of the one that was served longest ago: by their ids alone a few old
# stages would hand the turns on among themselves. Busy chunks are counted once, by the partial
# indexes: a stage may have very many ready ones. Parts of a bisected chunk go first: its rows have
# waited for a lease already, and not for the whole stage
_UNSENT = sa.text("""
    WITH busy AS MATERIALIZED (
        SELECT o.stage_id, count(*) AS chunks FROM (
            SELECT stage_id FROM chunk WHERE state = 'leased' UNION ALL
            SELECT stage_id FROM chunk WHERE state = 'ready' AND sent_at IS NOT NULL) o
        GROUP BY o.stage_id
    )
    SELECT next.id, s.id AS stage_id FROM stage s JOIN job j ON j.id = s.job_id
    LEFT JOIN busy b ON b.stage_id = s.id
    LEFT JOIN unnest(CAST(:stages AS bigint[]), CAST(:rounds AS bigint[])) AS served (id, round)
      ON served.id = s.id
    CROSS JOIN LATERAL (
        SELECT c.id, row_number() OVER (ORDER BY c.parent_id IS NULL, c.id) AS turn FROM chunk c
        WHERE c.stage_id = s.id AND c.state = 'ready' AND c.available_at <= now()
          AND c.sent_at IS NULL
        ORDER BY c.parent_id IS NULL, c.id LIMIT :room) next
    WHERE s.state = 'running' AND s.queue = :queue AND j.paused_at IS NULL
    ORDER BY next.turn + coalesce(b.chunks, 0), coalesce(served.round, 0), next.id LIMIT :room
""")
# untaken: chunks whose message went out long ago and led to no claim
_UNTAKEN = sa.text("""
    SELECT c.id FROM stage s JOIN job j ON j.id = s.job_id JOIN chunk c ON c.stage_id = s.id
    WHERE s.state = 'running' AND s.queue = :queue AND c.state = 'ready' AND j.paused_at IS NULL
      AND c.sent_at < now() - make_interval(secs => :patience)
    ORDER BY c.sent_at, c.id LIMIT :most
""")
_MARK_SENT = sa.text("UPDATE chunk SET sent_at = now() WHERE id = ANY(:ids) AND state = 'ready'")
# load: the messages of a paused job lead to no claim, so they do not count as sent; a paused queue
# gets none
_LOAD = sa.text("""
    SELECT s.queue, count(*) FILTER (WHERE c.state = 'leased') AS leased,
           count(*) FILTER (WHERE c.state = 'ready' AND j.paused_at IS NULL) AS sent
    FROM stage s JOIN job j ON j.id = s.job_id
    LEFT JOIN (SELECT stage_id, state FROM chunk WHERE state = 'leased' UNION ALL
               SELECT stage_id, state FROM chunk WHERE state = 'ready' AND sent_at IS NOT NULL) c
      ON c.stage_id = s.id
    WHERE s.state = 'running' AND NOT EXISTS (SELECT FROM paused_queue p WHERE p.name = s.queue)
    GROUP BY s.queue
""")


@dataclass(frozen=True)
class Load:
    """A queue's chunks: leased ones, and ready ones for which a message went out."""

    queue: str
    leased: int
    sent: int


def load(connection: sa.Connection) -> list[Load]:
    """For each queue that a running stage uses, what is in work and what was sent for it."""
    return [Load(**row._mapping) for row in connection.execute(_LOAD)]


def unsent(
    connection: sa.Connection, queue: str, *, room: int, served: Mapping[int, int] | None = None
) -> dict[int, int]:
    """Up to `room` chunks without a message, in turn between the running stages.

    Args:
        connection: to read with.
        queue: of the chunks.
        room: how many at most.
        served: for stages the number of the round that they last got a message in.

    Returns:
        The stage's id by the chunk's, in the order in which they are to be sent.
    """
    served = served or {}
    values = {
        "queue": queue,
        "room": room,
        "stages": list(served.keys()),
        "rounds": list(served.values()),
    }
    return {row.id: row.stage_id for row in connection.execute(_UNSENT, values)}


def untaken(
    connection: sa.Connection, queue: str, *, most: int, patience_seconds: float
) -> list[int]:
    """Ids of up to `most` chunks whose message is older than the patience, oldest first."""
    values = {"queue": queue, "most": most, "patience": patience_seconds}
    return [int(i) for i in connection.execute(_UNTAKEN, values).scalars()]


def mark_sent(connection: sa.Connection, ids: list[int]) -> None:
    """Note that messages for these chunks went out now."""
    connection.execute(_MARK_SENT, {"ids": ids})
