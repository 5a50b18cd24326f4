"""An uploaded file of decisions becoming rows to write; what is wrong is refused row by row."""

from dataclasses import dataclass

import sqlalchemy as sa

# rows: an upload's key is the source's, its text the target's, NULL where the verdict is `none`
_ROWS = sa.text("""
    INSERT INTO decision_row (number, source_id, target_id, verdict, decided_by, note)
    SELECT u.number, s.id, t.id, u.attributes ->> 'verdict', u.attributes ->> 'by',
           u.attributes ->> 'note'
    FROM upload_row u
    JOIN record s ON s.collection_id = :source AND s.key = u.key
    LEFT JOIN record t ON t.collection_id = :target AND t.key = u.text
    WHERE u.upload_id = :upload AND u.code IS NULL
""")
_CONFLICTS = sa.text("""
    WITH bad AS (
        DELETE FROM decision_row r
        USING (SELECT a.number, min(b.number) AS other
               FROM decision_row a JOIN decision_row b
                 ON b.source_id = a.source_id AND b.decided_by = a.decided_by
                AND (b.target_id = a.target_id AND b.verdict <> a.verdict
                     OR 'none' IN (a.verdict, b.verdict) AND 'accept' IN (a.verdict, b.verdict))
               GROUP BY a.number) c
        WHERE r.number = c.number RETURNING r.number, r.decided_by, c.other)
    UPDATE upload_row u SET code = 'conflict', field = 'verdict',
        message = format('%s says the opposite on row %s, so none of the two is taken: keep the '
                         'one that is right', left(bad.decided_by, 60), bad.other)
    FROM bad WHERE u.upload_id = :upload AND u.number = bad.number
""")
_REPEATED = sa.text("""
    WITH again AS (
        DELETE FROM decision_row r
        USING (SELECT number, min(number) OVER (
                   PARTITION BY source_id, target_id, verdict, decided_by) AS first
               FROM decision_row) f
        WHERE r.number = f.number AND f.first < f.number RETURNING r.number, f.first)
    UPDATE upload_row u SET code = 'duplicate_decision',
        message = format('the same decision stands on row %s already; this row adds nothing',
                         again.first)
    FROM again WHERE u.upload_id = :upload AND u.number = again.number
""")
_COUNTS = sa.text("""
    SELECT count(*) AS rows,
           count(*) FILTER (WHERE code = 'duplicate_decision') AS duplicates,
           count(*) FILTER (WHERE code <> 'duplicate_decision') AS refused,
           count(*) FILTER (WHERE code IS NULL AND attributes ->> 'verdict' = 'accept')
             AS accepted,
           count(*) FILTER (WHERE code IS NULL AND attributes ->> 'verdict' = 'reject')
             AS rejected,
           count(*) FILTER (WHERE code IS NULL AND attributes ->> 'verdict' = 'none') AS none
    FROM upload_row WHERE upload_id = :upload
""")


@dataclass(frozen=True)
class Counts:
    """Rows of the file: all, those that repeat another, the refused, the others by verdict."""

    rows: int
    duplicates: int
    refused: int
    accepted: int
    rejected: int
    none: int


def gather(connection: sa.Connection, upload_id: int, source_id: int, target_id: int) -> Counts:
    """Fill `decision_row` with the rows that are right; unknown keys were refused before."""
    values = {"upload": upload_id, "source": source_id, "target": target_id}
    connection.execute(_ROWS, values)
    connection.execute(sa.text("ANALYZE decision_row"))
    connection.execute(_CONFLICTS, values)
    connection.execute(_REPEATED, values)
    return Counts(**connection.execute(_COUNTS, values).one()._mapping)
