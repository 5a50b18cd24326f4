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


def test_decisions_from_before_know_their_texts(db: sa.Engine) -> None:
    with db.connect() as connection:
        migrate.downgrade(connection, "0003")
        connection.execute(sa.text("INSERT INTO collection (name) VALUES ('list'), ('catalogue')"))
        connection.execute(
            sa.text(
                "INSERT INTO record (collection_id, key, text, text_hash, cleaner_version) "
                "SELECT id, name, name, decode(md5(name), 'hex'), 1 FROM collection"
            )
        )
        connection.execute(
            sa.text(
                "INSERT INTO decision (source_id, target_id, verdict, decided_by) "
                "SELECT s.id, t.id, 'accept', 'anna' FROM record s, record t "
                "WHERE s.key = 'list' AND t.key = 'catalogue'"
            )
        )
        old = connection.execute(sa.text("SELECT target_key, in_force FROM report.decisions")).all()
        connection.commit()
        migrate.upgrade(connection)
        found = connection.execute(
            sa.text(
                "SELECT d.source_hash = s.text_hash AND d.target_hash = t.text_hash "
                "AND d.catalogue_id = t.collection_id FROM decision d "
                "JOIN record s ON s.id = d.source_id JOIN record t ON t.id = d.target_id"
            )
        ).scalar_one()
        view = sa.text("SELECT target_key, in_force, texts_unchanged FROM report.decisions")
        assert found
        assert [tuple(row) for row in old] == [("catalogue", True)]
        assert [tuple(row) for row in connection.execute(view)] == [("catalogue", True, True)]
        connection.commit()
        migrate.downgrade(connection, "0003")
        kept = connection.execute(sa.text("SELECT verdict FROM decision")).scalars().all()
        assert kept == ["accept"]
