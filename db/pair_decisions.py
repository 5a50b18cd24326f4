"""What people decided about matches, becoming pairs: accepted ones belong together."""

from dataclasses import dataclass

import sqlalchemy as sa

from aparella.db import pair_rows
from aparella.db.pairs import PairSet

# gather: the newest decision on a pair of records counts; number 1 is the newest of all, so that
# of records with the same texts the newest decision counts too
_GATHER = sa.text("""
    INSERT INTO pair_row (number, source_id, target_id, source_text, target_text, source_hash,
                          target_hash, positive, origin)
    SELECT row_number() OVER (ORDER BY d.decided_at DESC, d.id DESC), s.id, t.id, s.text, t.text,
           s.text_hash, t.text_hash, d.verdict = 'accept', 'decision'
    FROM (SELECT DISTINCT ON (source_id, target_id) * FROM decision
          ORDER BY source_id, target_id, decided_at DESC, id DESC) d
    JOIN record s ON s.id = d.source_id AND s.collection_id = :source AND s.removed_at IS NULL
    JOIN record t ON t.id = d.target_id AND t.collection_id = :target AND t.removed_at IS NULL
""")
_KEYS = """
    JOIN record s ON s.id = r.source_id JOIN record t ON t.id = r.target_id
"""
_REMOVED = sa.text("""
    SELECT DISTINCT s.key AS source_key, t.key AS target_key
    FROM decision d JOIN record s ON s.id = d.source_id JOIN record t ON t.id = d.target_id
    WHERE s.collection_id = :source AND t.collection_id = :target
      AND (s.removed_at IS NOT NULL OR t.removed_at IS NOT NULL) ORDER BY 1, 2
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
        meanwhile, decisions that contradict each other or the file.
    """
    values = {
        "set": pair_set.id,
        "source": pair_set.source_collection_id,
        "target": pair_set.target_collection_id,
    }
    decisions = connection.execute(_GATHER, values).rowcount
    pair_rows.find_repeated(connection)
    notices = [
        Notice(
            "removed_record",
            row.source_key,
            row.target_key,
            "decided about, but one of the two records was removed by a later import",
        )
        for row in connection.execute(_REMOVED, values)
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
