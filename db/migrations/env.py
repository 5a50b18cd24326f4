"""What Alembic runs for each command: our tables, over the connection that `migrate` opened."""

from alembic import context

from aparella.db.tables import metadata


def _is_ours(_object: object, name: str | None, kind: str, *_: object) -> bool:
    # Partitions of `embedding` are made at run time and are no part of the declared schema.
    return not (kind == "table" and name is not None and name.startswith("embedding_"))


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    include_object=_is_ours,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
