"""The HNSW index on one partition's vectors, and nearest neighbours through it.

The index is on a `halfvec` cast: half the size, twice the speed, and a recall that is measured on
every job. Candidates are re-ranked by the float32 vectors, so reported scores are exact.
"""

from dataclasses import dataclass
from time import monotonic

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from aparella.db.partitions import partition
from aparella.db.tables import DIMENSIONS
from aparella.db.vectors import count

_CAST = f"halfvec({DIMENSIONS})"
_EF_SEARCH = 100
"""Candidates that a search keeps: recall 0.9998 on 100,000 clustered vectors (DESIGN §9)."""


@dataclass(frozen=True)
class Built:
    """An index as it was built: rows in it, seconds it took, bytes on disk."""

    rows: int
    seconds: float
    bytes: int


def built(connection: sa.Connection, model_id: int, collection_id: int) -> Built | None:
    """The index of a model's vectors of a collection, if there is one."""
    row = connection.execute(
        sa.text(
            "SELECT rows, seconds, bytes FROM vector_index "
            "WHERE model_id = :model AND collection_id = :collection"
        ),
        {"model": model_id, "collection": collection_id},
    ).first()
    return None if row is None else Built(**row._mapping)


def build(
    connection: sa.Connection,
    model_id: int,
    collection_id: int,
    *,
    memory_mb: int,
    anew: bool = False,
) -> Built:
    """Build the index, after the bulk load: far cheaper than inserting row by row.

    Readers go on meanwhile; an index that is there already serves them until the last moment.

    Args:
        connection: inside a transaction of its own; `maintenance_work_mem` is set for it alone.
        model_id: whose vectors.
        collection_id: whose records.
        memory_mb: for the build; when the graph does not fit, the build slows down.
        anew: build even if there is one.
    """
    table = partition(model_id, collection_id)
    name = f"ix_{table}_hnsw"
    started = monotonic()
    # One build of an index at a time: who had to wait finds the other's.
    lock = sa.text("SELECT pg_advisory_xact_lock(hashtext(:name))")
    connection.execute(lock, {"name": name})
    if not anew and (existing := built(connection, model_id, collection_id)) is not None:
        return existing
    connection.execute(sa.text(f"SET LOCAL maintenance_work_mem = '{int(memory_mb)}MB'"))
    connection.execute(
        sa.text(
            f"CREATE INDEX {name}_new ON {table} "
            f"USING hnsw ((embedding::{_CAST}) halfvec_cosine_ops) WITH (m = 16, "
            "ef_construction = 64)"
        )
    )
    # Dropping the old one first would lock its readers out for the whole build.
    connection.execute(sa.text(f"DROP INDEX IF EXISTS {name}"))
    connection.execute(sa.text(f"ALTER INDEX {name}_new RENAME TO {name}"))
    size = connection.execute(
        sa.text("SELECT pg_relation_size(to_regclass(:name))"), {"name": name}
    ).scalar_one()
    result = Built(count(connection, model_id, collection_id), monotonic() - started, int(size))
    connection.execute(
        sa.text(
            "INSERT INTO vector_index (model_id, collection_id, rows, seconds, bytes) "
            "VALUES (:model, :collection, :rows, :seconds, :bytes) "
            "ON CONFLICT (model_id, collection_id) DO UPDATE SET rows = excluded.rows, "
            "seconds = excluded.seconds, bytes = excluded.bytes, built_at = now()"
        ),
        {"model": model_id, "collection": collection_id, **result.__dict__},
    )
    return result


def analyze(connection: sa.Connection, model_id: int, collection_id: int) -> None:
    """Refresh the planner's statistics after a bulk load."""
    connection.execute(sa.text(f"ANALYZE {partition(model_id, collection_id)}"))


def nearest(
    connection: sa.Connection,
    model_id: int,
    collection_id: int,
    source_ids: list[int],
    k: int,
) -> list[tuple[int, int, float]]:
    """The k nearest records of a collection for each source record, by HNSW.

    A record is never its own neighbour. pgvector's iterative scan goes on until k rows pass the
    filters (removed records, vectors of an older text). Those are a subquery and no join: with a
    join it is for the planner's estimates to say whether the index is read in its order at all.

    Returns:
        (source id, target id, cosine rounded to 6 decimals), best first, ties by target id.
    """
    for setting in (
        f"hnsw.ef_search = {max(_EF_SEARCH, min(k, 1000))}",
        "hnsw.iterative_scan = relaxed_order",
        # Of all ways to find neighbours in order, only the index needs no sort. The planner, which
        # expects hardly a row to pass the filters, would rather read all rows and sort them.
        "enable_seqscan = off",
        "enable_sort = off",
    ):
        connection.execute(sa.text(f"SET LOCAL {setting}"))
    query = sa.text(f"""
        SELECT s.id AS source_id, n.record_id AS target_id,
               round((1 - (n.embedding <=> q.embedding))::numeric, 6)::float8 AS score
        FROM record s
        JOIN embedding q ON q.model_id = :model AND q.collection_id = s.collection_id
          AND q.record_id = s.id AND q.text_hash = s.text_hash
        CROSS JOIN LATERAL (
            SELECT e.record_id, e.embedding
            FROM {partition(model_id, collection_id)} e
            WHERE e.record_id <> s.id
              AND (SELECT r.text_hash = e.text_hash AND r.removed_at IS NULL
                   FROM record r WHERE r.id = e.record_id)
            ORDER BY e.embedding::{_CAST} <=> q.embedding::{_CAST}
            LIMIT :k) n
        WHERE s.id = ANY(:ids)
    """)
    rows = connection.execute(query, {"model": model_id, "ids": source_ids, "k": k})
    found = [(int(source), int(target), float(score)) for source, target, score in rows]
    return sorted(found, key=lambda row: (row[0], -row[2], row[1]))


def as_arrays(
    found: list[tuple[int, int, float]], source_ids: NDArray[np.int64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Neighbours as arrays of shape (n, k), a row for each source id; -1 and NaN where none is."""
    ids = np.full((len(source_ids), k), -1, dtype=np.int64)
    scores = np.full((len(source_ids), k), np.nan, dtype=np.float32)
    rows = {int(source): row for row, source in enumerate(source_ids)}
    ranks: dict[int, int] = {}
    for source, target, score in found:
        rank = ranks.get(source, 0)
        ids[rows[source], rank], scores[rows[source], rank] = target, score
        ranks[source] = rank + 1
    return ids, scores
