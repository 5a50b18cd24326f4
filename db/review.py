"""The queue of a review: which line of a match job is looked at next, and by whom.

A line is *decided* when a decision about its text of today stands: one of its records was accepted
(and has the text that was looked at), or the catalogue was said to have no counterpart, or each of
its first ten candidates was rejected. So a decision holds for every later job too, and a changed
text asks again; `none` asks again as well when the first candidate has come into the catalogue, or
got its text, after it was said.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from aparella.category import ATTRIBUTES

SHOWN = 10
"""Candidates that a review looks at."""
BLOCK = 32
"""Lines among which those with the same first candidate or category are moved apart."""
_CATEGORY = ", ".join(f"nullif(t.attributes ->> '{name}', '')" for name in ATTRIBUTES)
"""Attributes of the catalogue's records that tell what kind of thing they are; the first counts."""

# build: the most uncertain lines first. In each block of 32 the first line of each candidate and of
# each category comes before the second ones, these before the third ones, and so on. Lines without
# any candidate come last.
_BUILD = sa.text(f"""
    WITH best AS (
        SELECT r.id AS source_id, a.target_id, coalesce(
                   abs(a.confidence - 0.5) * 2,
                   CASE WHEN a.target_id IS NULL THEN 3 ELSE coalesce(a.score - b.score, 1) END
               ) AS certainty
        FROM record r
        LEFT JOIN match a ON a.job_id = :job AND a.source_id = r.id AND a.rank = 1
        LEFT JOIN match b ON b.job_id = :job AND b.source_id = r.id AND b.rank = 2
        LEFT JOIN answer w ON w.job_id = :job AND w.source_id = r.id
        WHERE r.collection_id = :source AND r.removed_at IS NULL AND NOT coalesce(w.accepted, false)
          AND (a.source_id IS NOT NULL OR r.created_at <= :until)
    ), ranked AS (
        SELECT b.*, row_number() OVER (ORDER BY b.certainty, b.source_id) - 1 AS n,
               coalesce({_CATEGORY}) AS category
        FROM best b LEFT JOIN record t ON t.id = b.target_id
    ), turns AS (
        SELECT source_id, n, n / {BLOCK} AS block, greatest(
                   row_number() OVER (PARTITION BY n / {BLOCK}, target_id ORDER BY n),
                   CASE WHEN category IS NULL THEN 1 ELSE
                       row_number() OVER (PARTITION BY n / {BLOCK}, category ORDER BY n) END
               ) AS turn
        FROM ranked
    )
    INSERT INTO review_line (job_id, source_id, place)
    SELECT :job, source_id, row_number() OVER (ORDER BY block, turn, n) FROM turns
    ON CONFLICT (job_id, source_id) DO UPDATE SET place = excluded.place
""")
DECIDED = f"""
    standing AS MATERIALIZED (
        SELECT DISTINCT ON (d.source_id, d.target_id)
               d.source_id, d.target_id, d.verdict, d.decided_at, d.decided_by
        FROM decision d
        JOIN record s ON s.id = d.source_id AND s.collection_id = :source
         AND s.text_hash = d.source_hash
        LEFT JOIN record t ON t.id = d.target_id
        WHERE d.catalogue_id = :catalogue AND {{among}}
          AND (d.target_id IS NULL OR t.text_hash = d.target_hash AND t.removed_at IS NULL)
          AND d.verdict <> 'undo'
          AND d.id NOT IN (SELECT u.undoes_id FROM decision u WHERE u.undoes_id IS NOT NULL)
        ORDER BY d.source_id, d.target_id, d.decided_at DESC, d.id DESC
    ), decided AS MATERIALIZED (
        SELECT d.source_id FROM standing d WHERE d.verdict = 'accept'
        UNION
        SELECT d.source_id FROM standing d
        LEFT JOIN match m ON m.job_id = :job AND m.source_id = d.source_id AND m.rank = 1
        LEFT JOIN record f ON f.id = m.target_id
        WHERE d.verdict = 'none'
          AND coalesce(greatest(f.created_at, f.text_changed_at) <= d.decided_at, true)
        UNION
        SELECT m.source_id
        FROM (SELECT DISTINCT source_id FROM standing WHERE verdict = 'reject') r
        JOIN match m ON m.job_id = :job AND m.source_id = r.source_id AND m.rank <= {SHOWN}
        JOIN record t ON t.id = m.target_id AND t.removed_at IS NULL
        GROUP BY m.source_id
        HAVING bool_and((m.source_id, m.target_id) IN (
            SELECT d.source_id, d.target_id FROM standing d WHERE d.verdict = 'reject'))
    )"""
"""The decisions about texts of today, and the lines that are decided: worked out for all at once,
since their number is that of decisions, which people make, and not that of lines. IN is always
looked up in a hash; EXISTS, and a join, would be a loop where statistics are not of today."""
ALL = DECIDED.format(among="true")
_NUMBER = r"""CASE WHEN s.attributes ->> :attribute ~ '^\s*[-+]?[0-9]+([.,][0-9]+)?\s*$'
    THEN replace(s.attributes ->> :attribute, ',', '.')::numeric END"""
_ORDERS = {
    "uncertain": "l.place",
    "listed": "l.source_id",
    "value": f"{_NUMBER} DESC NULLS LAST, l.place",
}
# lease: a line that another transaction has locked is one that another reviewer is being given, so
# it is passed over
_LEASE = """
    WITH {all}, open AS MATERIALIZED (
        SELECT o.source_id, row_number() OVER () AS turn FROM (
            SELECT l.source_id FROM review_line l JOIN record s ON s.id = l.source_id
            WHERE l.job_id = :job AND s.removed_at IS NULL
              AND (l.lease_until IS NULL OR l.lease_until <= clock_timestamp())
              AND l.source_id NOT IN (SELECT d.source_id FROM decided d)
            ORDER BY l.skips, {order}, l.source_id LIMIT :wide) o
    ), next AS MATERIALIZED (
        SELECT l.source_id, open.turn FROM open JOIN review_line l USING (source_id)
        WHERE l.job_id = :job
          AND (l.lease_until IS NULL OR l.lease_until <= clock_timestamp())
        ORDER BY open.turn LIMIT :limit FOR UPDATE OF l SKIP LOCKED
    )
    UPDATE review_line l SET leased_by = :by,
        lease_until = clock_timestamp() + make_interval(mins => :minutes)
    FROM next WHERE l.job_id = :job AND l.source_id = next.source_id
    RETURNING next.turn, l.source_id, l.skips, l.lease_until
"""
_AT_ONCE = 200
"""Lines beyond those wanted that are looked for: others may be given as many at the same moment."""
_SOURCES = sa.text("""
    SELECT s.id, s.key, s.text, encode(s.text_hash, 'hex') AS hash, s.attributes
    FROM record s WHERE s.id = ANY(:ids)
""")
_CANDIDATES = sa.text(f"""
    WITH {DECIDED.format(among="d.source_id = ANY(:ids)")}
    SELECT m.source_id, m.rank, t.key, t.text, encode(t.text_hash, 'hex') AS hash, t.attributes,
           m.score, m.confidence, d.verdict, d.decided_by
    FROM match m JOIN record t ON t.id = m.target_id
    LEFT JOIN standing d ON d.source_id = m.source_id AND d.target_id = m.target_id
    WHERE m.job_id = :job AND m.source_id = ANY(:ids) AND m.rank <= {SHOWN}
      AND t.removed_at IS NULL
    ORDER BY m.source_id, m.rank
""")
_RETURN = sa.text("""
    UPDATE review_line l SET lease_until = NULL, leased_by = NULL,
        skips = l.skips + CAST(:skip AS integer)
    FROM record s
    WHERE l.job_id = :job AND s.id = l.source_id AND s.key = ANY(:keys) AND l.leased_by = :by
      AND l.lease_until > clock_timestamp()
""")
_LEASE_UNDONE = sa.text("""
    UPDATE review_line l SET leased_by = :by,
        lease_until = clock_timestamp() + make_interval(mins => :minutes)
    FROM decision d
    WHERE d.id = :decision AND l.job_id = :job AND l.source_id = d.source_id
      AND (l.leased_by = :by OR l.lease_until IS NULL OR l.lease_until <= clock_timestamp())
""")

LEASE_MINUTES = 10


@dataclass(frozen=True)
class Candidate:
    """A record that may be the line's counterpart, and what was last decided about the two."""

    rank: int
    key: str
    text: str
    hash: str
    attributes: dict[str, Any]
    score: float
    confidence: float | None
    verdict: str | None
    decided_by: str | None


@dataclass(frozen=True)
class Line:
    """A line to look at, leased until then; `skips`: how often it was put off."""

    key: str
    text: str
    hash: str
    attributes: dict[str, Any]
    skips: int
    lease_until: datetime
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class Reviewed:
    """What is reviewed: a match job that has ended, and its two collections."""

    job_id: int
    source_id: int
    catalogue_id: int
    until: datetime


def build(connection: sa.Connection, reviewed: Reviewed) -> None:
    """Put the job's lines in order, unless that was done since it ended."""
    values = {
        "job": reviewed.job_id,
        "source": reviewed.source_id,
        "until": reviewed.until,
    }
    query = "SELECT built_at FROM review WHERE job_id = :job"
    built = connection.execute(sa.text(query), values).scalar()
    if built is not None and built >= reviewed.until:
        return
    connection.execute(
        sa.text("INSERT INTO review (job_id) VALUES (:job) ON CONFLICT DO NOTHING"), values
    )
    built = connection.execute(sa.text(query + " FOR UPDATE"), values).scalar()
    if built is not None and built >= reviewed.until:
        return  # somebody else did meanwhile
    connection.execute(_BUILD, values)
    # The planner would otherwise take a new queue for an empty one.
    connection.execute(sa.text("ANALYZE review_line"))
    connection.execute(
        sa.text("UPDATE review SET built_at = clock_timestamp() WHERE job_id = :job"), values
    )


def lease(
    connection: sa.Connection,
    reviewed: Reviewed,
    *,
    by: str,
    order: str,
    limit: int,
    minutes: int = LEASE_MINUTES,
) -> list[Line]:
    """Give up to `limit` lines to a reviewer; nobody else gets them for so many minutes.

    Args:
        connection: in a transaction; call `build` before, in another one.
        reviewed: the job.
        by: the reviewer.
        order: `uncertain`, `listed`, or `value:ATTR`, which takes the largest number first. Lines
            that were skipped come after all others.
        limit: how many.
        minutes: of the lease, by the database's clock.
    """
    name, _, attribute = order.partition(":")
    query = _LEASE.format(all=ALL, order=_ORDERS[name])
    values: dict[str, Any] = {
        "job": reviewed.job_id,
        "source": reviewed.source_id,
        "catalogue": reviewed.catalogue_id,
        "by": by,
        "minutes": minutes,
        "limit": limit,
        "wide": limit + _AT_ONCE,
    }
    if name == "value":
        values["attribute"] = attribute
    leased = sorted(connection.execute(sa.text(query), values).all())
    values["ids"] = [row.source_id for row in leased]
    sources = {row.id: row for row in connection.execute(_SOURCES, values)}
    candidates: dict[int, list[Candidate]] = {}
    for row in connection.execute(_CANDIDATES, values):
        fields = dict(row._mapping)
        candidates.setdefault(fields.pop("source_id"), []).append(Candidate(**fields))
    return [
        Line(
            key=sources[row.source_id].key,
            text=sources[row.source_id].text,
            hash=sources[row.source_id].hash,
            attributes=sources[row.source_id].attributes,
            skips=row.skips,
            lease_until=row.lease_until,
            candidates=tuple(candidates.get(row.source_id, ())),
        )
        for row in leased
    ]


def give_back(
    connection: sa.Connection, job_id: int, keys: list[str], *, by: str, skip: bool
) -> int:
    """Take a reviewer's leases off these lines; `skip`: they come after all others from now on.

    Returns:
        How many lines were given back: none of those that somebody else has by now.
    """
    values = {"job": job_id, "keys": keys, "by": by, "skip": skip}
    return connection.execute(_RETURN, values).rowcount


def lease_undone(connection: sa.Connection, job_id: int, decision_id: int, *, by: str) -> None:
    """Give a line to whoever has just undone a decision about it, unless another has it."""
    values = {"job": job_id, "decision": decision_id, "by": by, "minutes": LEASE_MINUTES}
    connection.execute(_LEASE_UNDONE, values)
