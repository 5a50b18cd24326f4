"""Reports in SQL: what the schema `report` costs over bare pgvector, and what it gains over exact.

`APARELLA_BENCH_ROWS` sets the catalogue's size (100,000 unless set); with `APARELLA_BENCH_GROWTH`
the latency is measured at several sizes instead, such as `10000,100000,1000000`.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import psutil
import sqlalchemy as sa
from numpy.typing import NDArray

from aparella.db import copy, index, jobs, models, partitions, records, vectors
from aparella.db.engine import transaction
from aparella.db.reporting import DEPTHS
from aparella.db.tables import DIMENSIONS
from aparella.workers import pipelines
from aparella.workers.context import Context
from aparella.workers.matching import Catalogue, recall, top_k
from aparella.workers.runner import run_chunk
from bench._memory import Peak
from bench._pairs import Figure, compare
from bench._services import Stack, stack

ROWS = int(os.environ.get("APARELLA_BENCH_ROWS", "100000"))
GROWTH = os.environ.get("APARELLA_BENCH_GROWTH", "")
MEMORY_MB = int(os.environ.get("APARELLA_INDEX_MEMORY_MB", "2048"))
QUERIES = 300
K = 10
_BLOCK = 50_000
_ADD = sa.text("""
    INSERT INTO record (collection_id, key, text, text_hash, cleaner_version, attributes)
    SELECT :collection, 'k' || n, 'article ' || n, decode(md5(:name || n), 'hex'), 1,
           jsonb_build_object('family', 'f' || n % 100)
    FROM generate_series(1, :rows) n
""")


class Shelf:
    """A collection whose record i has the key `k{i + 1}` and row i of the matrix."""

    def __init__(self, db: sa.Engine, name: str, matrix: NDArray[np.float32]) -> None:
        self.name, self.matrix = name, matrix
        with transaction(db) as connection:
            self.id = records.ensure_collection(connection, name)
            values = {"collection": self.id, "name": name, "rows": len(matrix)}
            connection.execute(_ADD, values)
            query = sa.text("SELECT id, text_hash FROM record WHERE collection_id = :c ORDER BY id")
            rows = connection.execute(query, {"c": self.id}).all()
            self.model_id = models.find_model(connection, None).id
            partitions.ensure_partition(connection, self.model_id, self.id)
            self.ids = np.array([row.id for row in rows], dtype=np.int64)
            hashes = copy.hashes([bytes(row.text_hash) for row in rows])
            for start in range(0, len(matrix), _BLOCK):
                part = slice(start, start + _BLOCK)
                block = vectors.Block(self.ids[part], hashes[part], matrix[part])
                vectors.store(connection, self.model_id, self.id, block)
        with transaction(db) as connection:
            connection.execute(sa.text("ANALYZE record"))
            index.analyze(connection, self.model_id, self.id)

    def build(self, db: sa.Engine) -> dict[int, float]:
        """Build the index, and measure and store its recall, as an index job does."""
        with transaction(db) as connection:
            built = index.build(connection, self.model_id, self.id, memory_mb=MEMORY_MB)
        _say(
            f"{self.name}: {built.rows:,} rows indexed in {built.seconds:.0f} s, {built.bytes:,} B"
        )
        sample = np.random.default_rng(5).choice(len(self.ids), 200, replace=False)
        truth, scores = self.exact(sample)
        measured = {}
        for depth in DEPTHS:
            with transaction(db) as connection:
                found = index.nearest(
                    *(connection, self.model_id, self.id, self.ids[sample].tolist(), K),
                    ef_search=depth,
                )
            got = index.as_arrays(found, self.ids[sample], K)
            measured[depth] = round(float(recall(truth, got[0], scores, got[1])), 4)
        _say(f"{self.name}: recall by ef_search {measured}")
        with transaction(db) as connection:
            index.store_recall(connection, self.model_id, self.id, measured, sample=200, k=K)
        return measured

    def exact(self, rows: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The true neighbours of some rows."""
        hashes = [int(i).to_bytes(16, "big") for i in self.ids]
        catalogue = Catalogue.build(self.ids, hashes, self.matrix)
        return top_k(catalogue, self.matrix[rows], K, exclude=self.ids[rows])


def clustered(rows: int, seed: int = 0) -> NDArray[np.float32]:
    """Unit vectors around random centres, fifty to each."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(1, rows // 50), DIMENSIONS), dtype=np.float32)
    drawn = centres[rng.integers(0, len(centres), rows)]
    for start in range(0, rows, _BLOCK):  # a million rows at once would take three times as much
        part = drawn[start : start + _BLOCK]
        part += 0.7 * rng.standard_normal(part.shape, dtype=np.float32)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return drawn


def run() -> list[Figure]:
    """The figures; tables that are no comparison go to standard error."""
    if GROWTH:
        for rows in map(int, GROWTH.split(",")):
            with stack() as on:
                _growth(on, rows)
        return []
    with stack() as on:
        return figures(Context(on.db, on.settings), ROWS)


def figures(context: Context, rows: int, queries: int = QUERIES) -> list[Figure]:
    """The figures over so many rows, in an empty database."""
    db = context.db
    shelf = Shelf(db, "catalogue", clustered(rows))
    measured = shelf.build(db)
    depth = next((d for d in DEPTHS if measured[d] >= 0.99), DEPTHS[-1])
    rng = np.random.default_rng(1)
    keys = [f"k{i + 1}" for i in rng.choice(rows, queries, replace=False)]
    with db.connect() as connection:
        driver: Any = connection.connection.driver_connection
        driver.autocommit = True
        with driver.cursor() as cursor:
            found = _single(cursor, shelf, keys, depth)
        driver.autocommit = False
        _filtered(connection, shelf, keys[:100])
    return [*found, _bulk(context, shelf)]


def _single(cursor: Any, shelf: Shelf, keys: list[str], depth: int) -> list[Figure]:
    # By the driver itself: a microsecond more a query would count for both sides.
    cursor.execute(f"SET hnsw.ef_search = {depth}")
    table = partitions.partition(shelf.model_id, shelf.id)
    key = f"""(SELECT e.embedding AS v, r.id FROM record r JOIN {table} e ON e.record_id = r.id
               WHERE r.collection_id = {shelf.id} AND r.key = %s) q"""
    order = f"e.embedding::halfvec({DIMENSIONS}) <=> q.v::halfvec({DIMENSIONS})"
    bare = f"""SELECT e.record_id, 1 - (e.embedding <=> q.v) FROM {key},
               LATERAL (SELECT * FROM {table} e ORDER BY {order} LIMIT {K}) e"""
    same = f"""SELECT r.key, r.text, 1 - (e.embedding <=> q.v) AS score, r.attributes FROM {key},
               LATERAL (SELECT * FROM {table} e WHERE e.record_id <> q.id
                        ORDER BY {order} LIMIT {K}) e
               JOIN record r ON r.id = e.record_id ORDER BY score DESC"""
    ours = f"SELECT * FROM report.similar('{shelf.name}', %s, {K})"
    exact = f"SELECT * FROM report.similar('{shelf.name}', %s, {K}, exact => true)"

    def rate(query: str, some: list[str]) -> Callable[[], float]:
        def measure() -> float:
            start = time.perf_counter()
            for one in some:
                cursor.execute(query, (one,))
                rows = cursor.fetchall()
            assert len(rows) == K
            return len(some) / (time.perf_counter() - start)

        return measure

    for query in (bare, same, ours):
        rate(query, keys)()
    rows = np.array([int(one[1:]) - 1 for one in keys])
    truth, _ = shelf.exact(rows)
    found = np.full((len(keys), K), -1, dtype=np.int64)
    for row, one in enumerate(keys):
        cursor.execute(ours, (one,))
        found[row] = [shelf.ids[int(answer[1][1:]) - 1] for answer in cursor.fetchall()]
    _say(f"report.similar at ef_search {depth}: recall {recall(truth, found):.4f}")
    return [
        compare(
            f"sql: similar : the same answer by hand (ef_search {depth})",
            rate(ours, keys),
            rate(same, keys),
            unit="queries/s",
            pairs=9,
            target=0.909,
        ),
        compare(
            f"sql: similar : bare pgvector, ids only (ef_search {depth})",
            rate(ours, keys),
            rate(bare, keys),
            unit="queries/s",
            pairs=9,
            target=0.909,
        ),
        compare(
            "sql: similar, recall >= 0.99 : exact sequential scan",
            rate(ours, keys),
            rate(exact, keys[:10]),
            unit="queries/s",
            pairs=3,
            target=40,
        ),
    ]


def _filtered(connection: sa.Connection, shelf: Shelf, keys: list[str]) -> None:
    """A filter that keeps 1 % of the rows: how many rows come, how many true ones, how soon."""
    query = sa.text(
        "SELECT key FROM report.similar(:name, :key, :k, exact => :exact, "
        "attributes => CAST(:filter AS jsonb))"
    )
    least, hits, took = K, 0, []
    for key in keys:
        values = {"name": shelf.name, "key": key, "k": K, "filter": json.dumps({"family": "f7"})}
        start = time.perf_counter()
        found = set(connection.execute(query, {**values, "exact": False}).scalars())
        took.append(time.perf_counter() - start)
        truth = set(connection.execute(query, {**values, "exact": True}).scalars())
        least, hits = min(least, len(found)), hits + len(found & truth)
    _say(
        f"a filter that keeps 1 %: {least} rows of {K} at the least, recall "
        f"{hits / len(keys) / K:.4f}, {median(took) * 1e3:.1f} ms"
    )


def _bulk(context: Context, shelf: Shelf) -> Figure:
    """Nearest neighbours of many records: one SQL statement against a match job of one process."""
    db = context.db
    lines = Shelf(db, "list", clustered(min(10_000, len(shelf.ids)), seed=2))
    answer = sa.text("SELECT count(*) FROM report.nearest_pairs('list', 'catalogue', k => 10)")
    ready = sa.text("SELECT id FROM chunk WHERE state = 'ready' ORDER BY id")

    def by_sql() -> float:
        start = time.perf_counter()
        with transaction(db) as connection:
            rows = connection.execute(answer).scalar_one()
        assert rows == K * len(lines.ids)
        return len(lines.ids) / (time.perf_counter() - start)

    def by_job() -> float:
        start = time.perf_counter()
        with transaction(db) as connection:
            plan = pipelines.match_stages(shelf.model_id, lines.id, shelf.id, K)
            job_id, _ = jobs.create(
                connection, kind="match", params={}, plan=plan, model_id=shelf.model_id
            )
        while chunk_ids := _scalars(db, ready):
            for chunk_id in chunk_ids:
                run_chunk(context, chunk_id, worker="bench")
        with transaction(db) as connection:
            assert jobs.find(connection, job_id).state == "succeeded"
        return len(lines.ids) / (time.perf_counter() - start)

    return compare(
        "sql: nearest_pairs : a worker's match job, one process",
        by_sql,
        by_job,
        unit="rows/s",
        pairs=2,
        target=0.1,
    )


def _scalars(db: sa.Engine, query: sa.TextClause) -> list[int]:
    with transaction(db) as connection:
        return list(connection.execute(query).scalars())


def _growth(on: Stack, rows: int) -> None:
    """One line of the table in docs/reports.md."""
    start = time.perf_counter()
    shelf = Shelf(on.db, "catalogue", clustered(rows))
    loaded = time.perf_counter() - start
    with Peak(on.folder) as peak:
        measured = shelf.build(on.db)
    # The index is measured, even where no depth of search reaches the 0.99 that is the default.
    wanted = min(0.99, max(measured.values()))
    queries = {
        name: f"SELECT * FROM report.similar('catalogue', %s, {K}, {more})"
        for name, more in (("ours", f"recall => {wanted}"), ("exact", "exact => true"))
    }
    rng = np.random.default_rng(1)
    keys = [f"k{i + 1}" for i in rng.choice(rows, 1_000)]
    took: dict[str, list[float]] = {}
    with on.db.connect() as connection:
        driver: Any = connection.connection.driver_connection
        server = psutil.Process(driver.info.backend_pid)
        with driver.cursor() as cursor:
            # The first half warms the caches; all rows are compared for a few only.
            for name, some in (("warm", keys[:500]), ("ours", keys[500:]), ("exact", keys[:4])):
                query = queries.get(name, queries["ours"])
                before, took[name] = server.cpu_times(), []
                for key in some:
                    begun = time.perf_counter()
                    cursor.execute(query, (key,))
                    assert len(cursor.fetchall()) == K
                    took[name].append(time.perf_counter() - begun)
                after = server.cpu_times()
                used = after.user + after.system - before.user - before.system
                took[name + " cpu"] = [used / len(some)]
    ours = sorted(took["ours"])
    size = _scalars(on.db, sa.text("SELECT pg_database_size(current_database())"))[0]
    _say(
        f"{rows:,} rows, recall {wanted}: median {median(ours) * 1e3:.2f} ms, 95 % "
        f"{ours[len(ours) * 95 // 100] * 1e3:.2f} ms, processor {took['ours cpu'][0] * 1e3:.2f}; "
        f"exact {median(took['exact']) * 1e3:,.0f} ms, processor {took['exact cpu'][0] * 1e3:,.0f} "
        f"ms; loaded in {loaded:.0f} s, database {size / 2**20:,.0f} MiB, servers at most "
        f"{peak.mib:,.0f} MiB"
    )


def _say(line: str) -> None:
    print(f"bench: {line}", file=sys.stderr, flush=True)
