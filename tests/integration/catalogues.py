"""Large catalogues for tests of reports: seeded clustered vectors, straight into the tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from aparella.db import copy, index, models, partitions, records, vectors
from aparella.db.engine import transaction
from aparella.db.tables import DIMENSIONS

FAMILIES = 100
"""The catalogue's records have this many values of the attribute `family`, 1 % each."""
_ADD = sa.text("""
    INSERT INTO record (collection_id, key, text, text_hash, cleaner_version, attributes)
    SELECT :collection, 'k' || n,
           -- Words of a catalogue's kind: some that many have, one that few have.
           concat_ws(' ', 'article', translate(to_hex(n * 7919 % 100003), '0123456789',
                                               'ghijklmnop'), 'familia', n % :families),
           decode(md5(:name || n), 'hex'), 1,
           jsonb_build_object('family', 'f' || n % :families, 'half', n % 2)
    FROM generate_series(1, :rows) n
""")


@dataclass(frozen=True)
class Filled:
    """A collection whose records have vectors; row i is the record with key `k{i + 1}`."""

    model_id: int
    collection_id: int
    ids: NDArray[np.int64]
    matrix: NDArray[np.float32]


def clustered(rows: int, *, seed: int = 0, per_cluster: int = 50) -> NDArray[np.float32]:
    """Unit vectors around random centres, which are the same for every seed."""
    centres = np.random.default_rng(7).standard_normal(
        (max(1, rows // per_cluster), DIMENSIONS), dtype=np.float32
    )
    rng = np.random.default_rng(seed)
    drawn = centres[rng.integers(0, len(centres), rows)]
    drawn = drawn + 0.7 * rng.standard_normal((rows, DIMENSIONS), dtype=np.float32)
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), dtype=np.float32)


def fill(db: sa.Engine, name: str, matrix: NDArray[np.float32]) -> Filled:
    """A collection of as many records as the matrix has rows, with these vectors."""
    with transaction(db) as connection:
        collection_id = records.ensure_collection(connection, name)
        values = {"collection": collection_id, "name": name, "rows": len(matrix)}
        connection.execute(_ADD, {**values, "families": FAMILIES})
        query = sa.text("SELECT id, text_hash FROM record WHERE collection_id = :c ORDER BY id")
        rows = connection.execute(query, {"c": collection_id}).all()
        model_id = models.find_model(connection, None).id
        partitions.ensure_partition(connection, model_id, collection_id)
        ids = np.array([row.id for row in rows], dtype=np.int64)
        hashes = copy.hashes([bytes(row.text_hash) for row in rows])
        vectors.store(connection, model_id, collection_id, vectors.Block(ids, hashes, matrix))
    with transaction(db) as connection:
        connection.execute(sa.text("ANALYZE record"))
        index.analyze(connection, model_id, collection_id)
    return Filled(model_id, collection_id, ids, matrix)


def build_index(db: sa.Engine, filled: Filled, *, memory_mb: int = 512) -> None:
    """The index, with made-up figures of recall that choose the depths 40, 100, …"""
    measured = {40: 0.97, 100: 0.995, 200: 0.998, 400: 1.0, 1000: 1.0}
    with transaction(db) as connection:
        index.build(connection, filled.model_id, filled.collection_id, memory_mb=memory_mb)
        index.store_recall(
            connection, filled.model_id, filled.collection_id, measured, sample=200, k=10
        )


@contextmanager
def plans(connection: sa.Connection) -> Iterator[list[str]]:
    """The plans of all statements in the block, also of those inside functions, as a list of text.

    By auto_explain, which needs a superuser: those of the test's own server.
    """
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor:
        cursor.execute("LOAD 'auto_explain'")
        for name, value in {
            "log_min_duration": "0",
            "log_nested_statements": "on",
            "log_level": "notice",
            "log_parameter_max_length": "0",
        }.items():
            cursor.execute(f"SET auto_explain.{name} = {value}")
        kept, driver.notices = driver.notices, _Sink()
        try:
            yield driver.notices.found
        finally:
            driver.notices = kept
            connection.rollback()
            cursor.execute("SET auto_explain.log_min_duration = -1")


class _Sink:
    """Takes what the server says; SQLAlchemy, which empties the list it finds, finds none."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def append(self, notice: str) -> None:
        if "plan:" in notice:
            self.found.append(notice)

    def __bool__(self) -> bool:
        return False
