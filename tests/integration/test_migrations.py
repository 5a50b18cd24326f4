"""The migrations create the schema that the models declare, and go down and up again."""

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from aparella.db import migrate
from aparella.db.tables import metadata

CHECKS = sa.text("""
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE contype IN ('c', 'f', 'p', 'u') AND connamespace = current_schema()::regnamespace
      AND conrelid::regclass::text <> 'alembic_version' ORDER BY 1, 2
""")


def differences(connection: sa.Connection) -> list[object]:
    options = {"compare_type": True, "compare_server_default": True}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


def test_the_migrated_schema_is_the_declared_one(db: sa.Engine) -> None:
    with db.connect() as connection:
        assert differences(connection) == []
        assert migrate.is_current(connection)
        migrated = connection.execute(CHECKS).all()
        connection.execute(sa.text("CREATE SCHEMA declared"))
        connection.execute(sa.text("SET LOCAL search_path TO declared, public"))
        for table in metadata.sorted_tables:
            connection.execute(sa.schema.CreateTable(table))
        declared = connection.execute(CHECKS).all()
    assert [tuple(row) for row in migrated] == [
        (table.removeprefix("declared."), name, text.replace("declared.", ""))
        for table, name, text in declared
    ]


def test_down_and_up_again(db: sa.Engine) -> None:
    with db.connect() as connection:
        migrate.downgrade(connection, "base")
        left = sa.inspect(connection).get_table_names()
        assert left == ["alembic_version"]
        assert not migrate.is_current(connection)
        migrate.upgrade(connection)
        assert differences(connection) == []


def test_upgrading_twice_changes_nothing(db: sa.Engine) -> None:
    with db.connect() as connection:
        migrate.upgrade(connection)
        assert differences(connection) == []
