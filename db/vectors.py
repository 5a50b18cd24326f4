"""Vectors of records: partitions, bulk writes, reads, and the HNSW index.

Partitioned by model, then by collection, so that retiring either is a DROP. A vector counts only
while its `text_hash` is its record's: a changed text leaves the old vector behind until the next
embed job overwrites it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from psycopg2.errors import UniqueViolation

from aparella.db import copy
from aparella.db.partitions import partition
from aparella.db.tables import DIMENSIONS

_FIELDS: dict[str, np.dtype[Any]] = {
    "model_id": copy.INT8,
    "collection_id": copy.INT8,
    "record_id": copy.INT8,
    "text_hash": copy.HASH,
    "embedding": copy.vector(DIMENSIONS),
}
_READ = {name: _FIELDS[name] for name in ("record_id", "text_hash", "embedding")}
_MISSING = """
    record r LEFT JOIN embedding e
      ON e.model_id = :model AND e.collection_id = :collection AND e.record_id = r.id
    WHERE r.collection_id = :collection AND r.removed_at IS NULL
      AND e.text_hash IS DISTINCT FROM r.text_hash
"""
CURRENT = """
    embedding e JOIN record r ON r.id = e.record_id AND r.text_hash = e.text_hash
    WHERE e.model_id = :model AND e.collection_id = :collection AND r.removed_at IS NULL
"""
# reuse: texts that this model has encoded before, for a record of whatever collection
_REUSE = sa.text(f"""
    INSERT INTO embedding (model_id, collection_id, record_id, text_hash, embedding)
    SELECT :model, :collection, r.id, r.text_hash, known.embedding
    FROM (SELECT r.id, r.text_hash FROM {_MISSING}) r
    CROSS JOIN LATERAL (
        SELECT k.embedding FROM record s
        JOIN embedding k ON k.model_id = :model AND k.collection_id = s.collection_id
          AND k.record_id = s.id AND k.text_hash = s.text_hash
        WHERE s.text_hash = r.text_hash AND s.id <> r.id LIMIT 1) known
    ORDER BY r.id
    ON CONFLICT (model_id, collection_id, record_id)
    DO UPDATE SET text_hash = excluded.text_hash, embedding = excluded.embedding
""")
_HAS_ANY = sa.text("SELECT EXISTS (SELECT FROM embedding WHERE model_id = :model)")
# plan: one item for each distinct text, chunks in the order of the hashes, which is as good as
# shuffled: every chunk has its share of long texts
_PLAN = sa.text(f"""
    INSERT INTO chunk (job_id, stage_id, items, size)
    SELECT :job, :stage, array_agg(id ORDER BY place), count(*)
    FROM (SELECT id, row_number() OVER (ORDER BY text_hash) - 1 AS place
          FROM (SELECT DISTINCT ON (r.text_hash) r.id, r.text_hash FROM {_MISSING}
                ORDER BY r.text_hash, r.id) texts) numbered
    GROUP BY place / :size
""")
_TEXTS = sa.text("""
    SELECT i.text_hash, i.text, array_agg(r.id ORDER BY r.id) AS ids
    FROM record i
    JOIN record r ON r.text_hash = i.text_hash AND r.collection_id = i.collection_id
      AND r.removed_at IS NULL
    LEFT JOIN embedding e ON e.model_id = :model AND e.collection_id = r.collection_id
      AND e.record_id = r.id
    WHERE i.id = ANY(:items) AND e.text_hash IS DISTINCT FROM r.text_hash
    GROUP BY i.id, i.text_hash, i.text ORDER BY i.text_hash
""")
_UPSERT = sa.text("""
    INSERT INTO embedding (model_id, collection_id, record_id, text_hash, embedding)
    SELECT f.model_id, f.collection_id, f.record_id, f.text_hash, f.embedding
    FROM fresh f JOIN record r ON r.id = f.record_id AND r.text_hash = f.text_hash
    ORDER BY f.record_id
    ON CONFLICT (model_id, collection_id, record_id)
    DO UPDATE SET text_hash = excluded.text_hash, embedding = excluded.embedding
    WHERE embedding.text_hash <> excluded.text_hash
""")


@dataclass(frozen=True)
class DistinctText:
    """A text to encode, and the records that bear it."""

    text_hash: bytes
    text: str
    record_ids: list[int]


@dataclass(frozen=True)
class Block:
    """Vectors of n records: ids (n,) int64, hashes (n,) 16 bytes, vectors (n, 384) float32."""

    ids: NDArray[np.int64]
    hashes: NDArray[Any]
    vectors: NDArray[np.float32]


def behind(
    connection: sa.Connection,
    old_id: int,
    new_id: int,
    collection_id: int,
    *,
    most: int | None = None,
) -> list[int]:
    """Ids of records that have a fitting vector of the old model and none of the new one.

    With `most`, at most so many.
    """
    query = sa.text(f"""
        SELECT r.id FROM {CURRENT.replace(":model", ":old")}
          AND NOT EXISTS (SELECT FROM embedding n WHERE n.model_id = :new
                          AND n.collection_id = :collection AND n.record_id = r.id
                          AND n.text_hash = r.text_hash)
        ORDER BY r.id LIMIT :most
    """)
    values = {"old": old_id, "new": new_id, "collection": collection_id, "most": most}
    return [int(i) for i in connection.execute(query, values).scalars()]


def reuse(connection: sa.Connection, model_id: int, collection_id: int) -> int:
    """Copy vectors of texts that are known from other records; returns how many records got one."""
    values = {"model": model_id, "collection": collection_id}
    if not connection.execute(_HAS_ANY, values).scalar_one():
        return 0  # each record of a million would be looked up for nothing
    return int(connection.execute(_REUSE, values).rowcount)


def count(connection: sa.Connection, model_id: int, collection_id: int) -> int:
    """Records of a collection whose vector fits their text."""
    values = {"model": model_id, "collection": collection_id}
    return int(connection.execute(sa.text(f"SELECT count(*) FROM {CURRENT}"), values).scalar_one())


def count_texts(connection: sa.Connection, model_id: int, collection_id: int) -> int:
    """Distinct texts among the records that `count` counts."""
    values = {"model": model_id, "collection": collection_id}
    query = sa.text(f"SELECT count(DISTINCT e.text_hash) FROM {CURRENT}")
    return int(connection.execute(query, values).scalar_one())


def plan_missing(
    connection: sa.Connection,
    model_id: int,
    collection_id: int,
    *,
    job_id: int,
    stage_id: int,
    size: int,
) -> None:
    """Insert chunks of up to `size` distinct texts for all records without a fitting vector."""
    values = {
        "model": model_id,
        "collection": collection_id,
        "job": job_id,
        "stage": stage_id,
        "size": size,
    }
    connection.execute(_PLAN, values)


def missing_texts(
    connection: sa.Connection, model_id: int, items: Sequence[int]
) -> list[DistinctText]:
    """The texts of these records that still lack a vector, each with all records that bear it."""
    rows = connection.execute(_TEXTS, {"model": model_id, "items": list(items)})
    return [DistinctText(bytes(row.text_hash), row.text, row.ids) for row in rows]


def store(connection: sa.Connection, model_id: int, collection_id: int, block: Block) -> None:
    """Write vectors in bulk: a COPY, or an upsert where some record has a vector already.

    Args:
        connection: inside a transaction.
        model_id: whose vectors these are.
        collection_id: whose records these are.
        block: distinct records.
    """
    order = np.argsort(block.ids)
    columns: dict[str, copy.Array | int] = {
        "model_id": model_id,
        "collection_id": collection_id,
        "record_id": block.ids[order],
        "text_hash": block.hashes[order],
        "embedding": block.vectors[order],
    }
    rows = len(order)
    target = partition(model_id, collection_id)
    try:
        with connection.begin_nested():
            copy.write(connection, target, _FIELDS, columns, rows)
    except UniqueViolation:
        # COPY is the driver's own call: its errors come unwrapped.
        connection.execute(sa.text("CREATE TEMP TABLE fresh (LIKE embedding) ON COMMIT DROP"))
        copy.write(connection, "fresh", _FIELDS, columns, rows)
        connection.execute(_UPSERT)


def load(connection: sa.Connection, model_id: int, collection_id: int) -> Block:
    """All current vectors of a collection, in the order of the record ids.

    Memory is that of the result: rows × (4 × 384 + 24) bytes. Must be the transaction's first
    statement: it takes one snapshot for the count and the rows.
    """
    connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    rows = count(connection, model_id, collection_id)
    return _read(connection, _select(model_id, collection_id) + " ORDER BY e.record_id", rows)


def each_block(
    connection: sa.Connection,
    model_id: int,
    collection_id: int,
    take: Callable[[Block], None],
    *,
    ordered: bool = False,
) -> None:
    """Hand all current vectors on in blocks, `ordered` by record id: memory is that of one."""
    query = _select(model_id, collection_id) + (" ORDER BY e.record_id" if ordered else "")
    copy.read(connection, query, _READ, lambda part: take(_block(part)))


def pages(
    engine: sa.Engine, model_id: int, collection_id: int, *, size: int = 16_384
) -> Iterator[Block]:
    """The same block by block, in the order of the record ids, without a transaction in between."""
    after = -1
    while True:
        query = _select(model_id, collection_id)
        query += f" AND e.record_id > {after} ORDER BY e.record_id LIMIT {int(size)}"
        with engine.connect() as connection:
            block = _read(connection, query, size)
        if not len(block.ids):
            return
        yield block
        after = int(block.ids[-1])


def load_some(connection: sa.Connection, model_id: int, record_ids: Sequence[int]) -> Block:
    """The current vectors of these records of one collection, in the order of the record ids."""
    listed = ",".join(str(int(i)) for i in record_ids)
    query = (
        "SELECT e.record_id, e.text_hash, e.embedding FROM record r JOIN embedding e "
        f"ON e.model_id = {int(model_id)} AND e.collection_id = r.collection_id "
        "AND e.record_id = r.id AND e.text_hash = r.text_hash "
        f"WHERE r.id = ANY('{{{listed}}}'::bigint[]) AND r.removed_at IS NULL "
        "ORDER BY e.record_id"
    )
    return _read(connection, query, len(record_ids))


def sample(connection: sa.Connection, model_id: int, collection_id: int, size: int) -> Block:
    """Current vectors of up to `size` records, the same every time.

    Those of the lowest text hashes: as good as random.
    """
    query = _select(model_id, collection_id) + f" ORDER BY r.text_hash, r.id LIMIT {int(size)}"
    return _read(connection, f"SELECT * FROM ({query}) s ORDER BY record_id", size)


def _select(model_id: int, collection_id: int) -> str:
    # COPY takes no bound values: both are integers.
    where = CURRENT.replace(":model", str(int(model_id)))
    where = where.replace(":collection", str(int(collection_id)))
    return f"SELECT e.record_id, e.text_hash, e.embedding FROM {where}"


def _read(connection: sa.Connection, query: str, rows: int) -> Block:
    block = Block(
        np.empty(rows, dtype=np.int64),
        np.empty(rows, dtype=copy.HASH),
        np.empty((rows, DIMENSIONS), dtype=np.float32),
    )
    filled = 0

    def take(part: NDArray[Any]) -> None:
        nonlocal filled
        place = slice(filled, filled + len(part))
        block.ids[place] = part["record_id"]
        block.hashes[place] = part["text_hash"]
        block.vectors[place] = part["embedding"]["x"]
        filled += len(part)

    copy.read(connection, query, _READ, take)
    return Block(block.ids[:filled], block.hashes[:filled], block.vectors[:filled])


def _block(part: NDArray[Any]) -> Block:
    return Block(
        part["record_id"].astype(np.int64),
        np.ascontiguousarray(part["text_hash"]),
        part["embedding"]["x"].astype(np.float32),
    )
