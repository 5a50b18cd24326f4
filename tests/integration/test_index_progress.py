"""What a job shows while PostgreSQL builds its index."""

from collections.abc import Callable
from threading import Thread
from time import monotonic
from typing import Any

import pytest
import sqlalchemy as sa

from aparella.db import index, jobs, models, partitions, records, stages
from aparella.db.engine import transaction
from aparella.workers import context as contexts
from aparella.workers import pipelines
from aparella.workers.context import Context
from tests.integration import drive

CATALOGUE = [(f"C{i}", f"XERINGA DE {i} ML, ESTÈRIL") for i in range(50)]


def until(look: Callable[[], Any]) -> Any:
    """What it finds in the end."""
    deadline = monotonic() + 60
    while (found := look()) is None:
        assert monotonic() < deadline, "nothing to be seen within a minute"
    return found


def test_the_phase_of_an_index_build_shows_on_the_job(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The build waits: a transaction that has not ended uses the name of the index to be."""
    monkeypatch.setattr(contexts, "_SIGN_OF_LIFE", 0.1)
    context.settings.heartbeat_seconds = 0.1
    drive.imported(context, "catalogue", CATALOGUE)
    with transaction(context.db) as connection:
        model_id = models.find_model(connection, None).id
        collection_id = records.find_collection(connection, "catalogue").id
        job_id, _ = jobs.create(
            connection,
            kind="index",
            params={"collection": "catalogue"},
            plan=pipelines.index_stages(model_id, collection_id),
            model_id=model_id,
        )
    table = partitions.partition(model_id, collection_id)

    def server() -> Any:
        with transaction(context.db) as connection:
            return index.progress(connection, table)

    def job() -> Any:
        with transaction(context.db) as connection:
            return stages.progress(connection, [job_id])[-1].detail

    def report() -> Any:
        query = sa.text("SELECT detail FROM report.jobs WHERE job = :id")
        with transaction(context.db) as connection:
            return connection.execute(query, {"id": job_id}).scalar_one()

    assert server() is None
    worker = Thread(target=drive.run, args=(context,))
    with context.db.connect() as blocker:
        blocker.execute(sa.text(f"CREATE TABLE ix_{table}_hnsw_new ()"))
        worker.start()
        found = until(server)
        assert set(found) == {"phase", "percent"}
        assert until(job) == until(report) == {"index": found["phase"], "percent": found["percent"]}
        blocker.rollback()
    worker.join()
    done = drive.find(context.db, job_id)
    assert done.state == "succeeded", done
    assert server() is None
    with transaction(context.db) as connection:
        built = index.built(connection, model_id, collection_id)
    assert built is not None
    assert built.rows == len(CATALOGUE)
