"""The command `python -m aparella.db.migrate`: brings the database to this version's schema."""

import argparse
import logging
import sys
from pathlib import Path
from time import sleep

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from aparella.db import reporting, roles, sessions
from aparella.db.engine import create, translate
from aparella.errors import AparellaError, ConfigurationError, ServiceUnavailableError
from aparella.settings import load

log = logging.getLogger(__name__)

PGVECTOR = (0, 8, 0)
"""The first version with iterative index scans, which filtered searches need."""

LOCK_TIMEOUT_S = 5
"""Seconds for which a migration may hold up those who want the same table."""
_ATTEMPTS = 12
_NAP = 0.5
_LOCK_NOT_AVAILABLE = "55P03"
_LOCK = sa.text("SELECT pg_try_advisory_lock(hashtext('aparella migrate'))")


def config(connection: sa.Connection | None = None) -> Config:
    """Alembic's configuration, over an open connection."""
    result = Config()
    result.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    result.attributes["connection"] = connection
    return result


def upgrade(connection: sa.Connection, revision: str = "head") -> None:
    """Migrate up to a revision; one process at a time, others wait and find it done.

    Raises:
        ConfigurationError: the server has no pgvector, or one that is too old.
    """
    # Tried again and again instead of waited for: a transaction that waits holds a snapshot, which
    # a migration that builds an index concurrently would wait for in turn.
    while not connection.execute(_LOCK).scalar_one():
        connection.rollback()
        sleep(_NAP)
    try:
        _require_pgvector(connection)
        connection.commit()
        _carry_out(connection, revision)
        _share_rights(connection)
    finally:
        connection.rollback()
        connection.execute(sa.text("SELECT pg_advisory_unlock(hashtext('aparella migrate'))"))
        connection.commit()


def downgrade(connection: sa.Connection, revision: str) -> None:
    """Migrate down to a revision, `base` being before the first."""
    command.downgrade(config(connection), revision)
    connection.commit()


def is_current(connection: sa.Connection) -> bool:
    """Whether the database's schema is the one that this version of the program expects."""
    current, head = revisions(connection)
    return current == head


def revisions(connection: sa.Connection) -> tuple[str | None, str | None]:
    """The revision that the database is at, and the one that this version expects."""
    head = ScriptDirectory.from_config(config()).get_current_head()
    return MigrationContext.configure(connection).get_current_revision(), head


def _carry_out(connection: sa.Connection, revision: str) -> None:
    """Upgrade; what waits for a lock gives up soon, because everybody else would queue behind it.

    Reports hold weak locks for as long as they run, which may be minutes. Those that are in the
    way are ended, by their logins only; for others it is tried a few times more.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_TIMEOUT_S}s'")
        connection.commit()
        try:
            command.upgrade(config(connection), revision)
        except sa.exc.OperationalError as error:
            connection.rollback()
            if getattr(error.orig, "pgcode", None) != _LOCK_NOT_AVAILABLE:
                raise
            ended = reporting.end_reports(connection, older_than_s=LOCK_TIMEOUT_S)
            connection.commit()
            log.warning("a table is in use; %d reports were ended (attempt %d)", ended, attempt)
            if attempt == _ATTEMPTS:
                raise ServiceUnavailableError(
                    "The migration waits for a table that another transaction has in use. See "
                    "who it is with SELECT * FROM pg_stat_activity WHERE xact_start < now() - "
                    "interval '1 min', end it, and migrate again: nothing is half done."
                ) from error
            sleep(_NAP)
        else:
            break
    connection.rollback()
    connection.exec_driver_sql("RESET lock_timeout")
    connection.commit()


def _share_rights(connection: sa.Connection) -> None:
    """After each upgrade: rights are a state, which new tables must be brought into."""
    sentence = roles.apply(connection)
    connection.commit()
    if sentence is not None:
        log.info("%s", sentence)


def _require_pgvector(connection: sa.Connection) -> None:
    found = connection.execute(
        sa.text("SELECT default_version FROM pg_available_extensions WHERE name = 'vector'")
    ).scalar()
    if found is None:
        raise ConfigurationError(
            "This PostgreSQL has no pgvector: install it (https://github.com/pgvector/pgvector), "
            "or use the image pgvector/pgvector:pg18."
        )
    if tuple(int(part) for part in found.split(".")) < PGVECTOR:
        wanted = ".".join(map(str, PGVECTOR))
        raise ConfigurationError(f"pgvector {found} is too old: {wanted} or newer is needed.")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m aparella.db.migrate", description=__doc__)
    parser.add_argument("action", nargs="?", default="upgrade", choices=("upgrade", "downgrade"))
    parser.add_argument("revision", nargs="?", default="head")
    arguments = parser.parse_args()
    try:
        settings = load()
        engine = create(settings, name="migrate", session=True)
        try:
            sessions.require(engine, named=bool(settings.session_url))
            with engine.connect() as connection:
                if arguments.action == "upgrade":
                    upgrade(connection, arguments.revision)
                else:
                    downgrade(connection, arguments.revision)
        except sa.exc.DBAPIError as error:
            raise translate(error) from error
    except AparellaError as error:
        sys.exit(f"aparella: {error}")


if __name__ == "__main__":
    main()
