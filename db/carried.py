"""Answers that a match job takes over from an earlier one, and what has moved since that one."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

# plan: lines that the earlier job answered and whose text is the same; none that was carried over
_PLAN = sa.text("""
    INSERT INTO chunk (job_id, stage_id, items, size)
    SELECT :job, :stage, array_agg(id ORDER BY id), count(*)
    FROM (SELECT r.id, row_number() OVER (ORDER BY r.id) - 1 AS place FROM record r
          WHERE r.collection_id = :collection AND r.removed_at IS NULL
            AND r.changed_edition <= :edition
            AND EXISTS (SELECT FROM match m WHERE m.job_id = :since AND m.source_id = r.id)
            AND NOT EXISTS (SELECT FROM match m WHERE m.job_id = :job AND m.source_id = r.id)
         ) numbered
    GROUP BY place / :size
""")
_LASTS = sa.text("""
    SELECT m.source_id, count(*) AS candidates, min(m.score) AS last,
           bool_or(t.changed_edition > :edition) AS touched, a.floors
    FROM match m JOIN record t ON t.id = m.target_id
    LEFT JOIN answer a ON a.job_id = m.job_id AND a.source_id = m.source_id
    WHERE m.job_id = :since AND m.source_id = ANY(:ids) GROUP BY m.source_id, a.floors
""")
_CARRY_MATCHES = sa.text("""
    INSERT INTO match (job_id, source_id, rank, target_id, score, confidence)
    SELECT :job, source_id, rank, target_id, score, confidence FROM match
    WHERE job_id = :since AND source_id = ANY(:ids) ORDER BY source_id, rank
""")
_CARRY_ANSWERS = sa.text("""
    INSERT INTO answer (job_id, source_id, evidence, accepted, contradicted, floors)
    SELECT :job, a.source_id, a.evidence,
           coalesce(m.confidence >= CAST(:threshold AS real) AND NOT a.contradicted, false),
           a.contradicted, a.floors
    FROM answer a
    LEFT JOIN match m ON m.job_id = a.job_id AND m.source_id = a.source_id AND m.rank = 1
    WHERE a.job_id = :since AND a.source_id = ANY(:ids) ORDER BY a.source_id
""")
_MISSED = sa.text("""
    SELECT EXISTS (SELECT FROM job_error e JOIN record r ON r.id = e.record_id
                   WHERE e.job_id = :since AND r.collection_id = :target)
""")
_MOVED = sa.text("""
    WITH firsts AS (
        SELECT r.id, r.removed_at IS NOT NULL AS removed, o.target_id AS before,
               n.target_id AS now
        FROM record r
        LEFT JOIN match o ON o.job_id = :since AND o.source_id = r.id AND o.rank = 1
        LEFT JOIN match n ON n.job_id = :job AND n.source_id = r.id AND n.rank = 1
        WHERE r.collection_id = :source
    )
    SELECT count(*) FILTER (WHERE NOT removed AND before = now) AS unchanged,
           count(*) FILTER (WHERE NOT removed AND before <> now) AS changed,
           count(*) FILTER (WHERE NOT removed AND before IS NULL AND now IS NOT NULL)
             AS newly_matched,
           count(*) FILTER (WHERE NOT removed AND before IS NOT NULL AND now IS NULL) AS lost,
           count(*) FILTER (WHERE removed AND before IS NOT NULL) AS gone
    FROM firsts
""")
_DONE = sa.text("""
    SELECT coalesce(sum(c.size - c.failed) FILTER (WHERE s.handler = 'carry'), 0) AS carried,
           coalesce(sum(c.size - c.failed) FILTER (WHERE s.handler = 'match'), 0) AS matched
    FROM chunk c JOIN stage s ON s.id = c.stage_id
    WHERE c.job_id = :job AND c.kind = 'work' AND c.state = 'done'
""")


@dataclass(frozen=True)
class Last:
    """An earlier answer.

    Attributes:
        source_id: the line.
        candidates: how many.
        last: their lowest cosine.
        touched: whether one of them has changed or is gone.
        floors: see `Answers.floors`; None where all evidence was not weighed.
    """

    source_id: int
    candidates: int
    last: float
    touched: bool
    floors: list[float] | None


@dataclass(frozen=True)
class Moved:
    """Lines by what became of their first candidate; `gone` ones were removed from the list."""

    unchanged: int
    changed: int
    newly_matched: int
    lost: int
    gone: int


def plan(
    connection: sa.Connection,
    since: int,
    collection_id: int,
    edition: int,
    *,
    job_id: int,
    stage_id: int,
    size: int,
) -> None:
    """Insert chunks of lines whose answers may be taken over.

    Args:
        connection: of the plan's transaction.
        since: the earlier job.
        collection_id: of the lines.
        edition: of that collection when the earlier job looked.
        job_id: the job that takes over.
        stage_id: its stage.
        size: lines of a chunk, at most.
    """
    values = {
        "since": since,
        "collection": collection_id,
        "edition": edition,
        "job": job_id,
        "stage": stage_id,
        "size": size,
    }
    connection.execute(_PLAN, values)


def missed_targets(connection: sa.Connection, since: int, target_id: int) -> bool:
    """Whether some record of the catalogue could not be looked at by the earlier job."""
    values = {"since": since, "target": target_id}
    return bool(connection.execute(_MISSED, values).scalar_one())


def lasts(
    connection: sa.Connection, since: int, ids: Sequence[int], edition: int
) -> dict[int, Last]:
    """The earlier answers to these lines; `edition` of the catalogue when they were given."""
    rows = connection.execute(_LASTS, {"since": since, "ids": list(ids), "edition": edition})
    return {row.source_id: Last(**row._mapping) for row in rows}


def carry(
    connection: sa.Connection,
    since: int,
    job_id: int,
    ids: Sequence[int],
    threshold: float | None,
) -> None:
    """Take over the answers to these lines; accepted unseen is what this job accepts."""
    values = {"since": since, "job": job_id, "ids": list(ids), "threshold": threshold}
    connection.execute(_CARRY_MATCHES, values)
    connection.execute(_CARRY_ANSWERS, values)


def moved(connection: sa.Connection, since: int, job_id: int, source_id: int) -> Moved:
    """What became of the first candidates of a list's lines since the earlier job."""
    values = {"since": since, "job": job_id, "source": source_id}
    return Moved(**connection.execute(_MOVED, values).one()._mapping)


def done(connection: sa.Connection, job_id: int) -> tuple[int, int]:
    """How many lines' answers were taken over, and how many lines were matched."""
    row = connection.execute(_DONE, {"job": job_id}).one()
    return int(row.carried), int(row.matched)
