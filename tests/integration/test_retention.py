"""Old jobs go, with all that is theirs; what somebody still looks at or needs stays."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from aparella.db import jobs, retention
from aparella.db.engine import transaction
from aparella.settings import Settings
from aparella.workers.app import make_app
from aparella.workers.broker import Broker
from aparella.workers.context import Context
from aparella.workers.reconciler import Reconciler
from tests.integration import drive, toy

LIST = [(f"L{i}", f"XERINGA {i}ML ESTERIL") for i in range(12)]
CATALOGUE = [(f"C{i}", f"XERINGUES, XERINGA DE {i} ML, ESTÈRIL") for i in range(20)]


@pytest.fixture
def reconciler(context: Context, settings: Settings) -> Iterator[Reconciler]:
    app = make_app(settings)
    yield Reconciler(context.db, settings, Broker(settings, app))
    app.close()


def age(db: sa.Engine, days: int = 400) -> None:
    """Let all jobs that have ended be so much older."""
    toy.execute(db, "UPDATE job SET finished_at = finished_at - make_interval(days => :d)", d=days)


def left(db: sa.Engine, table: str) -> set[int]:
    """Jobs of which there is something in a table."""
    return {row[0] for row in toy.execute(db, f"SELECT DISTINCT job_id FROM {table}")}


def known(db: sa.Engine) -> set[int]:
    """Ids of the jobs that there are."""
    return {row[0] for row in toy.execute(db, "SELECT id FROM job")}


def matched(context: Context) -> int:
    """A match job of the list, which is done."""
    job_id = drive.match(context.db, "list", "catalogue")
    drive.run(context)
    assert drive.find(context.db, job_id).state == "succeeded"
    return job_id


def test_old_jobs_go_and_the_latest_matches_stay(context: Context, reconciler: Reconciler) -> None:
    drive.imported(context, "list", LIST)
    drive.imported(context, "catalogue", CATALOGUE)
    first, decided, last = matched(context), matched(context), matched(context)
    toy.execute(
        context.db,
        "INSERT INTO decision (source_id, target_id, catalogue_id, source_hash, target_hash, "
        "verdict, decided_by, job_id) "
        "SELECT s.id, t.id, t.collection_id, s.text_hash, t.text_hash, 'accept', 'anna', :job "
        "FROM match m JOIN record s ON s.id = m.source_id JOIN record t ON t.id = m.target_id "
        "WHERE m.job_id = :job AND m.rank = 1 LIMIT 1 RETURNING id",
        job=decided,
    )
    reconciler.reconcile()
    assert {first, decided, last} < known(context.db)

    age(context.db)
    another = Reconciler(context.db, context.settings, reconciler._broker)
    another.reconcile()
    assert known(context.db) == {decided, last}
    for table in ("match", "chunk", "stage"):
        assert left(context.db, table) == {decided, last}, table
    rows = toy.execute(context.db, "SELECT DISTINCT job FROM report.matches")
    assert [row.job for row in rows] == [last]


def test_a_job_stays_for_the_records_that_no_later_one_has(context: Context) -> None:
    drive.imported(context, "list", LIST)
    drive.imported(context, "catalogue", CATALOGUE)
    first = matched(context)
    second = matched(context)
    # As if the second had been about some of the records only.
    part = "DELETE FROM match WHERE job_id = :job AND source_id % 2 = 0"
    toy.execute(context.db, part, job=second)
    age(context.db)
    with transaction(context.db) as connection:
        retention.prune(connection, days=365)
    assert known(context.db) == {first, second}
    # Nobody asks any more for what was found for records that are gone.
    removed = "UPDATE record SET removed_at = now() WHERE id % 2 = 0"
    toy.execute(context.db, removed)
    with transaction(context.db) as connection:
        assert retention.prune(connection, days=365).gone == [first]
    assert known(context.db) == {second}


def test_a_big_job_goes_in_parts_and_open_and_young_ones_stay(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.install(context, monkeypatch, toy.ToyStage())
    big = toy.enqueue(context.db, items=25, size=1)
    drive.run(context)
    age(context.db)
    young = toy.enqueue(context.db, items=1, size=1)
    drive.run(context)
    waiting = toy.enqueue(context.db, items=1, size=1)
    toy.execute(context.db, "UPDATE job SET created_at = now() - interval '9 years'")

    def prune() -> retention.Pruned:
        with transaction(context.db) as connection:
            return retention.prune(connection, days=365, rows=10)

    assert prune() == retention.Pruned([], more=True)
    assert len(toy.chunk_ids(context.db, big)) == 16  # its plan is a chunk too
    assert prune() == retention.Pruned([], more=True)
    assert prune() == retention.Pruned([big], more=False)
    assert known(context.db) == {young, waiting}
    age(context.db)
    with transaction(context.db) as connection:
        assert retention.prune(connection, days=0) == retention.Pruned([], more=False)
        assert jobs.find(connection, young).state == "succeeded"
