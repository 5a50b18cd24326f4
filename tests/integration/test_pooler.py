"""Behind a PgBouncer in transaction mode: what is a transaction's, and what needs a session."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from time import monotonic, sleep

import pytest
import sqlalchemy as sa

from aparella.db import budget, chunks, engine, sessions
from aparella.db.budget import Pool
from aparella.db.engine import create, transaction, translate
from aparella.deploy import reports
from aparella.errors import ConfigurationError, ServiceUnavailableError, TransientError
from aparella.settings import Settings
from aparella.workers.reconciler import Bell
from tests.pooler import needs_pgbouncer, pooler, servers

SILENCE = "SHOW idle_in_transaction_session_timeout"


@pytest.fixture
def pooled(settings: Settings) -> Iterator[Settings]:
    """The test's database through a pooler, which has several connections to it already."""
    with pooler(settings.database_url) as url:
        found = settings.model_copy(update={"database_url": url})
        everywhere(found, "SELECT 1")
        yield found


def everywhere(settings: Settings, query: str) -> list[object]:
    """What a query gives in each of the sessions that the pooler has with the server."""
    db = create(settings, name="looker", pool=Pool(servers(), servers()))
    with ExitStack() as held:
        # All at once, so that each has one of its own.
        connections = [held.enter_context(db.connect()) for _ in range(servers())]
        pids = {c.exec_driver_sql("SELECT pg_backend_pid()").scalar_one() for c in connections}
        assert len(pids) == servers()
        found = [c.exec_driver_sql(query).scalar() for c in connections]
    db.dispose()
    return found


def run(module: str, settings: Settings, *words: str) -> subprocess.CompletedProcess[str]:
    """A command, in an environment with no other URL than those of the settings."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DATABASE_")}
    environment["DATABASE_URL"] = settings.database_url
    if settings.session_url:
        environment["DATABASE_SESSION_URL"] = settings.session_url
    return subprocess.run(
        [sys.executable, "-m", module, *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@needs_pgbouncer
def test_a_limit_of_silence_reaches_no_other_client(pooled: Settings) -> None:
    default = everywhere(pooled, SILENCE)
    db = create(pooled, name="worker", silence=0.4)
    for _ in range(3):
        with transaction(db) as connection:
            assert connection.exec_driver_sql(SILENCE).scalar_one() == "400ms"
    db.dispose()
    assert everywhere(pooled, SILENCE) == default
    assert "400ms" not in default


@needs_pgbouncer
def test_a_silent_transaction_is_ended(pooled: Settings) -> None:
    db = create(pooled, name="frozen", silence=0.2)
    # Not only in the first one: each may be given another session.
    for _ in range(2):
        with db.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
            sleep(1.0)
            with pytest.raises(sa.exc.DBAPIError) as lost:
                connection.exec_driver_sql("SELECT 1")
        assert isinstance(translate(lost.value), TransientError)
    db.dispose()


@needs_pgbouncer
def test_a_pooler_is_told_apart(settings: Settings, pooled: Settings) -> None:
    for given, direct in ((settings, True), (pooled, False)):
        db = create(given, name="looker")
        with db.connect() as connection:
            assert sessions.is_direct(connection.connection.driver_connection) is direct
        db.dispose()


@needs_pgbouncer
def test_nobody_listens_where_others_would_hear(pooled: Settings) -> None:
    db = create(pooled, name="reconciler", pool=budget.LISTENER, session=True)
    bell = Bell(db)
    for _ in range(3):
        started = monotonic()
        bell.wait(0.2)
        assert monotonic() - started >= 0.2
    assert db.pool.checkedout() == 0
    assert everywhere(pooled, "SELECT pg_listening_channels()") == [None] * servers()
    db.dispose()


@needs_pgbouncer
def test_the_reconciler_listens_at_the_address_for_sessions(
    settings: Settings, pooled: Settings
) -> None:
    both = pooled.model_copy(update={"session_url": settings.database_url})
    own = create(both, name="reconciler", pool=budget.LISTENER, session=True)
    bell, db = Bell(own), create(both, name="worker")
    bell.wait(0.01)  # listens from now on
    for _ in range(2):
        with transaction(db) as connection:
            chunks.notify(connection)
        started = monotonic()
        bell.wait(30.0)
        assert monotonic() - started < 10.0
    bell.close()
    assert own.pool.checkedout() == 0
    db.dispose()
    own.dispose()


def test_listening_that_fails_is_tried_again_later(settings: Settings) -> None:
    nowhere = "postgresql://127.0.0.1:1/nowhere?connect_timeout=1"
    lost = settings.model_copy(update={"session_url": nowhere})
    db = create(lost, name="reconciler", pool=budget.LISTENER, session=True)
    tries: list[object] = []
    sa.event.listen(db, "do_connect", lambda *given: tries.append(given))
    bell = Bell(db)
    for _ in range(5):
        bell.wait(0.01)
    assert len(tries) == 1
    db.dispose()


@needs_pgbouncer
def test_a_migration_wants_a_session(settings: Settings, pooled: Settings) -> None:
    refused = run("aparella.db.migrate", pooled)
    assert refused.returncode == 1
    assert refused.stderr.startswith("aparella: DATABASE_URL leads to a pooler.")
    assert "Set DATABASE_SESSION_URL" in refused.stderr

    twice = pooled.model_copy(update={"session_url": pooled.database_url})
    refused = run("aparella.db.migrate", twice)
    assert refused.returncode == 1
    assert "DATABASE_SESSION_URL leads to a pooler in transaction mode" in refused.stderr

    both = pooled.model_copy(update={"session_url": settings.database_url})
    done = run("aparella.db.migrate", both)
    assert done.returncode == 0, done.stderr
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = "
    locks += "(SELECT oid FROM pg_database WHERE datname = current_database())"
    assert set(everywhere(pooled, locks)) == {0}


@needs_pgbouncer
def test_a_report_is_in_its_role_or_not_run(settings: Settings, pooled: Settings) -> None:
    source = reports.source(None, {"DATABASE_URL": pooled.database_url})
    said = r"DATABASE_URL leads to a pooler.+Set DATABASE_SESSION_URL"
    with pytest.raises(ConfigurationError, match=said), reports.answer(source, "SELECT 1"):
        pass
    both = {"DATABASE_URL": pooled.database_url, "DATABASE_SESSION_URL": settings.database_url}
    with reports.answer(reports.source(None, both), "SELECT current_user::text") as answer:
        assert [row for block in answer.blocks for row in block] == [(reports.ROLE,)]


@pytest.mark.parametrize(
    "pool", [budget.API, budget.PROCESS, budget.WORKER, budget.RECONCILER, budget.LISTENER]
)
def test_a_process_opens_no_more_than_its_budget(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, pool: Pool
) -> None:
    monkeypatch.setattr(engine, "_PATIENCE", 0.2)
    db = create(settings, name="full", pool=pool)
    query = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = :name "
        "AND datname = current_database()"
    )
    with ExitStack() as held:
        for _ in range(pool.most):
            last = held.enter_context(transaction(db))
        assert last.execute(query, {"name": "aparella full"}).scalar_one() == pool.most
        with pytest.raises(ServiceUnavailableError, match="no free database connection"):
            held.enter_context(transaction(db))
    with transaction(db) as connection:
        assert connection.execute(query, {"name": "aparella full"}).scalar_one() <= pool.most
    # What was opened for a moment is closed again.
    assert db.pool.checkedin() <= pool.kept
    db.dispose()
