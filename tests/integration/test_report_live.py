"""Reports beside the rest: jobs, promotions and migrations go on, and answers stay of one piece."""

import threading
from collections.abc import Iterator
from time import monotonic, sleep

import numpy as np
import psycopg2
import pytest
import sqlalchemy as sa

from aparella.db import index, jobs, migrate, models, partitions, records, reporting, vectors
from aparella.db.engine import transaction
from aparella.deploy import reports
from aparella.settings import Settings
from aparella.workers import pipelines
from aparella.workers.context import Context
from aparella.workers.encoder import HashEncoder
from aparella.workers.reconciler import answer_reports
from tests.integration import drive
from tests.integration.catalogues import Filled, build_index, clustered, fill

LOGIN = "report_reader_of_the_tests"
PATIENCE = 10.0
"""Seconds within which what a report must not block has to be done, on a busy machine."""


@pytest.fixture
def report(db: sa.Engine, settings: Settings) -> Iterator[psycopg2.extensions.connection]:
    """A session of a report login, REPEATABLE READ."""
    with transaction(db) as connection:
        reporting.drop_login(connection, LOGIN)
    connection = psycopg2.connect(reports.create_login(settings.database_url, LOGIN))
    connection.set_session(isolation_level="REPEATABLE READ")
    yield connection
    connection.close()
    reports.drop_login(settings.database_url, LOGIN)


def ask(connection: psycopg2.extensions.connection, query: str) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def second_model(db: sa.Engine, filled: Filled) -> int:
    """Another model, whose vectors are those of the first one in reverse, with an index."""
    with transaction(db) as connection:
        model_id = int(
            connection.execute(
                sa.text(
                    "INSERT INTO model (name, version, base_model, dim, max_seq_length, "
                    "artifact_url, sha256, cleaner_version, status) "
                    "VALUES ('second', 1, 'b', 384, 256, 'u', 'x', 1, 'candidate') RETURNING id"
                )
            ).scalar_one()
        )
        partitions.ensure_partition(connection, model_id, filled.collection_id)
        old = vectors.load_some(connection, filled.model_id, filled.ids.tolist())
        block = vectors.Block(old.ids, old.hashes, old.vectors[::-1].copy())
        vectors.store(connection, model_id, filled.collection_id, block)
        index.build(connection, model_id, filled.collection_id, memory_mb=64)
    return model_id


def promote(db: sa.Engine, model_id: int) -> None:
    with transaction(db) as connection:
        connection.execute(sa.text("SET LOCAL lock_timeout = '2s'"))
        connection.execute(
            sa.text("UPDATE model SET status = 'superseded' WHERE status = 'promoted'")
        )
        values = {"id": model_id}
        connection.execute(sa.text("UPDATE model SET status = 'promoted' WHERE id = :id"), values)
        connection.execute(
            sa.text("INSERT INTO promotion (model_id, kind) VALUES (:id, 'promote')"), values
        )


def test_a_report_sees_one_model_whatever_is_promoted_meanwhile(
    db: sa.Engine, report: psycopg2.extensions.connection
) -> None:
    filled = fill(db, "catalogue", clustered(300))
    build_index(db, filled, memory_mb=64)
    query = "SELECT key, model FROM report.similar('catalogue', 'k7', 5)"
    about = "SELECT model FROM report.about"
    before = ask(report, query)
    assert {model for _, model in before} == {"all-MiniLM-L6-v2@1"}

    started = monotonic()
    promote(db, second_model(db, filled))
    assert monotonic() - started < PATIENCE

    assert ask(report, query) == before
    assert ask(report, about) == [("all-MiniLM-L6-v2@1",)]
    report.commit()
    after = ask(report, query)
    assert {model for _, model in after} == {"second@1"}
    assert [key for key, _ in after] != [key for key, _ in before]
    assert ask(report, about) == [("second@1",)]
    # The one that was replaced can be asked for by its name.
    named = "SELECT key FROM report.similar('catalogue', 'k7', 5, model => 'all-MiniLM-L6-v2@1')"
    assert ask(report, named) == [(key,) for key, _ in before]


def test_a_long_report_blocks_no_job(
    context: Context, report: psycopg2.extensions.connection
) -> None:
    drive.imported(context, "catalogue", [(f"c{n}", f"article {n}") for n in range(30)])
    job_id = index_job(context, "catalogue")
    drive.run(context)
    assert drive.find(context.db, job_id).state == "succeeded"
    # It has read everything, in a transaction that goes on.
    before = ask(report, "SELECT key, exact FROM report.similar('catalogue', 'c7', 3)")
    assert not any(exact for _, exact in before)
    ask(report, "SELECT * FROM report.search('catalogue', 'article 7')")
    for view in ("records", "jobs", "matches", "unmatched", "models", "collections", "errors"):
        ask(report, f"SELECT * FROM report.{view}")

    started = monotonic()
    again = drive.imported(context, "catalogue", [(f"c{n}", f"thing {n}") for n in range(20)])
    assert again.state == "succeeded"
    drive.imported(context, "list", [("l1", "article 1"), ("l2", "thing 2")])
    matched = drive.match(context.db, "list", "catalogue")
    rebuilt = index_job(context, "catalogue")
    drive.run(context)
    assert drive.find(context.db, matched).state == "succeeded"
    assert drive.find(context.db, rebuilt).state == "succeeded"
    assert monotonic() - started < 2 * PATIENCE
    assert ask(report, "SELECT count(*) FROM report.jobs") == [(2,)]
    assert len(ask(report, "SELECT key FROM report.records")) == 30
    report.commit()
    assert ask(report, "SELECT count(*) FROM report.jobs") == [(6,)]
    # The index that was in use could not be dropped; the next build drops it.
    assert len(indexes(context.db)) == 2
    report.commit()
    index_job(context, "catalogue")
    drive.run(context)
    assert len(indexes(context.db)) == 1


def test_a_long_report_blocks_no_migration(
    db: sa.Engine, report: psycopg2.extensions.connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(db, "catalogue", clustered(50))
    ask(report, "SELECT * FROM report.records")
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT_S", 1)

    def next_migration(config: object, _revision: str) -> None:
        connection = config.attributes["connection"]  # type: ignore[attr-defined]
        connection.execute(sa.text("ALTER TABLE record ADD COLUMN something int"))
        connection.commit()

    monkeypatch.setattr(migrate.command, "upgrade", next_migration)
    slowest, done = 0.0, threading.Event()

    def write_on() -> None:
        # Whoever wants the table queues behind the migration, for a lock timeout at most.
        nonlocal slowest
        while not done.is_set():
            started = monotonic()
            with transaction(db) as connection:
                connection.execute(sa.text("UPDATE record SET updated_at = now() WHERE key = 'k1'"))
            slowest = max(slowest, monotonic() - started)
            sleep(0.01)

    thread = threading.Thread(target=write_on)
    thread.start()
    started = monotonic()
    with db.connect() as connection:
        migrate.upgrade(connection)
        assert "something" in {c["name"] for c in sa.inspect(connection).get_columns("record")}
    done.set()
    thread.join()
    assert monotonic() - started < PATIENCE
    assert slowest < 5
    with pytest.raises(psycopg2.OperationalError, match=r"terminating|closed the connection"):
        ask(report, "SELECT 1")


def test_the_indexes_for_texts_are_built_beside_a_long_report(
    db: sa.Engine, report: psycopg2.extensions.connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index that is built concurrently waits for old snapshots: those of reports are ended."""
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT_S", 1)
    fill(db, "catalogue", clustered(50))
    with db.connect() as connection:
        migrate.downgrade(connection, "0002")
    report.rollback()
    ask(report, "SELECT count(*) FROM pg_class")
    started = monotonic()
    with db.connect() as connection:
        migrate.upgrade(connection)
        assert migrate.is_current(connection)
        invalid = sa.text("SELECT count(*) FROM pg_index WHERE NOT indisvalid")
        assert connection.execute(invalid).scalar_one() == 0
    assert monotonic() - started < 2 * PATIENCE


def test_a_text_is_answered_by_the_workers(
    context: Context, report: psycopg2.extensions.connection
) -> None:
    drive.imported(context, "catalogue", [("a", "XERINGA 20ML"), ("b", "BENA 10X10")])
    with transaction(context.db) as connection:
        collection = records.find_collection(connection, "catalogue")
        model = models.find_model(connection, None)
        plan = pipelines.embed_stages(model.id, collection.id)
        jobs.create(connection, kind="embed", params={}, plan=plan, model_id=model.id)
    drive.run(context)
    report.set_session(isolation_level="READ COMMITTED", autocommit=True)
    search = (
        "SELECT key, found_by, cosine, model FROM report.search('catalogue', ' bena  10x10 ', 1)"
    )
    assert ask(report, search) == [("b", ["trigrams", "words"], None, None)]
    assert ask(report, "SELECT report.request_embedding(' BENA  10X10 ')") == [("requested",)]
    assert ask(report, "SELECT report.request_embedding(' BENA  10X10 ')") == [("requested",)]

    def answer() -> None:
        sleep(0.3)
        with transaction(context.db) as connection:
            answer_reports(connection)
        drive.run(context)

    thread = threading.Thread(target=answer)
    thread.start()
    nearest = """
        SELECT key, score FROM report.similar_to_vector(
            'catalogue', report.embedding_of(' BENA  10X10 ', wait => '30 s'), 1)
    """
    assert ask(report, nearest) == [("b", 1.0)]
    thread.join()
    assert ask(report, "SELECT report.request_embedding(' BENA  10X10 ')") == [("ready",)]
    expected = HashEncoder().encode(["BENA 10X10"])[0]
    (found,) = ask(report, "SELECT report.embedding_of(' BENA  10X10 ')::real[]")[0]
    assert np.array_equal(np.array(found, dtype=np.float32), expected)
    search = search.replace(" bena  10x10 ", " BENA  10X10 ")
    assert ask(report, search) == [
        ("b", ["trigrams", "vectors", "words"], 1.0, "all-MiniLM-L6-v2@1")
    ]
    # A text of which nothing is left is refused, with the reason; it may be asked for again.
    blank = "E'\\u200b'"
    ask(report, f"SELECT report.request_embedding({blank})")
    answer()
    with pytest.raises(psycopg2.DataError, match="nothing is left of it"):
        ask(report, f"SELECT report.embedding_of({blank})")
    assert ask(report, f"SELECT report.request_embedding({blank})") == [("requested",)]


def test_an_index_job_measures_what_reports_ask_for(context: Context) -> None:
    drive.imported(context, "catalogue", [(f"c{n}", f"article {n}") for n in range(60)])
    job_id = index_job(context, "catalogue")
    drive.run(context)
    assert drive.find(context.db, job_id).summary["plan"]["recall"] == 1.0
    with context.db.connect() as connection:
        found = connection.execute(
            sa.text("SELECT ef_search, recall, sample, k FROM index_recall ORDER BY 1")
        ).all()
        assert [tuple(row) for row in found] == [(d, 1.0, 60, 10) for d in reporting.DEPTHS]
        shown = connection.execute(
            sa.text("SELECT indexed_records FROM report.collections WHERE collection = 'catalogue'")
        ).scalar_one()
        assert shown == 60


def index_job(context: Context, name: str) -> int:
    with transaction(context.db) as connection:
        collection = records.find_collection(connection, name)
        model = models.find_model(connection, None)
        plan = pipelines.index_stages(model.id, collection.id)
        return jobs.create(
            connection,
            kind="index",
            params={"collection": name},
            plan=plan,
            model_id=model.id,
        )[0]


def indexes(db: sa.Engine) -> list[str]:
    query = sa.text("SELECT indexname FROM pg_indexes WHERE indexdef LIKE '%hnsw%'")
    with db.connect() as connection:
        return list(connection.execute(query).scalars())
