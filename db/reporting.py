"""The schema `report`: installed from `reports/*.sql`, and who may use it.

Each file is plain SQL with a few marks in it, such as `@search_path@`, for what is known only when
it is installed: in which schemas our tables and the extensions are.
"""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from aparella.db.tables import DIMENSIONS

ROLE = "aparella_report"
"""The group of all report logins: it sees schema `report` and nothing else."""

VERSION = 3
"""Of the contract: what views and functions there are, with what arguments and columns. It rises
with every change, and docs/reports.md says what changed; what would break a report is not changed
but goes into a schema `report_v2` beside this one."""

DEPTHS = (40, 100, 200, 400, 1000)
"""Values of `hnsw.ef_search` that reports can search with, and index builds measure."""

_FOLDER = Path(__file__).parent / "reports"
_FILES = (
    "types",
    "internal",
    "nearest",
    "similar",
    "pairs",
    "search",
    "views_data",
    "views_jobs",
    "views_matches",
    "closing",
)
_CASES = {
    "nearest": """\
        WHEN {0} THEN
            candidates := report_internal.nearest_{0}(vectors, query, most, filtered, filter);""",
    "pairs": """\
    WHEN {0} THEN
        RETURN QUERY SELECT * FROM report_internal.pairs_{0}(
            source_vectors, target_vectors, min_score, k, filter, source_filter);""",
}
_MAY_CREATE_ROLES = sa.text(
    "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
)
_ROLE_EXISTS = sa.text("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :role)")
_CREATE_ROLE = f"""
    DO $$ BEGIN
        CREATE ROLE {ROLE} NOLOGIN;
    -- Roles belong to the server: another database's migration may do the same just now.
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
    END $$
"""
# end: direct members of the role, and our own commands, which take the role on themselves
_END = sa.text("""
    SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a
    WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
      AND a.xact_start < clock_timestamp() - make_interval(secs => :seconds)
      AND (a.application_name LIKE 'aparella report%' OR EXISTS (
            SELECT FROM pg_auth_members m WHERE m.member = a.usesysid
              AND m.roleid = (SELECT r.oid FROM pg_roles r WHERE r.rolname = :role)))
""")
_IS_LOGIN = sa.text("""
    SELECT EXISTS (SELECT FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
                   JOIN pg_roles r ON r.oid = m.member
                   WHERE g.rolname = :role AND r.rolname = :name AND r.rolcanlogin
                     AND NOT r.rolsuper)
""")
# Grants of several databases to one role meet in a catalogue that they share.
_LOCK_ROLE = "SELECT pg_advisory_xact_lock(hashtext('aparella report role'))"


def begin(connection: sa.Connection) -> None:
    """The schemas, and the function that the indexes of records' texts are made with.

    May be repeated.
    """
    connection.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS report")
    connection.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS report_internal")
    _execute(connection, "plain")


def install(connection: sa.Connection) -> None:
    """Create all views and functions, after `begin`."""
    for name in _FILES:
        _execute(connection, name)


def install_review(connection: sa.Connection) -> None:
    """Let the views know of decisions that are undone and of lines without a counterpart."""
    _execute(connection, "views_data")  # the contract's version stands there
    _execute(connection, "views_review")


def remove_review(connection: sa.Connection) -> None:
    """Put the views back as they were before `install_review`."""
    connection.exec_driver_sql("DROP VIEW report.decisions")
    _execute(connection, "views_matches")
    admit(connection)


def install_scale(connection: sa.Connection) -> None:
    """Quicker functions, and a view of jobs that knows of pauses."""
    for name in ("views_data", "views_pauses", "nearest", "search", "closing"):
        _execute(connection, name)


def remove_scale(connection: sa.Connection) -> None:
    """Put the view of jobs back as it was before `install_scale`; the functions fit as they are."""
    connection.exec_driver_sql("DROP VIEW report.jobs")
    _execute(connection, "views_jobs")
    admit(connection)


def drop(connection: sa.Connection) -> None:
    """Drop all of it; the role stays, which other databases may use as well."""
    connection.exec_driver_sql("DROP SCHEMA IF EXISTS report, report_internal CASCADE")


def admit(connection: sa.Connection) -> str | None:
    """Create the role if there is none and this user may, and give it its rights.

    Returns:
        None, or a sentence that says what an administrator has to run.
    """
    if not connection.execute(_ROLE_EXISTS, {"role": ROLE}).scalar_one():
        if not connection.execute(_MAY_CREATE_ROLES).scalar_one():
            user = connection.exec_driver_sql("SELECT quote_ident(current_user)").scalar_one()
            return (
                f"The database user may not create the role {ROLE}, which reports are read with. "
                f"An administrator runs: CREATE ROLE {ROLE} NOLOGIN; GRANT {ROLE} TO {user} WITH "
                "ADMIN OPTION; then `aparella report role create NAME` goes on."
            )
        connection.exec_driver_sql(_CREATE_ROLE)
    connection.exec_driver_sql(_LOCK_ROLE)
    _execute(connection, "grants")
    return None


def search_path(connection: sa.Connection) -> str:
    """Our schema and those of the extensions, as functions that create tables pin it.

    pg_catalog, unnamed, still comes first where names are looked up, but nothing is created in it.
    """
    return _marks(connection, "")["search_path"].removeprefix("pg_catalog, ")


def login_exists(connection: sa.Connection, name: str) -> bool:
    """Whether there is a role of that name, of whatever kind."""
    return bool(connection.execute(_ROLE_EXISTS, {"role": name}).scalar_one())


def create_login(
    connection: sa.Connection,
    name: str,
    password: str,
    settings: Mapping[str, str],
    *,
    connections: int,
) -> None:
    """Create a login in the role, with settings that its sessions begin with.

    Roles do not inherit settings from their group, so each login has its own.
    """
    preparer = connection.dialect.identifier_preparer
    quoted = preparer.quote_identifier(name)

    def literal(value: str) -> str:
        # Utility statements take no bound values.
        return str(connection.execute(sa.text("SELECT quote_literal(:v)"), {"v": value}).scalar())

    _run(
        connection,
        f"CREATE ROLE {quoted} LOGIN PASSWORD {literal(password)} CONNECTION LIMIT {connections} "
        f"NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS IN ROLE {ROLE}",
    )
    for setting, value in settings.items():
        listed = ", ".join(literal(part.strip()) for part in value.split(","))
        _run(connection, f"ALTER ROLE {quoted} SET {setting} = {listed}")


def drop_login(connection: sa.Connection, name: str) -> bool:
    """Drop a login of the role; False where there is none."""
    if not connection.execute(_IS_LOGIN, {"role": ROLE, "name": name}).scalar_one():
        return False
    _run(connection, f"DROP ROLE {connection.dialect.identifier_preparer.quote_identifier(name)}")
    return True


def end_reports(connection: sa.Connection, *, older_than_s: float) -> int:
    """End the sessions of report logins whose transaction is older; returns how many were ended.

    None where this user may not: only members of the role that a session has may end it.
    """
    try:
        with connection.begin_nested():
            return len(connection.execute(_END, {"role": ROLE, "seconds": older_than_s}).all())
    except sa.exc.ProgrammingError:
        return 0


def _execute(connection: sa.Connection, name: str) -> None:
    """Run one file."""
    text = (_FOLDER / f"{name}.sql").read_text(encoding="utf-8")
    for mark, value in _marks(connection, name).items():
        text = text.replace(f"@{mark}@", value)
    _run(connection, text)


def _run(connection: sa.Connection, text: str) -> None:
    """Run a text by the driver itself: its colons and percent signs are not parameters."""
    with closing(connection.connection.cursor()) as cursor:
        cursor.execute(text)


def _marks(connection: sa.Connection, name: str) -> dict[str, str]:
    own, unaccent, path = connection.execute(
        sa.text("""
            SELECT quote_ident(current_schema()),
                   (SELECT quote_ident(n.nspname) FROM pg_extension e
                    JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'unaccent'),
                   (SELECT string_agg(DISTINCT quote_ident(n.nspname), ', ') FROM pg_extension e
                    JOIN pg_namespace n ON n.oid = e.extnamespace
                    WHERE e.extname IN ('vector', 'pg_trgm', 'unaccent')
                      AND n.nspname <> current_schema())
        """)
    ).one()
    schemas = ["pg_catalog", own, *([path] if path else []), "pg_temp"]
    return {
        "search_path": ", ".join(schemas),
        "schema": own,
        "unaccent": unaccent,
        "dimensions": str(DIMENSIONS),
        "depths": ", ".join(map(str, DEPTHS)),
        "cases": "\n".join(_CASES[name].format(depth) for depth in DEPTHS)
        if name in _CASES
        else "",
        "version": str(VERSION),
    }
