"""Vectors in PostgreSQL: binary COPY, partitions, upserts, and nearest neighbours by HNSW."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from numpy.typing import NDArray

from aparella.db import copy, index, models, partitions, records, vectors
from aparella.db.engine import transaction
from aparella.db.tables import DIMENSIONS
from aparella.db.vectors import Block
from aparella.errors import JobError, ServiceUnavailableError
from aparella.workers.context import Context
from aparella.workers.matching import Catalogue, recall, top_k
from tests.integration import drive


@dataclass(frozen=True)
class Shelf:
    """A collection of n records in the database, each with a text of its own."""

    db: sa.Engine
    model_id: int
    collection_id: int
    ids: NDArray[np.int64]
    hashes: NDArray[Any]

    def block(self, matrix: NDArray[np.float32], rows: slice = slice(None)) -> Block:
        return Block(self.ids[rows], self.hashes[rows], matrix[rows])

    def store(self, block: Block) -> None:
        with transaction(self.db) as connection:
            partitions.ensure_partition(connection, self.model_id, self.collection_id)
            vectors.store(connection, self.model_id, self.collection_id, block)

    def load(self) -> Block:
        with transaction(self.db) as connection:
            return vectors.load(connection, self.model_id, self.collection_id)

    def count(self) -> int:
        with transaction(self.db) as connection:
            return vectors.count(connection, self.model_id, self.collection_id)

    def build_index(self) -> index.Built:
        with transaction(self.db) as connection:
            return index.build(connection, self.model_id, self.collection_id, memory_mb=64)

    def nearest(self, source_ids: NDArray[np.int64], k: int) -> list[tuple[int, int, float]]:
        with transaction(self.db) as connection:
            return index.nearest(
                connection, self.model_id, self.collection_id, source_ids.tolist(), k
            )


def shelve(db: sa.Engine, name: str, hashes: list[bytes]) -> Shelf:
    """Records straight into the table: their texts do not matter here, the hashes do."""
    with transaction(db) as connection:
        collection_id = records.ensure_collection(connection, name)
        connection.execute(
            sa.text(
                "INSERT INTO record (collection_id, key, text, text_hash, cleaner_version) "
                "SELECT :collection, 'k' || n, 't' || n, hash, 1 "
                "FROM unnest(CAST(:hashes AS bytea[])) WITH ORDINALITY AS h(hash, n)"
            ),
            {"collection": collection_id, "hashes": hashes},
        )
        query = sa.text("SELECT id, text_hash FROM record WHERE collection_id = :c ORDER BY id")
        rows = connection.execute(query, {"c": collection_id}).all()
        model_id = models.find_model(connection, None).id
    return Shelf(
        db,
        model_id,
        collection_id,
        np.array([row.id for row in rows], dtype=np.int64),
        copy.hashes([bytes(row.text_hash) for row in rows]),
    )


def some_hashes(n: int) -> list[bytes]:
    return [number.to_bytes(16, "big") for number in range(1, n + 1)]


def unit(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    return np.asarray(matrix / lengths, dtype=np.float32)


def random_units(n: int, seed: int = 0) -> NDArray[np.float32]:
    return unit(np.random.default_rng(seed).standard_normal((n, DIMENSIONS), dtype=np.float32))


# --- COPY -----------------------------------------------------------------------------------------


def test_what_is_copied_in_comes_out_bit_by_bit(db: sa.Engine) -> None:
    # Hashes that end in zero bytes, or are nothing else, lose them in numpy's own byte strings.
    odd = [bytes(16), b"\0" * 15 + b"\1", b"\1" + b"\0" * 15, b"\xff" * 16, b"ab\0c" * 4]
    shelf = shelve(db, "odd", [*odd, *some_hashes(40)[2:]])
    matrix = random_units(len(shelf.ids))
    matrix[0, :3] = np.array([0.0, -0.0, 1e-38], dtype=np.float32)
    shuffled = np.random.default_rng(1).permutation(len(shelf.ids))
    shelf.store(Block(shelf.ids[shuffled], shelf.hashes[shuffled], matrix[shuffled]))
    found = shelf.load()
    assert found.ids.tolist() == shelf.ids.tolist()
    assert [bytes(h) for h in found.hashes.tolist()[:5]] == odd
    assert found.hashes.tobytes() == shelf.hashes.tobytes()
    assert found.vectors.dtype == np.float32
    assert found.vectors.tobytes() == matrix.tobytes()
    with transaction(db) as connection:
        stored = connection.execute(
            sa.text("SELECT octet_length(text_hash) AS n, count(*) FROM embedding GROUP BY 1")
        ).all()
    assert [tuple(row) for row in stored] == [(16, len(shelf.ids))]


def test_reads_in_blocks_are_the_whole(db: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy, "_SLICE", 7)
    shelf = shelve(db, "list", some_hashes(50))
    matrix = random_units(50)
    shelf.store(shelf.block(matrix))
    blocks: list[Block] = []
    with transaction(db) as connection:
        vectors.each_block(connection, shelf.model_id, shelf.collection_id, blocks.append)
        some = vectors.load_some(connection, shelf.model_id, shelf.ids[[40, 3, 11]].tolist())
    assert len(blocks) > 3
    ids = np.concatenate([block.ids for block in blocks])
    assert sorted(ids.tolist()) == shelf.ids.tolist()
    order = np.argsort(ids)
    assert np.concatenate([b.vectors for b in blocks])[order].tobytes() == matrix.tobytes()
    assert some.ids.tolist() == shelf.ids[[3, 11, 40]].tolist()
    assert some.vectors.tobytes() == matrix[[3, 11, 40]].tobytes()


def test_no_rows_are_copied_as_no_rows(db: sa.Engine) -> None:
    shelf = shelve(db, "list", some_hashes(3))
    shelf.store(shelf.block(random_units(3), slice(0)))
    assert len(shelf.load().ids) == 0


def test_a_column_of_another_width_is_refused_and_not_misread(db: sa.Engine) -> None:
    with pytest.raises(ValueError, match="NULL or not of the fixed width"), transaction(db) as c:
        copy.read(c, "SELECT NULL::bigint", {"n": copy.INT8}, lambda _: None)


def test_a_connection_lost_while_copying_is_transient(db: sa.Engine) -> None:
    shelf = shelve(db, "list", some_hashes(10))
    shelf.store(shelf.block(random_units(10), slice(0)))

    def store_on_a_dead_connection() -> None:
        with transaction(db) as connection:
            backend = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
            with db.begin() as other:
                other.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": backend})
            vectors.store(
                connection, shelf.model_id, shelf.collection_id, shelf.block(random_units(10))
            )

    with pytest.raises(ServiceUnavailableError):
        store_on_a_dead_connection()
    # The pool has thrown the dead connection away.
    shelf.store(shelf.block(random_units(10)))
    assert shelf.count() == 10


# --- store ----------------------------------------------------------------------------------------


def test_vectors_that_exist_are_overwritten_only_where_the_text_changed(db: sa.Engine) -> None:
    shelf = shelve(db, "list", some_hashes(6))
    first, second = random_units(6, seed=1), random_units(6, seed=2)
    shelf.store(shelf.block(first, slice(0, 4)))
    changed = b"\0another text".ljust(16, b"\0")
    with transaction(db) as connection:
        connection.execute(
            sa.text("UPDATE record SET text_hash = :hash WHERE id = :id"),
            {"hash": changed, "id": int(shelf.ids[1])},
        )
    hashes = shelf.hashes.copy()
    hashes[1] = np.frombuffer(changed, dtype=copy.HASH)[0]
    # Records 0 to 3 have a vector; that of 1 is of an older text; 4 and 5 have none.
    shelf.store(Block(shelf.ids, hashes, second))
    found = shelf.load()
    expected = np.concatenate([first[:1], second[1:2], first[2:4], second[4:]])
    assert found.ids.tolist() == shelf.ids.tolist()
    assert found.vectors.tobytes() == expected.tobytes()
    assert found.hashes.tobytes() == hashes.tobytes()


def test_a_vector_of_an_older_text_does_not_count(db: sa.Engine) -> None:
    shelf = shelve(db, "list", some_hashes(5))
    shelf.store(shelf.block(random_units(5)))
    assert shelf.count() == 5
    with transaction(db) as connection:
        connection.execute(
            sa.text("UPDATE record SET text_hash = :hash WHERE id = :id"),
            {"hash": b"x" * 16, "id": int(shelf.ids[2])},
        )
        connection.execute(
            sa.text("UPDATE record SET removed_at = now() WHERE id = :id"),
            {"id": int(shelf.ids[4])},
        )
    assert shelf.count() == 3
    assert shelf.load().ids.tolist() == shelf.ids[[0, 1, 3]].tolist()
    with transaction(db) as connection:
        assert vectors.count_texts(connection, shelf.model_id, shelf.collection_id) == 3
        (text,) = vectors.missing_texts(connection, shelf.model_id, shelf.ids.tolist())
        some = vectors.load_some(connection, shelf.model_id, shelf.ids.tolist())
    assert (text.text_hash, text.record_ids) == (b"x" * 16, [int(shelf.ids[2])])
    assert some.ids.tolist() == shelf.ids[[0, 1, 3]].tolist()


def test_a_text_known_from_another_collection_is_copied(db: sa.Engine) -> None:
    first = shelve(db, "first", some_hashes(5))
    second = shelve(db, "second", some_hashes(7))
    matrix = random_units(5)
    first.store(first.block(matrix))
    with transaction(db) as connection:
        partitions.ensure_partition(connection, second.model_id, second.collection_id)
        assert vectors.reuse(connection, second.model_id, second.collection_id) == 5
        assert vectors.reuse(connection, second.model_id, second.collection_id) == 0
    assert second.load().vectors.tobytes() == matrix.tobytes()


# --- partitions -----------------------------------------------------------------------------------


def partitions_of(db: sa.Engine) -> list[str]:
    query = "SELECT relid::regclass::text FROM pg_partition_tree('embedding') WHERE level > 0"
    with transaction(db) as connection:
        return sorted(connection.execute(sa.text(query)).scalars())


def test_a_partition_is_created_once_by_many_at_once(db: sa.Engine) -> None:
    together = threading.Barrier(4, timeout=10.0)

    def create(collection_id: int) -> None:
        together.wait()
        with transaction(db) as connection:
            partitions.ensure_partition(connection, 1, collection_id)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(create, [7, 7, 7, 8]))
    assert partitions_of(db) == ["embedding_1", "embedding_1_7", "embedding_1_8"]
    with transaction(db) as connection:
        partitions.ensure_partition(connection, 1, 7)
    assert len(partitions_of(db)) == 3


def test_vectors_lie_in_their_partition_and_go_with_it(db: sa.Engine) -> None:
    first, second = shelve(db, "first", some_hashes(4)), shelve(db, "second", some_hashes(3))
    first.store(first.block(random_units(4)))
    second.store(second.block(random_units(3)))
    name = partitions.partition(first.model_id, first.collection_id)
    with transaction(db) as connection:
        rows = connection.execute(sa.select(sa.func.count()).select_from(sa.table(name)))
        assert rows.scalar_one() == 4
        connection.execute(sa.text(f"DROP TABLE {name}"))
    assert (first.count(), second.count()) == (0, 3)


def test_vectors_without_a_partition_are_an_error_of_the_job(db: sa.Engine) -> None:
    shelf = shelve(db, "list", some_hashes(2))
    with pytest.raises(JobError, match="does not exist"), transaction(db) as connection:
        vectors.store(connection, shelf.model_id, shelf.collection_id, shelf.block(random_units(2)))


# --- nearest neighbours ---------------------------------------------------------------------------


def clustered(n: int, clusters: int, seed: int = 3) -> NDArray[np.float32]:
    """Unit vectors around centres, as descriptions of a family of articles lie."""
    random = np.random.default_rng(seed)
    centres = random_units(clusters, seed)
    noise = random.standard_normal((n, DIMENSIONS), dtype=np.float32) / np.sqrt(DIMENSIONS)
    return unit(centres[random.integers(0, clusters, n)] + 0.5 * noise)


def test_hnsw_finds_nearly_all_that_an_exact_search_finds(db: sa.Engine) -> None:
    n, k = 5_000, 10
    shelf = shelve(db, "catalogue", some_hashes(n))
    matrix = clustered(n, 100)
    shelf.store(shelf.block(matrix))
    built = shelf.build_index()
    assert built.rows == n
    assert built.bytes > n * DIMENSIONS * 2  # a halfvec has two bytes a component
    with transaction(db) as connection:
        assert index.built(connection, shelf.model_id, shelf.collection_id) == built

    queries = np.random.default_rng(5).choice(n, 200, replace=False)
    source = np.sort(shelf.ids[queries])
    rows = np.searchsorted(shelf.ids, source)
    found = shelf.nearest(source, k)
    ids, scores = index.as_arrays(found, source, k)
    catalogue = Catalogue.build(shelf.ids, shelf.hashes.tolist(), matrix)
    exact_ids, exact_scores = top_k(catalogue, matrix[rows], k, exclude=source)
    assert recall(exact_ids, ids, exact_scores, scores) >= 0.98
    # The candidates are scored by the float32 vectors, so that what is found has its exact score.
    same = ids == exact_ids
    np.testing.assert_allclose(scores[same], exact_scores[same], atol=2e-6)
    assert same.mean() > 0.95
    assert (ids != source[:, None]).all()
    assert (np.diff(scores, axis=1) <= 0).all()


def plan_of_nearest(shelf: Shelf) -> str:
    """How PostgreSQL carries out the search, with the settings that `nearest` makes."""
    plans: list[str] = []

    def explain(
        connection: Any, _cursor: Any, statement: str, values: Any, _context: Any, _many: bool
    ) -> None:
        if "LATERAL" in statement and not statement.startswith("EXPLAIN"):
            rows = connection.exec_driver_sql("EXPLAIN (COSTS off) " + statement, values)
            plans.append("\n".join(row[0] for row in rows))

    sa.event.listen(shelf.db, "before_cursor_execute", explain)
    try:
        shelf.nearest(shelf.ids[:5], 3)
    finally:
        sa.event.remove(shelf.db, "before_cursor_execute", explain)
    (plan,) = plans
    return plan


@pytest.mark.parametrize("analyzed", [False, True])
@pytest.mark.parametrize("n", [20, 2_000])
def test_the_search_reads_the_index_in_its_order(db: sa.Engine, n: int, analyzed: bool) -> None:
    shelf = shelve(db, "catalogue", some_hashes(n))
    shelf.store(shelf.block(clustered(n, 50)))
    shelf.build_index()
    if analyzed:
        with transaction(db) as connection:
            connection.execute(sa.text("ANALYZE record"))
            index.analyze(connection, shelf.model_id, shelf.collection_id)
    name = partitions.partition(shelf.model_id, shelf.collection_id)
    plan = [line.strip() for line in plan_of_nearest(shelf).splitlines()]
    limit = next(place for place, line in enumerate(plan) if line.endswith("Limit"))
    # Nothing between the two: a sort or a join there would read all rows first.
    assert plan[limit + 1].startswith(f"->  Index Scan using ix_{name}_hnsw on {name} e")
    assert plan[limit + 2].startswith("Order By:")


def test_removed_and_changed_records_are_not_found(db: sa.Engine) -> None:
    shelf = shelve(db, "catalogue", some_hashes(60))
    matrix = clustered(60, 1)
    shelf.store(shelf.block(matrix))
    shelf.build_index()
    one = shelf.ids[:1]
    before = [target for _, target, _ in shelf.nearest(one, 10)]
    assert len(before) == 10
    with transaction(db) as connection:
        connection.execute(
            sa.text("UPDATE record SET removed_at = now() WHERE id = :id"), {"id": before[0]}
        )
        connection.execute(
            sa.text("UPDATE record SET text_hash = '\\x00' WHERE id = :id"), {"id": before[1]}
        )
    after = [target for _, target, _ in shelf.nearest(one, 8)]
    assert after == before[2:]
    # More than there are: all others.
    assert len(shelf.nearest(one, 100)) == 60 - 3


def test_a_filter_that_leaves_few_still_gives_k(db: sa.Engine) -> None:
    """The nearest 250 are gone: an index scan that stops at ef_search would come back empty."""
    n, k = 400, 10
    shelf = shelve(db, "catalogue", some_hashes(n))
    matrix = clustered(n, 1)
    shelf.store(shelf.block(matrix))
    shelf.build_index()
    nearest = np.argsort(-(matrix @ matrix[0]))[1:251]
    with transaction(db) as connection:
        connection.execute(
            sa.text("UPDATE record SET removed_at = now() WHERE id = ANY(:ids)"),
            {"ids": shelf.ids[nearest].tolist()},
        )
    found = shelf.nearest(shelf.ids[:1], k)
    gone = set(shelf.ids[nearest].tolist())
    assert len(found) == k
    assert not {target for _, target, _ in found} & gone


def test_two_collections_are_searched_across(context: Context) -> None:
    drive.imported(context, "list", [("a", "AGULLA 20G"), ("b", "SONDA FOLEY")])
    drive.imported(context, "catalogue", [("x", "SONDA FOLEY"), ("y", "AGULLA 20G"), ("z", "GASA")])
    context.settings.match_memory_mb = 0
    job_id = drive.match(context.db, "list", "catalogue", k=1)
    drive.run(context)
    query = sa.text(
        "SELECT s.key, t.key, m.score FROM match m JOIN record s ON s.id = m.source_id "
        "JOIN record t ON t.id = m.target_id WHERE m.job_id = :id ORDER BY 1"
    )
    with transaction(context.db) as connection:
        rows = [tuple(row) for row in connection.execute(query, {"id": job_id})]
    assert drive.find(context.db, job_id).summary["plan"]["search"] == "hnsw"
    assert rows == [("a", "y", 1.0), ("b", "x", 1.0)]
