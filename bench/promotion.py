"""A promotion: what it takes, and how many searches are served while it goes on.

With the stand-in encoder: encoding is measured by `encode`, and takes however long it takes. The
catalogue is indexed, so that searches meet the most that a promotion does: another index is built.
"""

import os
import threading
import time
from statistics import median

import sqlalchemy as sa

from aparella.artifacts import Artifact
from aparella.db import index, jobs, models, partitions, records, registry
from aparella.db.engine import transaction
from aparella.workers import pipelines
from aparella.workers.text import CLEANER_VERSION
from bench._pairs import Figure
from bench._services import Stack, finished, stack, workers
from bench.overhead import imported

ROWS = int(os.environ.get("BENCH_ROWS", "20000"))
PROCESSES = 2
K = 10
ASKED = 20
"""Records whose neighbours one search asks for."""
BEFORE = 5.0
"""Seconds of searching before the promotion, which are the baseline."""


class Searcher(threading.Thread):
    """Searches without pause, as reports do, and notes when each search was answered."""

    def __init__(self, on: Stack, collection_id: int, ids: list[int]) -> None:
        super().__init__(daemon=True)
        self._on, self._collection_id, self._ids = on, collection_id, ids
        self._stopped = threading.Event()
        self.answered: list[float] = []
        self.short = 0

    def run(self) -> None:
        """Search until told to stop; an answer that lacks a neighbour is counted."""
        while not self._stopped.is_set():
            with transaction(self._on.db) as connection:
                model = models.find_model(connection, None)
                found = index.nearest(connection, model.id, self._collection_id, self._ids, K)
            self.short += len(found) < K * len(self._ids)
            self.answered.append(time.monotonic())

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self.join()

    def rate(self, start: float, end: float) -> float:
        """Records searched for in a second, in that time."""
        return ASKED * sum(start <= moment < end for moment in self.answered) / (end - start)


def run() -> list[Figure]:
    """Searches a second during a promotion, against before it."""
    os.environ["APARELLA_ENCODER"] = "hash"
    with stack() as on, workers(on, PROCESSES):
        lines = [f"LINE {i} OF A CATALOGUE" for i in range(ROWS)]
        imported(on, "catalogue", lines)
        collection_id = _job(on, "index")
        with transaction(on.db) as connection:
            ids = list(
                connection.execute(
                    sa.text("SELECT id FROM record ORDER BY text_hash LIMIT :n"), {"n": ASKED}
                ).scalars()
            )
        searcher = Searcher(on, collection_id, ids)
        searcher.start()
        time.sleep(1)
        before = time.monotonic()
        time.sleep(BEFORE)
        start = time.monotonic()
        _job(on, "promote")
        end = time.monotonic()
        searcher.stop()
        size = _bytes(on)
        assert not searcher.short, f"{searcher.short} searches found less than they asked for"
        quiet, busy = searcher.rate(before, start), searcher.rate(start, end)
        waits = [b - a for a, b in zip(searcher.answered, searcher.answered[1:], strict=False)]
        print(
            f"promotion of {ROWS:,} lines: {end - start:.1f} s, {size / 2**20:,.0f} MB of vectors "
            f"and index; searches {quiet:,.0f}/s before, {busy:,.0f}/s meanwhile; of "
            f"{ASKED} at a time median {median(waits) * 1000:.0f} ms, longest "
            f"{max(waits) * 1000:,.0f} ms; none came back short"
        )
        return [
            Figure(
                f"promotion: searches during it : before, {ROWS:,} lines",
                busy,
                quiet,
                "/s",
                [busy / quiet],
                target=0.2,
            )
        ]


def _job(on: Stack, kind: str) -> int:
    """Run an index job of the default model, or a promotion; returns the collection's id."""
    with transaction(on.db) as connection:
        collection_id = records.collection_id(connection, "catalogue")
        model = models.find_model(connection, None)
        if kind == "index":
            plan = pipelines.index_stages(model.id, collection_id)
        else:
            # The same files under another name: with the stand-in no file is read.
            model = registry.register(
                connection,
                name="another",
                artifact=Artifact(model.artifact_url, model.sha256, dict(model.files)),
                base_model=model.base_model,
                max_seq_length=model.max_seq_length,
                cleaner_version=CLEANER_VERSION,
            )
            current = models.find_model(connection, None)
            plan = pipelines.promote_stages(
                model.id,
                [
                    pipelines.Catalogue(*one)
                    for one in partitions.collections(connection, current.id)
                ],
                request={"reason": "measured", "by": None},
                required=True,
            )
        job_id, _ = jobs.create(connection, kind=kind, params={}, plan=plan, model_id=model.id)
    finished(on.db, job_id)
    return collection_id


def _bytes(on: Stack) -> int:
    """Of the new default's vectors, their indexes included."""
    with transaction(on.db) as connection:
        model = models.find_model(connection, None)
        query = sa.text("""
            SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree(:parent) WHERE isleaf
        """)
        parent = f"embedding_{model.id}"
        return int(connection.execute(query, {"parent": parent}).scalar_one())
