"""Partitions of the vectors: one for each model, and in it one for each collection.

Retiring a model is a DROP of its partition, not a DELETE of its rows.
"""

import sqlalchemy as sa


def partition(model_id: int, collection_id: int) -> str:
    """Name of the partition that holds a collection's vectors of one model."""
    return f"embedding_{model_id}_{collection_id}"


def ensure_partition(connection: sa.Connection, model_id: int, collection_id: int) -> None:
    """Create the partition for a model and collection if there is none.

    ATTACH takes a weaker lock on the parent than CREATE … PARTITION OF does: readers go on.
    """
    name, parent = partition(model_id, collection_id), f"embedding_{model_id}"
    exists = connection.execute(sa.text("SELECT to_regclass(:name)"), {"name": name}).scalar()
    if exists is not None:
        return
    connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('aparella partition'))"))
    connection.execute(
        sa.text(
            f"CREATE TABLE IF NOT EXISTS {parent} (LIKE embedding INCLUDING ALL) "
            "PARTITION BY LIST (collection_id)"
        )
    )
    _attach(connection, "embedding", parent, model_id)
    connection.execute(sa.text(f"CREATE TABLE IF NOT EXISTS {name} (LIKE embedding INCLUDING ALL)"))
    _attach(connection, parent, name, collection_id)


def _attach(connection: sa.Connection, parent: str, name: str, value: int) -> None:
    attached = sa.text("SELECT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass(:n))")
    if not connection.execute(attached, {"n": name}).scalar_one():
        connection.execute(
            sa.text(f"ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES IN ({value})")
        )


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
