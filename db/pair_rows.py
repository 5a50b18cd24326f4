"""Rows that are to become pairs: gathered in a table of the transaction's own, then written.

Whatever they come from (keys in a file, texts in a file, people's decisions), from there on they
are the same: two texts, what is known of them, and the records they belong to, if any.
"""

from dataclasses import dataclass

import sqlalchemy as sa

from aparella.db.pairs import LIVE, RECORDS

_CREATE = sa.text("""
    CREATE TEMPORARY TABLE pair_row (
        number bigint PRIMARY KEY, source_id bigint, target_id bigint,
        source_text text NOT NULL, target_text text NOT NULL,
        source_hash bytea NOT NULL, target_hash bytea NOT NULL,
        positive boolean NOT NULL, weight real, origin text NOT NULL,
        fold smallint, refreshed boolean NOT NULL DEFAULT false, first bigint
    ) ON COMMIT DROP
""")
_FIRST = sa.text("""
    UPDATE pair_row r SET first = d.first
    FROM (SELECT number, min(number) OVER (PARTITION BY source_hash, target_hash) AS first
          FROM pair_row) d
    WHERE r.number = d.number
""")
# refresh: pairs of the same records with the texts they had before make way; their place in the
# split, what a person decided, and their weight go over to the pair with the texts of now
_REFRESH = sa.text("""
    WITH gone AS (
        DELETE FROM pair p USING pair_row r
        WHERE p.pair_set_id = :set AND p.source_id = r.source_id AND p.target_id = r.target_id
          AND (p.source_hash <> r.source_hash OR p.target_hash <> r.target_hash)
        RETURNING r.first, p.fold, p.origin, p.weight),
    heir AS (SELECT DISTINCT ON (first) * FROM gone ORDER BY first, fold)
    UPDATE pair_row r SET refreshed = true, fold = h.fold, weight = coalesce(r.weight, h.weight),
        origin = CASE h.origin WHEN 'decision' THEN 'decision' ELSE r.origin END
    FROM heir h WHERE r.number = h.first
""")
_DROP_REPEATED = sa.text("DELETE FROM pair_row WHERE first <> number")
# meet: a pair that is there already keeps its records while they bear its texts, and stays a
# person's decision once it was one
_MEET = sa.text(f"""
    UPDATE pair_row r
    SET source_id = CASE WHEN {LIVE} THEN p.source_id ELSE r.source_id END,
        target_id = CASE WHEN {LIVE} THEN p.target_id ELSE r.target_id END,
        weight = coalesce(r.weight, p.weight),
        origin = CASE p.origin WHEN 'decision' THEN 'decision' ELSE r.origin END
    FROM pair p {RECORDS}
    WHERE p.pair_set_id = :set
      AND p.source_hash = r.source_hash AND p.target_hash = r.target_hash
""")
_DIFFERS = """(p.positive, p.weight, p.source_id, p.target_id) IS DISTINCT FROM
              (r.positive, coalesce(r.weight, 1), r.source_id, r.target_id)"""
_COUNT = sa.text(f"""
    SELECT count(*) FILTER (WHERE p.id IS NULL AND NOT r.refreshed) AS new,
           count(*) FILTER (WHERE r.refreshed OR p.id IS NOT NULL AND {_DIFFERS}) AS changed,
           count(*) FILTER (WHERE NOT r.refreshed AND p.id IS NOT NULL AND NOT {_DIFFERS})
             AS unchanged,
           count(*) FILTER (WHERE NOT r.positive) AS rejected
    FROM pair_row r LEFT JOIN pair p
      ON p.pair_set_id = :set
     AND p.source_hash = r.source_hash AND p.target_hash = r.target_hash
""")
_UPSERT = sa.text("""
    INSERT INTO pair AS p (pair_set_id, source_id, target_id, source_text, target_text,
                           source_hash, target_hash, positive, weight, origin, fold)
    SELECT :set, source_id, target_id, source_text, target_text, source_hash, target_hash,
           positive, coalesce(weight, 1), origin, fold
    FROM pair_row ORDER BY source_hash, target_hash
    ON CONFLICT (pair_set_id, source_hash, target_hash) DO UPDATE
    SET positive = excluded.positive, weight = excluded.weight, origin = excluded.origin,
        source_id = excluded.source_id, target_id = excluded.target_id, updated_at = now()
    WHERE (p.positive, p.weight, p.source_id, p.target_id, p.origin) IS DISTINCT FROM
          (excluded.positive, excluded.weight, excluded.source_id, excluded.target_id,
           excluded.origin)
""")
_LEAKS = sa.text("""
    SELECT r.number AS row, p.id AS pair_id
    FROM pair_row r JOIN pair p ON p.pair_set_id = :set
     AND p.source_hash = r.source_hash AND p.target_hash = r.target_hash
    WHERE p.positive AND p.fold IS NULL ORDER BY r.number
""")

LEAK = (
    "this pair would tie texts that models are tested on to texts they learn from, so it is left "
    "out of both training and evaluation: a model tested on what it has seen looks better than it "
    "is"
)
"""Why a pair stands in no fold."""


@dataclass(frozen=True)
class Written:
    """What came of the rows that were taken, in pairs; `rejected` are known not to belong."""

    new: int
    changed: int
    unchanged: int
    rejected: int


@dataclass(frozen=True)
class Leak:
    """A pair that stands in no fold, and the row that it came from."""

    row: int
    pair_id: int


def create(connection: sa.Connection) -> None:
    """Make the table `pair_row`, empty; it is gone with the transaction.

    `number` orders the rows: of those with the same two texts the lowest is taken. A `weight` of
    NULL leaves what is stored, or is 1.
    """
    connection.execute(_CREATE)


def find_repeated(connection: sa.Connection) -> None:
    """Note for each row the first one with its two texts: `first` is `number` where it is that."""
    connection.execute(sa.text("ANALYZE pair_row"))
    connection.execute(_FIRST)


def write(connection: sa.Connection, pair_set_id: int) -> Written:
    """Make pairs of the rows, the first of each two texts; call `find_repeated` before.

    The new ones have no fold yet, unless they stand for a pair whose texts have changed.
    """
    values = {"set": pair_set_id}
    for query in (_REFRESH, _DROP_REPEATED, _MEET):
        connection.execute(query, values)
    written = Written(**connection.execute(_COUNT, values).one()._mapping)
    connection.execute(_UPSERT, values)
    if written.new or written.changed:
        connection.execute(
            sa.text("UPDATE pair_set SET updated_at = now() WHERE id = :set"), values
        )
        # The planner would otherwise take a new set for an empty one.
        connection.execute(sa.text("ANALYZE pair"))
    return written


def leaks(connection: sa.Connection, pair_set_id: int) -> list[Leak]:
    """The rows whose pairs stand in no fold, once folds are stored."""
    return [Leak(**row._mapping) for row in connection.execute(_LEAKS, {"set": pair_set_id})]
