"""The command `python -m aparella.db.migrate`: brings the database to this version's schema."""

import argparse
import sys
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from aparella.db.engine import create, translate
from aparella.errors import AparellaError, ConfigurationError
from aparella.settings import load

PGVECTOR = (0, 8, 0)
"""The first version with iterative index scans, which filtered searches need."""


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
    connection.execute(sa.text("SELECT pg_advisory_lock(hashtext('aparella migrate'))"))
    try:
        _require_pgvector(connection)
        connection.commit()
        command.upgrade(config(connection), revision)
        connection.commit()
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
    head = ScriptDirectory.from_config(config()).get_current_head()
    return MigrationContext.configure(connection).get_current_revision() == head


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
        engine = create(load(), name="migrate")
        try:
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
