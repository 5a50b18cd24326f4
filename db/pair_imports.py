"""An uploaded file of pairs becoming rows to write: by keys or by texts; what is wrong is refused.

All of it runs in the one transaction that also writes the pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from aparella.db import pair_rows
from aparella.db.pairs import PairSet

# swapped: of the rows, how many keys are unknown where they should be and known on the other side
_SWAPPED = sa.text("""
    SELECT count(*) AS rows,
           count(*) FILTER (WHERE s.id IS NULL AND other_s.id IS NOT NULL) AS sources,
           count(*) FILTER (WHERE t.id IS NULL AND other_t.id IS NOT NULL) AS targets
    FROM upload_row u
    LEFT JOIN record s ON s.collection_id = :source AND s.key = u.key
    LEFT JOIN record other_s ON other_s.collection_id = :target AND other_s.key = u.key
    LEFT JOIN record t ON t.collection_id = :target AND t.key = u.text
    LEFT JOIN record other_t ON other_t.collection_id = :source AND other_t.key = u.text
    WHERE u.upload_id = :upload AND u.code IS NULL
""")
# unknown: one fault a row, the source's before the target's. A key is close to another if only
# case, spaces, punctuation or leading zeros tell them apart, which spreadsheets are careless with.
_UNKNOWN = sa.text("""
    WITH side AS (
        SELECT u.number, f.field, f.collection_id, f.collection, f.key, r.id,
               r.removed_at IS NOT NULL AS removed, f.place
        FROM upload_row u
        CROSS JOIN LATERAL (VALUES
            (1, CAST(:source_column AS text), CAST(:source AS bigint),
             CAST(:source_name AS text), u.key),
            (2, :target_column, :target, :target_name, u.text))
            AS f(place, field, collection_id, collection, key)
        LEFT JOIN record r ON r.collection_id = f.collection_id AND r.key = f.key
        WHERE u.upload_id = :upload AND u.code IS NULL AND f.key IS NOT NULL),
    bad AS (SELECT DISTINCT ON (number) * FROM side WHERE id IS NULL OR removed
            ORDER BY number, place),
    plain AS (SELECT DISTINCT collection_id, key,
                     ltrim(upper(translate(key, E' \\t.-_/', '')), '0') AS plain
              FROM bad WHERE id IS NULL),
    close AS (SELECT p.collection_id, p.key, min(r.key) AS close
              FROM plain p JOIN record r ON r.collection_id = p.collection_id
               AND ltrim(upper(translate(r.key, E' \\t.-_/', '')), '0') = p.plain
              WHERE p.plain <> '' AND r.removed_at IS NULL GROUP BY p.collection_id, p.key)
    UPDATE upload_row u SET field = b.field,
        code = CASE WHEN b.removed THEN 'removed_record' ELSE 'unknown_key' END,
        message = CASE WHEN b.removed
            THEN format('the record ''%s'' was removed from ''%s'' by a later import: '
                        'import it again, or leave this row out', left(b.key, 60), b.collection)
            ELSE format('''%s'' has no record with the key ''%s''%s: '
                        'correct the key, or import the record first', b.collection,
                        left(b.key, 60), coalesce(' (did you mean ''' || c.close || '''?)', ''))
            END
    FROM bad b LEFT JOIN close c ON c.collection_id = b.collection_id AND c.key = b.key
    WHERE u.upload_id = :upload AND u.number = b.number
""")
_BY_KEYS = sa.text("""
    INSERT INTO pair_row (number, source_id, target_id, source_text, target_text, source_hash,
                          target_hash, positive, weight, origin)
    SELECT u.number, s.id, t.id, s.text, t.text, s.text_hash, t.text_hash,
           CAST(u.attributes ->> 'label' AS boolean), CAST(u.attributes ->> 'weight' AS real),
           'file'
    FROM upload_row u
    JOIN record s ON s.collection_id = :source AND s.key = u.key
    JOIN record t ON t.collection_id = :target AND t.key = u.text
    WHERE u.upload_id = :upload AND u.code IS NULL
""")
_BY_TEXTS = sa.text("""
    INSERT INTO pair_row (number, source_text, target_text, source_hash, target_hash, positive,
                          weight, origin)
    SELECT number, attributes ->> 'source', cleaned,
           decode(attributes ->> 'source_hash', 'hex'), text_hash,
           CAST(attributes ->> 'label' AS boolean), CAST(attributes ->> 'weight' AS real), 'file'
    FROM upload_row WHERE upload_id = :upload AND code IS NULL
""")
_CLEANED = sa.text("""
    UPDATE upload_row u
    SET cleaned = c.target, text_hash = c.target_hash, repaired = c.repaired,
        attributes = u.attributes || jsonb_build_object(
            'source', c.source, 'source_hash', encode(c.source_hash, 'hex')),
        code = c.code, field = c.field, message = c.message
    FROM unnest(CAST(:numbers AS bigint[]), CAST(:sources AS text[]), CAST(:targets AS text[]),
                CAST(:source_hashes AS bytea[]), CAST(:target_hashes AS bytea[]),
                CAST(:repaired AS text[]), CAST(:codes AS text[]), CAST(:fields AS text[]),
                CAST(:messages AS text[]))
         AS c(number, source, target, source_hash, target_hash, repaired, code, field, message)
    WHERE u.upload_id = :upload AND u.number = c.number
""")
_CONFLICTS = sa.text("""
    WITH bad AS (
        DELETE FROM pair_row r
        USING (SELECT source_hash, target_hash, min(number) FILTER (WHERE positive) AS yes,
                      min(number) FILTER (WHERE NOT positive) AS no
               FROM pair_row GROUP BY source_hash, target_hash
               HAVING bool_or(positive) AND NOT bool_and(positive)) c
        WHERE r.source_hash = c.source_hash AND r.target_hash = c.target_hash
        RETURNING r.number, c.yes, c.no)
    UPDATE upload_row u SET code = 'conflict', field = 'label',
        message = format('the same pair has the label 1 on row %s and 0 on row %s, so none of them '
                         'is taken: keep the one that is right', bad.yes, bad.no)
    FROM bad WHERE u.upload_id = :upload AND u.number = bad.number
""")
_DECIDED = sa.text("""
    WITH bad AS (
        DELETE FROM pair_row r USING pair p
        WHERE p.pair_set_id = :set AND p.origin = 'decision' AND p.positive <> r.positive
          AND (p.source_hash = r.source_hash AND p.target_hash = r.target_hash
               OR p.source_id = r.source_id AND p.target_id = r.target_id)
        RETURNING r.number, p.positive)
    UPDATE upload_row u SET code = 'decided', field = 'label',
        message = format('a person has %s this pair, and that stands: correct the row, or decide '
                         'anew', CASE WHEN bad.positive THEN 'accepted' ELSE 'rejected' END)
    FROM bad WHERE u.upload_id = :upload AND u.number = bad.number
""")
_REPEATED = sa.text("""
    UPDATE upload_row u SET code = 'duplicate_pair', field = NULL,
        message = format(CASE WHEN r.source_id = f.source_id AND r.target_id = f.target_id
                                OR r.source_id IS NULL
                         THEN 'the same pair stands on row %s already'
                         ELSE 'other keys, but the same two texts as on row %s: one pair to a '
                              'model' END || '; this row adds nothing', r.first)
    FROM pair_row r JOIN pair_row f ON f.number = r.first
    WHERE r.first <> r.number AND u.upload_id = :upload AND u.number = r.number
""")
_COUNTS = sa.text("""
    SELECT count(*) AS rows,
           count(*) FILTER (WHERE code = 'duplicate_pair') AS duplicates,
           count(*) FILTER (WHERE code <> 'duplicate_pair') AS refused,
           count(*) FILTER (WHERE code IS NULL AND repaired IS NOT NULL) AS repaired
    FROM upload_row WHERE upload_id = :upload
""")
_LEAKED_ROWS = sa.text("""
    INSERT INTO job_error (job_id, stage_id, row, key, code, message)
    SELECT :job, :stage, number, key, 'leak', :message
    FROM upload_row WHERE upload_id = :upload AND number = ANY(:rows) ORDER BY number
""")
_LEAKED_PAIRS = sa.text("""
    INSERT INTO job_error (job_id, stage_id, record_id, key, code, message)
    SELECT :job, :stage, p.source_id, s.key, 'leak', :message
    FROM pair p LEFT JOIN record s ON s.id = p.source_id
    WHERE p.id = ANY(:pairs) ORDER BY p.id
""")


@dataclass(frozen=True)
class Swapped:
    """Of so many `rows`, keys that are unknown on their own side and known on the other."""

    rows: int
    sources: int
    targets: int

    @property
    def certain(self) -> bool:
        """Whether most keys of both columns belong to the other side."""
        return min(self.sources, self.targets) * 2 > self.rows


@dataclass(frozen=True)
class CleanedPair:
    """A row's two texts after cleaning; with a `code` it is refused."""

    number: int
    source: str
    target: str
    source_hash: bytes
    target_hash: bytes
    repaired: str | None
    code: str | None = None
    field: str | None = None
    message: str | None = None


@dataclass(frozen=True)
class Counts:
    """Rows of the file: all, those that repeat another, the refused, those whose text was mended.

    A repeated row is not refused: it says again what is taken.
    """

    rows: int
    duplicates: int
    refused: int
    repaired: int


def texts(
    connection: sa.Connection, upload_id: int, numbers: list[int]
) -> list[tuple[int, str, str]]:
    """Row number, source text and target text, as uploaded, of these rows."""
    rows = connection.execute(
        sa.text(
            "SELECT number, attributes ->> 'source', text FROM upload_row "
            "WHERE upload_id = :upload AND number = ANY(:numbers) ORDER BY number"
        ),
        {"upload": upload_id, "numbers": numbers},
    )
    return [(int(number), str(source), str(target)) for number, source, target in rows]


def store_cleaned(connection: sa.Connection, upload_id: int, rows: Sequence[CleanedPair]) -> None:
    """Write what cleaning made of these rows."""
    values = {
        "upload": upload_id,
        "numbers": [row.number for row in rows],
        "sources": [row.source for row in rows],
        "targets": [row.target for row in rows],
        "source_hashes": [row.source_hash for row in rows],
        "target_hashes": [row.target_hash for row in rows],
        "repaired": [row.repaired for row in rows],
        "codes": [row.code for row in rows],
        "fields": [row.field for row in rows],
        "messages": [row.message for row in rows],
    }
    connection.execute(_CLEANED, values)


def count_swapped(connection: sa.Connection, upload_id: int, pair_set: PairSet) -> Swapped:
    """How many keys of each column belong to the other side."""
    values = {
        "upload": upload_id,
        "source": pair_set.source_collection_id,
        "target": pair_set.target_collection_id,
    }
    return Swapped(**connection.execute(_SWAPPED, values).one()._mapping)


def gather(
    connection: sa.Connection, upload_id: int, pair_set: PairSet, columns: Mapping[str, str]
) -> None:
    """Fill `pair_row` with the upload's good rows, and refuse those whose keys are unknown.

    Args:
        connection: whose transaction has the table `pair_row`.
        upload_id: whose rows.
        pair_set: whose collections the keys belong to; without any, the rows hold texts.
        columns: what the file calls its `source` and its `target`.
    """
    values = {
        "upload": upload_id,
        "source": pair_set.source_collection_id,
        "target": pair_set.target_collection_id,
        "source_name": pair_set.source,
        "target_name": pair_set.target,
        "source_column": columns["source"],
        "target_column": columns["target"],
    }
    if pair_set.source is None:
        connection.execute(_BY_TEXTS, values)
        return
    connection.execute(_UNKNOWN, values)
    connection.execute(_BY_KEYS, values)


def refuse_unknown(
    connection: sa.Connection, upload_id: int, *, source: tuple[int, str], target: tuple[int, str]
) -> None:
    """Refuse rows whose `source_key` or `target_key` is unknown; each side is an id and a name.

    A row without a target's key names no record there, and is not refused for that.
    """
    values = {
        "upload": upload_id,
        "source": source[0],
        "source_name": source[1],
        "source_column": "source_key",
        "target": target[0],
        "target_name": target[1],
        "target_column": "target_key",
    }
    connection.execute(_UNKNOWN, values)


def refuse_contradictions(connection: sa.Connection, upload_id: int, pair_set_id: int) -> None:
    """Refuse rows that contradict each other, or what a person has decided."""
    values = {"upload": upload_id, "set": pair_set_id}
    connection.execute(_CONFLICTS, values)
    connection.execute(_DECIDED, values)


def note_repeated(connection: sa.Connection, upload_id: int) -> None:
    """Note which rows say again what another one says."""
    connection.execute(_REPEATED, {"upload": upload_id})


def count(connection: sa.Connection, upload_id: int) -> Counts:
    """Count the upload's rows by what became of them."""
    return Counts(**connection.execute(_COUNTS, {"upload": upload_id}).one()._mapping)


def report_leaks(
    connection: sa.Connection,
    upload_id: int,
    *,
    job_id: int,
    stage_id: int,
    rows: list[int],
    pairs: list[int],
) -> None:
    """Tell of the rows whose pairs are left out of the split, and of the pairs that now are."""
    values = {"job": job_id, "stage": stage_id, "upload": upload_id, "message": pair_rows.LEAK}
    connection.execute(_LEAKED_ROWS, {**values, "rows": rows})
    connection.execute(_LEAKED_PAIRS, {**values, "pairs": pairs})
