"""Storing vectors: the workers' binary COPY against SQLAlchemy's `insert()` of lists."""

import time
from itertools import count

import numpy as np
import sqlalchemy as sa

from aparella.db import copy, partitions, tables, vectors
from aparella.db.engine import transaction
from aparella.db.tables import DIMENSIONS
from bench._pairs import Figure, compare
from bench._services import stack

ROWS = 20_000
ROWS_INSERTED = 2_000
"""Of the slower side, whose rate is the same whatever the number of rows."""
CHUNK = 1_000
"""Rows in a transaction, as in a worker's chunk."""
MODEL = 1


def run() -> list[Figure]:
    """Rows per second of both, in transactions of the same size, into an empty partition each."""
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((ROWS, DIMENSIONS), dtype=np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    block = vectors.Block(
        ids=np.arange(1, ROWS + 1),
        hashes=copy.hashes([rng.bytes(16) for _ in range(ROWS)]),
        vectors=drawn,
    )
    # What the baseline is given is a list already: turning it into one is not counted against it.
    listed = [
        {
            "model_id": MODEL,
            "record_id": int(block.ids[row]),
            "text_hash": block.hashes[row].tobytes(),
            "embedding": block.vectors[row].tolist(),
        }
        for row in range(ROWS_INSERTED)
    ]
    collections = count(1)

    with stack() as on:

        def empty_partition() -> int:
            collection = next(collections)
            with transaction(on.db) as connection:
                partitions.ensure_partition(connection, MODEL, collection)
            return collection

        def ours() -> float:
            collection = empty_partition()
            start = time.perf_counter()
            for i in range(0, ROWS, CHUNK):
                part = slice(i, i + CHUNK)
                with transaction(on.db) as connection:
                    vectors.store(
                        connection,
                        MODEL,
                        collection,
                        vectors.Block(block.ids[part], block.hashes[part], block.vectors[part]),
                    )
            seconds = time.perf_counter() - start
            with transaction(on.db) as connection:
                stored = connection.execute(
                    sa.text("SELECT count(*) FROM embedding WHERE collection_id = :id"),
                    {"id": collection},
                ).scalar_one()
            assert stored == ROWS, f"{stored} rows of {ROWS} are there"
            return ROWS / seconds

        def sqlalchemy_insert() -> float:
            collection = empty_partition()
            rows = [{**row, "collection_id": collection} for row in listed]
            start = time.perf_counter()
            for i in range(0, ROWS_INSERTED, CHUNK):
                with transaction(on.db) as connection:
                    connection.execute(sa.insert(tables.models.embedding), rows[i : i + CHUNK])
            return ROWS_INSERTED / (time.perf_counter() - start)

        return [
            compare(
                "store: COPY of vectors : SQLAlchemy insert()",
                ours,
                sqlalchemy_insert,
                unit="rows/s",
                target=20,
            )
        ]
