"""The HNSW index on one partition's vectors, and nearest neighbours through it.

The index is on a `halfvec` cast: half the size, twice the speed, and a recall that is measured on
every job. Candidates are re-ranked by the float32 vectors, so reported scores are exact.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from aparella.db.partitions import partition
from aparella.db.tables import DIMENSIONS
from aparella.db.vectors import count

_CAST = f"halfvec({DIMENSIONS})"
EF_SEARCH = 100
"""Candidates that a search keeps: recall 0.9998 on 100,000 clustered vectors."""
_DROP_PATIENCE_S = 2
"""Seconds for which dropping an old index may hold up those who read its table."""
_LOCK_NOT_AVAILABLE = "55P03"
# resources: as much memory as the worker is set to, or the server if that is more; as many parallel
# workers as the server lets one query have
_RESOURCES = sa.text("""
    SELECT set_config('maintenance_work_mem', greatest(:wanted * 1024,
                      (SELECT setting::bigint FROM pg_settings
                       WHERE name = 'maintenance_work_mem')) || 'kB', true),
           set_config('max_parallel_maintenance_workers',
                      current_setting('max_parallel_workers'), true)
""")
_END = sa.text("SELECT end_index(:model, :collection, :old, CAST(:new AS text))")
_PROGRESS = sa.text("""
    SELECT phase, round(100.0 * greatest(blocks_done::float8 / nullif(blocks_total, 0),
                                         tuples_done::float8 / nullif(tuples_total, 0))) AS percent
    FROM pg_stat_progress_create_index
    WHERE datname = current_database() AND relid = to_regclass(:table)
""")
_STORE_RECALL = sa.text("""
    INSERT INTO index_recall (model_id, collection_id, ef_search, recall, sample, k)
    VALUES (:model, :collection, :ef, :recall, :sample, :k)
""")
_HAS_RECALL = sa.text("""
    SELECT EXISTS (SELECT FROM index_recall r JOIN vector_index v
                   ON v.model_id = r.model_id AND v.collection_id = r.collection_id
                   AND v.built_at <= r.measured_at
                   WHERE r.model_id = :model AND r.collection_id = :collection)
""")


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
    connection.execute(_RESOURCES, {"wanted": int(memory_mb)})
    # By functions with their owner's rights: a worker owns no table.
    values = {"model": model_id, "collection": collection_id}
    connection.execute(sa.text("SELECT build_index(:model, :collection)"), values)
    _replace(connection, table, name, values)
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


def _replace(connection: sa.Connection, table: str, name: str, place: Mapping[str, int]) -> None:
    """Give the new index its name, after the old ones are dropped.

    Dropping them first would lock their readers out for the whole build. A report may read the
    table for minutes, and whoever comes after a drop that waits for it waits as well: an old index
    that is in use stays, under another name, until the next build.
    """
    query = "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = indexrelid"
    query += " WHERE indrelid = to_regclass(:table) AND starts_with(c.relname, :name)"
    found = connection.execute(sa.text(query), {"table": table, "name": name}).scalars().all()
    for old in set(found) - {f"{name}_new"}:
        try:
            with connection.begin_nested():
                connection.execute(sa.text(f"SET LOCAL lock_timeout = '{_DROP_PATIENCE_S}s'"))
                connection.execute(_END, {**place, "old": old, "new": None})
        except sa.exc.OperationalError as error:
            if getattr(error.orig, "pgcode", None) != _LOCK_NOT_AVAILABLE:
                raise
            if old == name:
                number = len(found)
                renamed = {"old": old, "new": f"{name}_old{number}"}
                connection.execute(_END, {**place, **renamed})
    connection.execute(_END, {**place, "old": f"{name}_new", "new": name})


def progress(connection: sa.Connection, table: str) -> Mapping[str, Any] | None:
    """How far the build of an index on a table is, by the server's own account."""
    row = connection.execute(_PROGRESS, {"table": table}).first()
    return None if row is None else dict(row._mapping)


def store_recall(
    connection: sa.Connection,
    model_id: int,
    collection_id: int,
    measured: Mapping[int, float],
    *,
    sample: int,
    k: int,
) -> None:
    """Note what recall each depth of search was seen to reach, in place of earlier figures."""
    connection.execute(
        sa.text("DELETE FROM index_recall WHERE model_id = :model AND collection_id = :collection"),
        {"model": model_id, "collection": collection_id},
    )
    rows = [
        {"model": model_id, "collection": collection_id, "ef": ef, "recall": recall}
        | {"sample": sample, "k": k}
        for ef, recall in measured.items()
    ]
    if rows:
        connection.execute(_STORE_RECALL, rows)
        # Reports search this partition by functions of its own.
        attach = sa.text("SELECT report_internal.attach(:model, :collection)")
        connection.execute(attach, {"model": model_id, "collection": collection_id})


def has_recall(connection: sa.Connection, model_id: int, collection_id: int) -> bool:
    """Whether the recall of the index that is there was measured."""
    values = {"model": model_id, "collection": collection_id}
    return bool(connection.execute(_HAS_RECALL, values).scalar_one())


def analyze(connection: sa.Connection, model_id: int, collection_id: int) -> None:
    """Refresh the planner's statistics after a bulk load."""
    connection.execute(sa.text(f"ANALYZE {partition(model_id, collection_id)}"))


def nearest(
    connection: sa.Connection,
    model_id: int,
    collection_id: int,
    source_ids: list[int],
    k: int,
    *,
    ef_search: int = EF_SEARCH,
) -> list[tuple[int, int, float]]:
    """The k nearest records of a collection for each source record, by HNSW.

    A record is never its own neighbour. pgvector's iterative scan goes on until k rows pass the
    filters (removed records, vectors of an older text). Those are a subquery and no join: with a
    join it is for the planner's estimates to say whether the index is read in its order at all.

    Returns:
        (source id, target id, cosine rounded to 6 decimals), best first, ties by target id.
    """
    for setting in (
        f"hnsw.ef_search = {max(ef_search, min(k, 1000))}",
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
