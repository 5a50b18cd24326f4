"""Drives jobs in one process, without Celery: what a worker and the reconciler do, step by step."""

from collections.abc import Iterable

import sqlalchemy as sa

from aparella.db import jobs, leases, models, records
from aparella.db.engine import transaction
from aparella.db.records import UploadRow
from aparella.workers import engine, pipelines, runner
from aparella.workers.context import Context
from aparella.workers.runner import run_chunk

READY = sa.text("SELECT id FROM chunk WHERE state = 'ready' ORDER BY id")


def upload(
    db: sa.Engine,
    name: str,
    rows: Iterable[tuple[str, str]],
    *,
    mode: str = "replace",
    strict: bool = False,
    more: Iterable[UploadRow] = (),
) -> int:
    """Enqueue an import of (key, text) rows, numbered from 2; returns the job's id."""
    with transaction(db) as connection:
        collection_id = records.ensure_collection(connection, name)
        upload_id = records.create_upload(
            connection, collection_id, filename=f"{name}.csv", mode=mode, strict=strict
        )
        numbered = [UploadRow(n, key, text, {}) for n, (key, text) in enumerate(rows, 2)]
        records.copy_upload_rows(connection, upload_id, [*numbered, *more])
        return jobs.create(
            connection,
            kind="import",
            params={"collection": name},
            plan=pipelines.import_stages(upload_id),
            model_id=None,
        )[0]


def match(db: sa.Engine, source: str, target: str, *, k: int = 3) -> int:
    """Enqueue a match; returns the job's id."""
    with transaction(db) as connection:
        model = models.find_model(connection, None)
        plan = pipelines.match_stages(
            model.id,
            records.find_collection(connection, source).id,
            records.find_collection(connection, target).id,
            k,
        )
        return jobs.create(
            connection,
            kind="match",
            params={"source": source, "target": target, "k": k},
            plan=plan,
            model_id=model.id,
        )[0]


def run(context: Context, *, worker: str = "test") -> None:
    """Do all work that is ready, and what that makes ready, until there is none."""
    while chunks := ready(context.db):
        for chunk_id in chunks:
            run_chunk(context, chunk_id, worker=worker)


def imported(context: Context, name: str, rows: Iterable[tuple[str, str]]) -> jobs.Job:
    """Import and run to the end."""
    job_id = upload(context.db, name, rows)
    run(context)
    return find(context.db, job_id)


def find(db: sa.Engine, job_id: int) -> jobs.Job:
    """The job as it stands."""
    with transaction(db) as connection:
        return jobs.find(connection, job_id)


def results(db: sa.Engine, job_id: int) -> list[tuple[int, int, int, float]]:
    """All matches of a job."""
    query = sa.text(
        "SELECT source_id, rank, target_id, score FROM match WHERE job_id = :id ORDER BY 1, 2"
    )
    with transaction(db) as connection:
        return [tuple(row) for row in connection.execute(query, {"id": job_id})]


def plan(context: Context, chunk_id: int) -> None:
    """Do a plan's chunk, and none of those that it has made."""
    chunk = claim(context, chunk_id)
    assert chunk is not None
    engine.commit(context.db, chunk, runner._work(context, chunk, lambda _: None))
    engine.advance(context.db, chunk.stage_id)


def claim(context: Context, chunk_id: int, worker: str = "test") -> leases.Claimed | None:
    """Claim as a worker does."""
    return engine.claim(context.db, context.settings, chunk_id, worker=worker)


def ready(db: sa.Engine) -> list[int]:
    """The chunks that a worker may take."""
    with transaction(db) as connection:
        return list(connection.execute(READY).scalars())


def until(context: Context, job_id: int, stage: str, chunks: int) -> None:
    """Run a job until so many chunks of a stage are done."""
    query = sa.text("""
        SELECT count(*) FROM chunk c JOIN stage s ON s.id = c.stage_id
        WHERE c.job_id = :id AND s.name = :stage AND c.kind = 'work' AND c.state = 'done'
    """)
    while True:
        with transaction(context.db) as connection:
            if connection.execute(query, {"id": job_id, "stage": stage}).scalar_one() >= chunks:
                return
        run_chunk(context, ready(context.db)[0], worker="test")
