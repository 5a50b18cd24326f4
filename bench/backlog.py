"""Big tables: a job over a million records is asked for and planned; a claim among many chunks.

`BENCH_RECORDS` (1,000,000) and `BENCH_OLD_CHUNKS` (1,000,000; the table in docs/scaling.md had
10,000,000) make it smaller or bigger. No text is encoded: it is the tables that are measured.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import sqlalchemy as sa
from fastapi.testclient import TestClient

from aparella.api.app import create_app
from aparella.db import dispatch, jobs, models, records, stages
from aparella.db.engine import transaction
from aparella.db.jobs import NewStage
from aparella.workers import engine
from aparella.workers.context import Context, Outcome
from aparella.workers.runner import run_chunk
from bench._pairs import Figure
from bench._services import stack

RECORDS = int(os.environ.get("BENCH_RECORDS", "1000000"))
OLD_CHUNKS = int(os.environ.get("BENCH_OLD_CHUNKS", "1000000"))
PER_JOB = 100_000
ASKED = 20
"""Jobs that are asked for."""
CLAIMS = 300
_ADD = sa.text("""
    INSERT INTO record (collection_id, key, text, text_hash, cleaner_version)
    SELECT :collection, 'k' || n, 'article ' || n, decode(md5(:name || n), 'hex'), 1
    FROM generate_series(CAST(:first AS bigint), :last) n
""")
_ADD_JOB = sa.text("""
    INSERT INTO job (kind, state, started_at, finished_at)
    VALUES ('embed', 'succeeded', now(), now()) RETURNING id
""")
_ADD_STAGE = sa.text("""
    INSERT INTO stage (job_id, position, name, handler, queue, state)
    VALUES (:job, 0, 'embed', 'embed', 'embed', 'done') RETURNING id
""")
_ADD_CHUNKS = sa.text("""
    INSERT INTO chunk (job_id, stage_id, state, items, size, attempt, lease_token, started_at,
                       finished_at)
    SELECT :job, :stage, 'done', ARRAY[n, n + 1], 125, 1, 1, now(), now()
    FROM generate_series(1, :chunks) n
""")
_READY = sa.text("SELECT id FROM chunk WHERE job_id = :job AND state = 'ready' ORDER BY id LIMIT 1")


def run() -> list[Figure]:
    """Seconds to ask and to plan; milliseconds of a claim in a small table and in a big one."""
    with stack() as on:
        return figures(Context(on.db, on.settings), records_=RECORDS, old_chunks=OLD_CHUNKS)


def figures(context: Context, *, records_: int, old_chunks: int) -> list[Figure]:
    """The same in an empty database that is there already."""
    collection_id = fill(context.db, records_)
    asked = list(ask(context))
    say(f"asking for a job over {records_:,} records: {median(asked) * 1e3:.1f} ms")
    job_id, planning = plan_embedding(context)
    say(f"its {number(context.db, job_id):,} chunks of texts: {planning:.1f} s")
    matching = plan_matching(context, collection_id)
    say(f"chunks of the records to match: {matching:.1f} s")
    few = claims(context, job_id)
    add_old_chunks(context.db, old_chunks)
    many = claims(context, job_id)
    say(f"a claim: {few * 1e3:.2f} ms, and {many * 1e3:.2f} ms with {old_chunks:,} chunks more")
    topped = dispatches(context)
    say(f"topping the queues up: {topped * 1e3:.2f} ms")
    return [
        _at_most(f"backlog: asking for a job over {records_:,} records", median(asked), 0.05),
        _at_most(f"backlog: planning to embed {records_:,} records", planning, 10),
        _at_most(f"backlog: planning to match {records_:,} records", matching, 10),
        _at_most(f"backlog: a claim among {old_chunks:,} chunks", many, 0.01),
    ]


def _at_most(name: str, seconds: float, target: float) -> Figure:
    return Figure(
        name=f"{name} : the target",
        ours=seconds,
        baseline=target,
        unit="s",
        ratios=[seconds / target],
        target=1.0,
        higher_is_better=False,
    )


def fill(db: sa.Engine, rows: int, *, name: str = "list") -> int:
    """A collection of so many records without vectors; its id."""
    with transaction(db) as connection:
        collection_id = records.ensure_collection(connection, name)
    for first in range(1, rows + 1, PER_JOB):
        last = min(first + PER_JOB - 1, rows)
        with transaction(db) as connection:
            values = {"collection": collection_id, "name": name, "first": first, "last": last}
            connection.execute(_ADD, values)
    with transaction(db) as connection:
        connection.execute(sa.text("ANALYZE record"))
    return collection_id


def ask(context: Context) -> Iterator[float]:
    """Seconds that the API takes to answer, each time for another job."""
    settings = context.settings.model_copy(update={"anonymous": True})
    with TestClient(create_app(settings)) as api:
        for _ in range(ASKED):
            start = time.perf_counter()
            answer = api.post("/v1/jobs", json={"kind": "embed", "collection": "list"})
            yield time.perf_counter() - start
            assert answer.status_code == 202, answer.text


def plan_embedding(context: Context) -> tuple[int, float]:
    """The newest job, and the seconds that its plan takes a worker."""
    with transaction(context.db) as connection:
        job_id = jobs.page(connection, limit=1)[0].id
    return job_id, seconds(lambda: run_chunk(context, first(context.db, job_id), worker="bench"))


def plan_matching(context: Context, collection_id: int) -> float:
    """Seconds that it takes to plan a match of the whole collection."""
    params = {"source_id": collection_id, "collection_id": collection_id, "k": 10}
    with transaction(context.db) as connection:
        model_id = models.find_model(connection, None).id
        plan = [NewStage("match", "match", "match", {**params, "model_id": model_id})]
        job_id, _ = jobs.create(connection, kind="match", params={}, plan=plan, model_id=model_id)
    return seconds(lambda: run_chunk(context, first(context.db, job_id), worker="bench"))


def claims(context: Context, job_id: int) -> float:
    """Median seconds of a claim; what is claimed is committed, so that leases do not pile up."""
    took = []
    for _ in range(min(CLAIMS, number(context.db, job_id) // 3)):
        chunk_id = first(context.db, job_id)
        start = time.perf_counter()
        chunk = engine.claim(context.db, context.settings, chunk_id, worker="bench")
        took.append(time.perf_counter() - start)
        assert chunk is not None
        engine.commit(context.db, chunk, lambda _: Outcome(size=1))
    took.sort()
    say(f"  95 % of the claims within {took[len(took) * 95 // 100] * 1e3:.2f} ms")
    return median(took)


def dispatches(context: Context) -> float:
    """Median seconds to find out which messages are to be sent."""

    def look() -> None:
        with transaction(context.db) as connection:
            for load in dispatch.load(connection):
                dispatch.unsent(connection, load.queue, room=8)
            for stage_id in stages.running(connection):
                stages.has_open_chunks(connection, stage_id)

    return median(seconds(look) for _ in range(50))


def add_old_chunks(db: sa.Engine, number: int) -> None:
    """Chunks of jobs that are done, and the statistics that autovacuum would see to."""
    for start in range(0, number, PER_JOB):
        with transaction(db) as connection:
            job = connection.execute(_ADD_JOB).scalar_one()
            stage = connection.execute(_ADD_STAGE, {"job": job}).scalar_one()
            values = {"job": job, "stage": stage, "chunks": min(PER_JOB, number - start)}
            connection.execute(_ADD_CHUNKS, values)
    with transaction(db) as connection:
        connection.execute(sa.text("ANALYZE chunk"))


def first(db: sa.Engine, job_id: int) -> int:
    """The job's first ready chunk."""
    with transaction(db) as connection:
        return int(connection.execute(_READY, {"job": job_id}).scalar_one())


def number(db: sa.Engine, job_id: int) -> int:
    """How many chunks a job has."""
    query = sa.text("SELECT count(*) FROM chunk WHERE job_id = :job")
    with transaction(db) as connection:
        return int(connection.execute(query, {"job": job_id}).scalar_one())


def seconds(work: Callable[[], Any]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def say(line: str) -> None:
    """Show how far it is."""
    print(f"bench: {line}", file=sys.stderr, flush=True)
