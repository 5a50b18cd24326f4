"""What people decided about matches, becoming pairs: accepted ones belong together.

A decision counts while both records have the texts that it was about.
"""

from dataclasses import dataclass

import sqlalchemy as sa

from aparella.db import pair_rows
from aparella.db.decisions import NOT_UNDONE
from aparella.db.pairs import PairSet
from aparella.db.review import SHOWN

# gather: the newest decision on a pair of records counts; number 1 is the newest of all, so that
# of records with the same texts the newest decision counts too. That the catalogue has no
# counterpart rejects the candidates that were looked at, and what was accepted before.
_GATHER = sa.text(f"""
    WITH said AS (
        SELECT d.id, d.decided_at, d.source_id, d.target_id, d.verdict = 'accept' AS positive,
               d.source_hash, d.target_hash
        FROM decision d
        WHERE d.catalogue_id = :target AND d.verdict IN ('accept', 'reject') AND {NOT_UNDONE}
          AND NOT (d.verdict = 'accept' AND EXISTS (
              SELECT FROM decision n
              WHERE n.source_id = d.source_id AND n.catalogue_id = d.catalogue_id
                AND n.verdict = 'none' AND n.source_hash = d.source_hash
                AND (n.decided_at, n.id) > (d.decided_at, d.id)
                AND NOT EXISTS (SELECT FROM decision u WHERE u.undoes_id = n.id)))
        UNION ALL
        SELECT d.id, d.decided_at, d.source_id, m.target_id, false, d.source_hash, t.text_hash
        FROM decision d
        JOIN match m ON m.job_id = d.job_id AND m.source_id = d.source_id AND m.rank <= {SHOWN}
        JOIN record t ON t.id = m.target_id AND coalesce(t.text_changed_at <= d.decided_at, true)
        WHERE d.catalogue_id = :target AND d.verdict = 'none' AND {NOT_UNDONE}),
    chosen AS (
        SELECT d.*, s.text AS source_text, t.text AS target_text
        FROM (SELECT DISTINCT ON (source_id, target_id) * FROM said
              ORDER BY source_id, target_id, decided_at DESC, id DESC) d
        JOIN record s ON s.id = d.source_id AND s.collection_id = :source
         AND s.removed_at IS NULL AND s.text_hash = d.source_hash
        JOIN record t ON t.id = d.target_id AND t.removed_at IS NULL
         AND t.text_hash = d.target_hash),
    gathered AS (
        INSERT INTO pair_row (number, source_id, target_id, source_text, target_text, source_hash,
                              target_hash, positive, origin)
        SELECT row_number() OVER (ORDER BY decided_at DESC, id DESC, target_id), source_id,
               target_id, source_text, target_text, source_hash, target_hash, positive, 'decision'
        FROM chosen)
    SELECT count(DISTINCT id) FROM chosen
""")
_KEYS = """
    JOIN record s ON s.id = r.source_id JOIN record t ON t.id = r.target_id
"""
_OUTDATED = sa.text(f"""
    SELECT DISTINCT s.key AS source_key, t.key AS target_key,
           s.removed_at IS NOT NULL OR t.removed_at IS NOT NULL AS removed
    FROM decision d JOIN record s ON s.id = d.source_id JOIN record t ON t.id = d.target_id
    WHERE s.collection_id = :source AND d.catalogue_id = :target AND {NOT_UNDONE}
      AND (s.removed_at IS NOT NULL OR t.removed_at IS NOT NULL
           OR (s.text_hash, t.text_hash) <> (d.source_hash, d.target_hash)
              AND NOT EXISTS (
                  SELECT FROM decision n
                  WHERE n.source_id = d.source_id AND n.target_id = d.target_id AND n.id > d.id
                    AND n.verdict <> 'undo'))
    ORDER BY removed DESC, 1, 2
""")
_CONTRADICTED = sa.text(f"""
    SELECT s.key AS source_key, t.key AS target_key, f.positive
    FROM pair_row r JOIN pair_row f ON f.number = r.first {_KEYS}
    WHERE f.positive <> r.positive ORDER BY r.number
""")
_OVERRULED = sa.text(f"""
    SELECT s.key AS source_key, t.key AS target_key, r.positive
    FROM pair_row r JOIN pair p ON p.pair_set_id = :set AND p.origin = 'file'
     AND p.source_hash = r.source_hash AND p.target_hash = r.target_hash {_KEYS}
    WHERE r.first = r.number AND p.positive <> r.positive ORDER BY r.number
""")
_LEFT_OUT = sa.text("""
    SELECT s.key AS source_key, t.key AS target_key
    FROM pair p LEFT JOIN record s ON s.id = p.source_id LEFT JOIN record t ON t.id = p.target_id
    WHERE p.id = ANY(:pairs) ORDER BY p.id
""")


@dataclass(frozen=True)
class Notice:
    """Something about one pair that whoever collects the decisions should know."""

    code: str
    source_key: str | None
    target_key: str | None
    message: str


def gather(connection: sa.Connection, pair_set: PairSet) -> tuple[int, list[Notice]]:
    """Fill `pair_row` with the decisions about records of the set's two collections.

    Returns:
        How many decisions there are, and what is to be said about some: records that were removed
        meanwhile or have another text, decisions that contradict each other or the file.
    """
    values = {
        "set": pair_set.id,
        "source": pair_set.source_collection_id,
        "target": pair_set.target_collection_id,
    }
    decisions = int(connection.execute(_GATHER, values).scalar_one())
    pair_rows.find_repeated(connection)
    notices = [
        Notice(
            "removed_record" if row.removed else "changed_text",
            row.source_key,
            row.target_key,
            "decided about, but one of the two records was removed by a later import"
            if row.removed
            else "decided about, but one of the two texts was changed since: decide anew",
        )
        for row in connection.execute(_OUTDATED, values)
    ]
    notices += [
        Notice(
            "conflict",
            row.source_key,
            row.target_key,
            "other records with the same two texts were later "
            f"{_verdict(row.positive)}: the later decision counts for all of them",
        )
        for row in connection.execute(_CONTRADICTED, values)
    ]
    notices += [
        Notice(
            "overruled",
            row.source_key,
            row.target_key,
            f"{_verdict(row.positive)} by a person, while the file says the opposite: the decision "
            "stands",
        )
        for row in connection.execute(_OVERRULED, values)
    ]
    return decisions, notices


def left_out(connection: sa.Connection, pairs: list[int]) -> list[Notice]:
    """A notice for each of these pairs, which stand in no fold."""
    rows = connection.execute(_LEFT_OUT, {"pairs": pairs})
    return [Notice("leak", row.source_key, row.target_key, pair_rows.LEAK) for row in rows]


def _verdict(positive: bool) -> str:
    return "accepted" if positive else "rejected"
