"""Partitions of the vectors: one for each model, and in it one for each collection.

Retiring a model is a DROP of its partition, not a DELETE of its rows.
"""

import sqlalchemy as sa


def partition(model_id: int, collection_id: int) -> str:
    """Name of the partition that holds a collection's vectors of one model."""
    return f"embedding_{model_id}_{collection_id}"


def ensure_partition(connection: sa.Connection, model_id: int, collection_id: int) -> None:
    """Create the partition for a model and collection if there is none."""
    name = partition(model_id, collection_id)
    exists = connection.execute(sa.text("SELECT to_regclass(:name)"), {"name": name}).scalar()
    if exists is None:
        # By a function with its owner's rights: who writes vectors owns no table.
        make = sa.text("SELECT make_partition(:model, :collection)")
        connection.execute(make, {"model": model_id, "collection": collection_id})


def collections(connection: sa.Connection, model_id: int) -> list[tuple[int, str, bool]]:
    """Id and name of each collection that has vectors of a model, and whether they are indexed."""
    query = sa.text("""
        SELECT c.id, c.name, EXISTS (SELECT FROM vector_index i WHERE i.model_id = :model
                                     AND i.collection_id = c.id) AS indexed
        FROM collection c WHERE to_regclass('embedding_' || :model || '_' || c.id) IS NOT NULL
        ORDER BY c.id
    """)
    rows = connection.execute(query, {"model": model_id})
    return [(row.id, row.name, row.indexed) for row in rows]
