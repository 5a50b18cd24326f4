"""The role of report writers sees schema `report`, cannot write, and cannot see anything else."""

from collections.abc import Iterator

import numpy as np
import psycopg2
import pytest
import sqlalchemy as sa

from aparella.db import engine, migrate, reporting
from aparella.db.engine import transaction
from aparella.deploy import reports
from aparella.errors import ConfigurationError, ConflictError, InputError
from aparella.settings import Settings
from tests.integration.catalogues import fill

LOGIN = "report_writer_of_the_tests"
TABLES = sa.text("""
    SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S') AND n.nspname IN ('public', 'report_internal')
    ORDER BY 1
""")


@pytest.fixture
def login(db: sa.Engine, settings: Settings) -> Iterator[psycopg2.extensions.connection]:
    """A session of a report login; a catalogue is there, with vectors."""
    fill(db, "catalogue", np.eye(384, dtype=np.float32)[:20])
    with transaction(db) as connection:
        reporting.drop_login(connection, LOGIN)
    url = reports.create_login(settings.database_url, LOGIN)
    connection = psycopg2.connect(url)
    connection.autocommit = True
    yield connection
    connection.close()
    reports.drop_login(settings.database_url, LOGIN)


def refusal(connection: psycopg2.extensions.connection, statement: str) -> str:
    with connection.cursor() as cursor, pytest.raises(psycopg2.Error) as caught:
        cursor.execute(statement)
    return str(caught.value.pgcode)


def ask(connection: psycopg2.extensions.connection, query: str) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def test_it_reads_every_view_and_calls_every_function(
    db: sa.Engine, login: psycopg2.extensions.connection
) -> None:
    with db.connect() as connection:
        views = sa.inspect(connection).get_view_names("report")
    assert len(views) >= 11
    for view in views:
        ask(login, f"SELECT * FROM report.{view}")
    assert len(ask(login, "SELECT * FROM report.similar('catalogue', 'k1', 5)")) == 5
    assert len(ask(login, "SELECT * FROM report.duplicates('catalogue', -1)")) > 5
    assert len(ask(login, "SELECT * FROM report.nearest_pairs('catalogue', 'catalogue')")) == 20
    assert ask(login, "SELECT key FROM report.search('catalogue', 'familia 7')")[0] == ("k7",)
    assert ask(login, "SELECT report.request_embedding('benes')") == [("requested",)]
    vector = "(SELECT array_agg(1.0)::vector FROM generate_series(1, 384))"
    assert len(ask(login, f"SELECT * FROM report.similar_to_vector('catalogue', {vector})")) == 10


def test_it_has_no_right_on_anything_else(
    db: sa.Engine, login: psycopg2.extensions.connection
) -> None:
    with db.connect() as connection:
        names = list(connection.execute(TABLES).scalars())
    assert len(names) > 20
    for name in names:
        assert refusal(login, f"SELECT * FROM {name}") == "42501", name
        if "_seq" in name:
            continue
        for statement in (
            f"INSERT INTO {name} DEFAULT VALUES",
            f"DELETE FROM {name}",
            f"TRUNCATE {name}",
            f"SELECT * FROM {name} FOR UPDATE",
            f"COPY {name} TO STDOUT" if "internal" not in name else f"SELECT count(*) FROM {name}",
            f"DROP {'VIEW' if 'internal' in name else 'TABLE'} {name}",
        ):
            assert refusal(login, statement) in {"42501", "42809"}, statement


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (x int)",
        "CREATE TABLE report.mine (x int)",
        "CREATE SCHEMA mine",
        "CREATE TEMP TABLE mine (x int)",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql RETURN 1",
        "CREATE VIEW report.mine AS SELECT 1 AS x",
        "CREATE EXTENSION dblink",
        "CREATE ROLE mine",
        "CREATE DATABASE mine",
        "DELETE FROM report.records",
        "UPDATE report.records SET text = ''",
        "INSERT INTO report.collections (collection) VALUES ('mine')",
        "ALTER VIEW report.jobs RENAME TO mine",
        "DROP VIEW report.jobs",
        "DROP FUNCTION report.search",
        "DROP SCHEMA report CASCADE",
        "COMMENT ON VIEW report.jobs IS ''",
        "SELECT report_internal.plain('É')",
        "SELECT * FROM report_internal.nearest_40('pg_authid', NULL, 1, 1, NULL)",
        "SET ROLE aparella",
        "SET SESSION AUTHORIZATION aparella",
        "ALTER ROLE aparella_report LOGIN",
        "ALTER ROLE aparella_report SET statement_timeout = 0",
        "ALTER SYSTEM SET work_mem = '1GB'",
        "GRANT SELECT ON report.jobs TO PUBLIC WITH GRANT OPTION",
        "COPY (SELECT 1) TO '/tmp/mine'",
        "COPY (SELECT 1) TO PROGRAM 'cat'",
        "SELECT pg_read_file('PG_VERSION')",
        "SELECT pg_ls_dir('.')",
        "SELECT lo_export(1, '/tmp/mine')",
        "SELECT * FROM pg_authid",
        "SELECT pg_terminate_backend(min(pid)) FROM pg_stat_activity WHERE usename = 'aparella'",
        "DO $$ BEGIN PERFORM count(*) FROM public.record; END $$",
        "CHECKPOINT",
    ],
)
def test_it_is_refused(
    db: sa.Engine, login: psycopg2.extensions.connection, statement: str
) -> None:
    with db.connect():  # a session of the owner's, that could be ended
        assert refusal(login, statement) in {"42501", "0LP01", "55000", "42809", "42710"}, statement


def test_names_of_its_own_do_not_slip_under_the_functions(
    login: psycopg2.extensions.connection,
) -> None:
    """search_path is pinned: what the caller's path says makes no difference."""
    ask(login, "SELECT set_config('search_path', 'pg_temp, nowhere', false)")
    assert len(ask(login, "SELECT * FROM report.similar('catalogue', 'k1', 5)")) == 5


def test_a_login_has_limits(db: sa.Engine, login: psycopg2.extensions.connection) -> None:
    assert ask(login, "SHOW statement_timeout") == [("15min",)]
    assert ask(login, "SHOW work_mem") == [("64MB",)]
    assert ask(login, "SHOW idle_in_transaction_session_timeout") == [("5min",)]
    with db.connect() as connection:
        found = connection.execute(
            sa.text("SELECT rolconnlimit, rolsuper, rolinherit FROM pg_roles WHERE rolname = :n"),
            {"n": LOGIN},
        ).one()
    assert tuple(found) == (10, False, True)
    ask(login, "SELECT set_config('statement_timeout', '50ms', false)")
    assert refusal(login, "SELECT pg_sleep(5)") == "57014"


@pytest.mark.usefixtures("login")
def test_names_of_logins(settings: Settings) -> None:
    with pytest.raises(ConflictError, match="already"):
        reports.create_login(settings.database_url, LOGIN)
    for name in ("", "Big", "with space", 'quote"', "pg_x", "aparella_report", "x; DROP TABLE job"):
        with pytest.raises(InputError, match="no name"):
            reports.create_login(settings.database_url, name)


def test_a_query_of_the_command_cannot_write(settings: Settings) -> None:
    source = reports.Source(settings.database_url, own=False)
    with reports.answer(source, "SELECT current_user, 1 AS n;") as answer:
        assert [(c.name, c.kind) for c in answer.columns] == [
            ("current_user", "text"),
            ("n", "integer"),
        ]
        assert list(answer.blocks) == [[("aparella_report", 1)]]
    for query, words in {
        "SELECT 1; DROP TABLE job": "42P11",
        "DELETE FROM report.records": "55000",
        "SELECT * FROM public.job": "42501",
        "SELECT report.request_embedding('x')": "25006",
        "SELECT * FROM report.similar('no', 'k')": "42704",
    }.items():
        with pytest.raises(InputError, match=words), reports.answer(source, query):
            pass


def test_a_user_who_may_not_create_roles_can_migrate(
    template: tuple[sa.Engine, sa.URL, str], caplog: pytest.LogCaptureFixture
) -> None:
    """As on a managed server: the schema is there, and a sentence says what is missing."""
    server, url, _ = template
    owner, name = "owner_of_the_tests", "aparella_managed"
    role = "aparella_report"
    with server.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        connection.execute(sa.text(f"DROP ROLE IF EXISTS {owner}"))
        connection.execute(sa.text(f"CREATE ROLE {owner} LOGIN PASSWORD 'x'"))
        connection.execute(sa.text(f"CREATE DATABASE {name} OWNER {owner}"))
    admin = sa.create_engine(url.set(database=name), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        # pgvector is no trusted extension: an administrator installs it.
        connection.execute(sa.text("CREATE EXTENSION vector"))
        connection.execute(sa.text(f"GRANT ALL ON SCHEMA public TO {owner}"))
    own = url.set(database=name, username=owner, password="x")
    db = engine.create(
        Settings(DATABASE_URL=own.render_as_string(hide_password=False)), name="test"
    )
    real = reporting.ROLE
    try:
        # The role is the server's, and other tests have made it: another name stands for none.
        reporting.ROLE = "aparella_report_that_is_not_there"
        with db.connect() as connection:
            migrate.upgrade(connection)
            assert migrate.is_current(connection)
            connection.execute(sa.text("SELECT * FROM report.jobs"))
        assert "An administrator runs: CREATE ROLE" in caplog.text
        assert f"GRANT {reporting.ROLE} TO {owner}" in caplog.text
        with pytest.raises(ConfigurationError, match="administrator"):
            reports.create_login(own.render_as_string(hide_password=False), "somebody")
    finally:
        reporting.ROLE = real
        db.dispose()
        admin.dispose()
        with server.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
            connection.execute(sa.text(f"DROP ROLE {owner}"))
    assert role == real
