"""A free text looked up in a collection: by key, by trigrams and by words, without any vector."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

_WIDE = 200
# search: a record whose key it is, then those with the most of the text's trigrams in a row; those
# with all its words are found too where the words stand in another order
_SEARCH = sa.text("""
    WITH asked AS MATERIALIZED (SELECT report_internal.plain(:text) AS plain),
    near AS (
        SELECT r.id FROM record r, asked
        WHERE report_internal.plain(r.text) %> asked.plain
          AND r.collection_id = :collection AND r.removed_at IS NULL
        ORDER BY word_similarity(asked.plain, report_internal.plain(r.text)) DESC, r.id
        LIMIT :wide),
    worded AS (
        SELECT r.id FROM record r, asked
        WHERE to_tsvector('simple'::regconfig, report_internal.plain(r.text))
              @@ plainto_tsquery('simple', asked.plain)
          AND r.collection_id = :collection AND r.removed_at IS NULL
        LIMIT :wide),
    keyed AS (
        SELECT r.id FROM record r
        WHERE r.collection_id = :collection AND r.removed_at IS NULL
          AND r.key IN (:text, upper(:text), lower(:text)))
    SELECT r.key, r.text, encode(r.text_hash, 'hex') AS hash, r.attributes,
           word_similarity(asked.plain, report_internal.plain(r.text)) AS similarity
    FROM (SELECT id FROM near UNION SELECT id FROM worded UNION SELECT id FROM keyed) f
    JOIN record r ON r.id = f.id, asked
    ORDER BY r.key IN (:text, upper(:text), lower(:text)) DESC,
             to_tsvector('simple'::regconfig, report_internal.plain(r.text))
               @@ plainto_tsquery('simple', asked.plain) DESC,
             similarity DESC, r.id
    LIMIT :limit
""")


@dataclass(frozen=True)
class Finding:
    """A record that fits a text; `similarity` is pg_trgm's, 0 to 1."""

    key: str
    text: str
    hash: str
    attributes: dict[str, Any]
    similarity: float


def search(
    connection: sa.Connection, collection_id: int, text: str, *, limit: int
) -> list[Finding]:
    """Up to `limit` records that fit a text, accents and case aside, the best first."""
    connection.execute(sa.text("SET LOCAL pg_trgm.word_similarity_threshold = 0.4"))
    values = {"collection": collection_id, "text": text, "limit": limit, "wide": _WIDE}
    return [Finding(**row._mapping) for row in connection.execute(_SEARCH, values)]
