"""Texts that a pair set's lines are ranked against, and that wrong answers are looked for among."""

from collections.abc import Sequence
from typing import Any, Literal

import sqlalchemy as sa


def set_name(connection: sa.Connection, pair_set_id: int) -> str:
    """The name of a pair set."""
    query = sa.text("SELECT name FROM pair_set WHERE id = :id")
    return str(connection.execute(query, {"id": pair_set_id}).scalar_one())


def targets(connection: sa.Connection, pair_set_id: int) -> dict[bytes, str]:
    """The set's target texts by their hash, in the order of the hashes, rejected ones too."""
    query = sa.text("""
        SELECT DISTINCT ON (target_hash) target_hash, target_text FROM pair
        WHERE pair_set_id = :id ORDER BY target_hash
    """)
    rows = connection.execute(query, {"id": pair_set_id})
    return {bytes(row.target_hash): row.target_text for row in rows}


def attributes(
    connection: sa.Connection,
    pair_set_id: int,
    side: Literal["source", "target"],
    hashes: Sequence[bytes],
) -> dict[str, dict[str, Any]]:
    """Of a set's list or catalogue, the attributes by text of the texts with these hashes.

    Of several records of one text those of the first, as a match takes them.
    """
    query = sa.text(f"""
        SELECT DISTINCT ON (r.text_hash) r.text, r.attributes FROM record r
        WHERE r.collection_id = (SELECT {side}_collection_id FROM pair_set WHERE id = :id)
          AND r.removed_at IS NULL AND r.text_hash = ANY(:hashes)
        ORDER BY r.text_hash, r.id
    """)
    rows = connection.execute(query, {"id": pair_set_id, "hashes": list(hashes)})
    return {row.text: row.attributes for row in rows if row.attributes}


def catalogue(connection: sa.Connection, pair_set_id: int, *, limit: int) -> dict[int, str]:
    """Up to `limit` distinct texts of the set's catalogue, the same each time, by a record's id.

    Those of the lowest hashes: as good as random. Empty where the set has no catalogue.
    """
    query = sa.text("""
        SELECT DISTINCT ON (r.text_hash) r.id, r.text FROM record r
        WHERE r.collection_id = (SELECT target_collection_id FROM pair_set WHERE id = :id)
          AND r.removed_at IS NULL
        ORDER BY r.text_hash, r.id LIMIT :limit
    """)
    rows = connection.execute(query, {"id": pair_set_id, "limit": limit})
    return {row.id: row.text for row in rows}
