"""How far a review has come, who did what of it, and where people answered the same line."""

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from aparella.db.decisions import NOT_UNDONE
from aparella.db.review import ALL, SHOWN, Reviewed

_PROGRESS = sa.text(f"""
    WITH {ALL}
    SELECT count(*) AS lines, count(*) FILTER (WHERE decided) AS decided,
           count(*) FILTER (WHERE NOT decided AND leased) AS leased,
           count(*) FILTER (WHERE NOT decided AND NOT leased) AS open,
           count(*) FILTER (WHERE NOT decided AND skips > 0) AS skipped
    FROM (SELECT l.skips, coalesce(l.lease_until > clock_timestamp(), false) AS leased,
                 l.source_id IN (SELECT d.source_id FROM decided d) AS decided
          FROM review_line l JOIN record s ON s.id = l.source_id
          WHERE l.job_id = :job AND s.removed_at IS NULL) lines
""")
_REVIEWERS = sa.text(f"""
    SELECT d.decided_by AS name, count(DISTINCT d.source_id) AS lines,
           count(*) FILTER (WHERE d.verdict = 'accept') AS accepted,
           count(*) FILTER (WHERE d.verdict = 'reject') AS rejected,
           count(*) FILTER (WHERE d.verdict = 'none') AS none
    FROM review_line l JOIN record s ON s.id = l.source_id
    JOIN decision d ON d.source_id = s.id AND d.catalogue_id = :catalogue
     AND d.source_hash = s.text_hash
    WHERE l.job_id = :job AND s.removed_at IS NULL AND {NOT_UNDONE}
    GROUP BY d.decided_by ORDER BY 2 DESC, 1
""")
# answers: what each person last said about a line: the rank of the record that they accepted (its
# key, if it is not among the candidates), or `none`, also where they rejected all candidates
_ANSWERS = sa.text(f"""
    WITH said AS (
        SELECT DISTINCT ON (d.source_id, d.decided_by, d.target_id) d.*
        FROM review_line l JOIN record s ON s.id = l.source_id
        JOIN decision d ON d.source_id = s.id AND d.catalogue_id = :catalogue
         AND d.source_hash = s.text_hash
        WHERE l.job_id = :job AND s.removed_at IS NULL AND {NOT_UNDONE}
        ORDER BY d.source_id, d.decided_by, d.target_id, d.decided_at DESC, d.id DESC),
    answered AS (
        SELECT DISTINCT ON (d.source_id, d.decided_by) d.source_id, d.decided_by,
               CASE d.verdict WHEN 'none' THEN 'none'
                    ELSE coalesce(m.rank::text, 'key ' || t.key) END AS answer
        FROM said d LEFT JOIN record t ON t.id = d.target_id
        LEFT JOIN match m ON m.job_id = :job AND m.source_id = d.source_id
         AND m.target_id = d.target_id
        WHERE d.verdict IN ('accept', 'none')
        ORDER BY d.source_id, d.decided_by, d.decided_at DESC, d.id DESC),
    rejected AS (
        SELECT d.source_id, d.decided_by, 'none' AS answer
        FROM said d JOIN match m ON m.job_id = :job AND m.source_id = d.source_id
         AND m.target_id = d.target_id AND m.rank <= {SHOWN}
        WHERE d.verdict = 'reject' AND NOT EXISTS (
            SELECT FROM answered a
            WHERE a.source_id = d.source_id AND a.decided_by = d.decided_by)
        GROUP BY d.source_id, d.decided_by
        HAVING count(*) = (SELECT count(*) FROM match c WHERE c.job_id = :job
                           AND c.source_id = d.source_id AND c.rank <= {SHOWN}))
    SELECT * FROM (
        SELECT a.*, count(*) OVER (PARTITION BY a.source_id) AS people
        FROM (SELECT * FROM answered UNION ALL SELECT * FROM rejected) a) a
    WHERE people > 1 ORDER BY source_id, decided_by
""")


@dataclass(frozen=True)
class Progress:
    """Lines: `decided`, `leased` and `open` add up to all; `skipped` are not decided."""

    lines: int
    decided: int
    leased: int
    open: int
    skipped: int


@dataclass(frozen=True)
class Reviewer:
    """What one person decided about the lines' texts of today, in whatever job."""

    name: str
    lines: int
    accepted: int
    rejected: int
    none: int


def progress(connection: sa.Connection, reviewed: Reviewed) -> Progress:
    """How far the review has come."""
    values = {
        "job": reviewed.job_id,
        "source": reviewed.source_id,
        "catalogue": reviewed.catalogue_id,
    }
    return Progress(**connection.execute(_PROGRESS, values).one()._mapping)


def reviewers(connection: sa.Connection, reviewed: Reviewed) -> list[Reviewer]:
    """Who decided, those with most lines first."""
    values = {"job": reviewed.job_id, "catalogue": reviewed.catalogue_id}
    return [Reviewer(**row._mapping) for row in connection.execute(_REVIEWERS, values)]


def answers(connection: sa.Connection, reviewed: Reviewed) -> Iterator[tuple[int, str, str]]:
    """Line, person and answer, where more than one person answered, by line."""
    values = {"job": reviewed.job_id, "catalogue": reviewed.catalogue_id}
    for row in connection.execute(_ANSWERS, values):
        yield row.source_id, row.decided_by, row.answer
