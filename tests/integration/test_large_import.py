"""An import of many rows is not compared row by row with the collection."""

import sqlalchemy as sa

from aparella.workers.context import Context
from tests.integration import drive

ROWS = 30_000


def test_a_large_edition_replaces_the_one_before(context: Context) -> None:
    context.settings.import_chunk = 20_000
    # A comparison of each with each takes far longer; a statement that is ended fails the job.
    with context.db.connect() as connection:
        name = connection.execute(sa.text("SELECT current_database()")).scalar_one()
        connection.execute(sa.text(f"ALTER DATABASE {name} SET statement_timeout = '30s'"))
        connection.commit()
    context.db.dispose()
    for edition in range(2):
        rows = [(f"K{i + edition * 10}", f"LINE {i}") for i in range(ROWS)]
        job = drive.imported(context, "large", rows)
        assert job.state == "succeeded", job.error
    assert (job.summary["removed"], job.summary["new"]) == (10, 10)
