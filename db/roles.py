"""The database roles of the API and of the workers, and what each may do (docs/decisions/0018).

They are groups: a deployment's logins are made in them. The migrations' user owns everything, and
whoever connects as that user needs neither role.
"""

from collections.abc import Mapping

import sqlalchemy as sa

API = "aparella_api"
WORKER = "aparella_worker"

_WRITE = "SELECT, INSERT, UPDATE, DELETE"
_READ = "SELECT"
RIGHTS: Mapping[str, Mapping[str, str | None]] = {
    API: {
        **dict.fromkeys(
            ("record", "match", "answer", "embedding", "text_embedding", "index_recall"), _READ
        ),
        "alembic_version": _READ,
        # A token that was made is never changed, only ended; and its row stays.
        "token": "SELECT, INSERT, UPDATE (revoked_at)",
    },
    WORKER: {"alembic_version": _READ, "decision": "SELECT, INSERT", "token": None},
}
"""What differs from reading and writing rows, by role and table."""

_FUNCTIONS = {
    API: ("drop_vectors(bigint)",),
    WORKER: (
        "make_partition(bigint, bigint)",
        "drop_vectors(bigint)",
        "build_index(bigint, bigint)",
        "end_index(bigint, bigint, text, text)",
        "report_internal.attach(bigint, bigint)",
        # The indexes on a record's text are made with it.
        "report_internal.plain(text)",
    ),
}
_MAINTAINED = {API: ("pair",), WORKER: None}
"""Tables whose statistics a role may refresh after a bulk load; None: all that it writes."""
_HAS_MAINTAIN = 170_000
"""Before this version only a table's owner can analyse it: autovacuum does it, a little later."""

_TABLES = sa.text("""
    SELECT c.relname FROM pg_class c
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
    ORDER BY c.relname
""")
_MAY_CREATE_ROLES = sa.text(
    "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
)
_EXISTS = sa.text("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :role)")
_FUNCTION_EXISTS = sa.text("SELECT to_regprocedure(:signature) IS NOT NULL")


def apply(connection: sa.Connection) -> str | None:
    """Create the roles if there are none and this user may, and give them their rights.

    Args:
        connection: of the tables' owner, inside a transaction.

    Returns:
        None, or a sentence that says what an administrator has to run.
    """
    missing = [role for role in (API, WORKER) if not _exists(connection, role)]
    if missing and not connection.execute(_MAY_CREATE_ROLES).scalar_one():
        wanted = "; ".join(f"CREATE ROLE {role} NOLOGIN" for role in missing)
        return (
            "API and workers have no roles of their own: the database user may not create any. "
            f"An administrator runs: {wanted}; then migrate again. Until then all connect as owner."
        )
    for role in missing:
        # Roles belong to the server: another database's migration may do the same just now.
        connection.exec_driver_sql(
            f"DO $$ BEGIN CREATE ROLE {role} NOLOGIN; "
            "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        )
    tables = list(connection.execute(_TABLES).scalars())
    for role in (API, WORKER):
        _grant(connection, role, tables)
    return None


def _grant(connection: sa.Connection, role: str, tables: list[str]) -> None:
    def run(statement: str) -> None:
        connection.exec_driver_sql(statement)

    quote = connection.dialect.identifier_preparer.quote_identifier
    schema, database = connection.exec_driver_sql(
        "SELECT quote_ident(current_schema()), quote_ident(current_database())"
    ).one()
    run(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    # For the temporary tables that bulk writes go through.
    run(f"GRANT TEMPORARY ON DATABASE {database} TO {role}")
    run(f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role}")
    version = int(connection.exec_driver_sql("SHOW server_version_num").scalar_one())
    for table in tables:
        known = "embedding" if table.startswith("embedding_") else table
        rights = RIGHTS[role].get(known, _WRITE)
        if rights is None:
            continue
        maintained = _MAINTAINED[role]
        writes = rights == _WRITE
        if version >= _HAS_MAINTAIN and writes and (not maintained or known in maintained):
            rights += ", MAINTAIN"
        run(f"GRANT {rights} ON {quote(table)} TO {role}")
    for signature in _FUNCTIONS[role]:
        if connection.execute(_FUNCTION_EXISTS, {"signature": signature}).scalar_one():
            run(f"GRANT EXECUTE ON FUNCTION {signature} TO {role}")
    if (
        role == WORKER
        and connection.exec_driver_sql(
            "SELECT to_regnamespace('report_internal') IS NOT NULL"
        ).scalar_one()
    ):
        run(f"GRANT USAGE ON SCHEMA report_internal TO {role}")


def _exists(connection: sa.Connection, role: str) -> bool:
    return bool(connection.execute(_EXISTS, {"role": role}).scalar_one())
