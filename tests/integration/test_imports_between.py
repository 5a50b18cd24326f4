"""What an import changes while a job runs is not mixed into its answers."""

import pytest
import sqlalchemy as sa

from aparella.db.engine import transaction
from aparella.workers.context import Context
from aparella.workers.runner import run_chunk
from tests.integration import drive
from tests.integration.answers import CATALOGUE, LINES, fill


def import_alone(context: Context, name: str, texts: dict[str, str]) -> None:
    """Import to the end while all that is ready before waits."""
    held = set(drive.ready(context.db))
    upload = drive.upload(context.db, name, texts.items())
    while drive.find(context.db, upload).state != "succeeded":
        for chunk_id in set(drive.ready(context.db)) - held:
            run_chunk(context, chunk_id, worker="importer")


@pytest.mark.parametrize(
    ("side", "stage", "chunks"),
    [
        ("list", "index", 1),
        ("list", "match", 2),
        ("catalogue", "embed target", 1),
        ("catalogue", "match", 2),
    ],
)
def test_an_import_that_comes_between_is_not_mixed_in(
    context: Context, side: str, stage: str, chunks: int
) -> None:
    fill(context, LINES, CATALOGUE)
    job_id = drive.match(context.db, "list", "catalogue")
    drive.until(context, job_id, stage, chunks)
    old = LINES if side == "list" else CATALOGUE
    import_alone(context, side, {**old, next(iter(old)): "SONDA 58MM", "new": "GASA"})
    drive.run(context)
    job = drive.find(context.db, job_id)
    assert (job.state, job.errors) == ("succeeded", 0)
    assert job.summary["restarts"] == 1
    again = drive.match(context.db, "list", "catalogue")
    drive.run(context)
    assert drive.results(context.db, job_id) == drive.results(context.db, again)


def test_imports_that_never_end_end_the_job(context: Context) -> None:
    fill(context, LINES, CATALOGUE)
    job_id = drive.match(context.db, "list", "catalogue")
    with transaction(context.db) as connection:
        connection.execute(
            sa.text("UPDATE job SET summary = '{\"restarts\": 5}' WHERE id = :id"), {"id": job_id}
        )
    drive.until(context, job_id, "index", 1)
    import_alone(context, "catalogue", {**CATALOGUE, "new": "GASA"})
    drive.run(context)
    job = drive.find(context.db, job_id)
    assert job.state == "failed"
    assert "Match again when they have ended" in str(job.error)
