"""What every table is declared with: the metadata, and the columns that recur."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

DIMENSIONS = 384
"""Width of every vector: all-MiniLM-L6-v2's. The column type fixes it."""

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def identity() -> sa.Column[int]:
    """The primary key `id`, which the database gives."""
    return sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True)


def time(name: str, *, now: bool = False) -> sa.Column[object]:
    """A moment; `now`: the default is the transaction's, and it is never NULL."""
    default = sa.func.now() if now else None
    return sa.Column(name, sa.TIMESTAMP(timezone=True), nullable=not now, server_default=default)


def json(name: str) -> sa.Column[object]:
    """A JSON object, empty by default."""
    return sa.Column(name, JSONB, nullable=False, server_default=sa.text("'{}'::jsonb"))


def reference(
    column: str, table: str | None = None, *, nullable: bool = False, cascade: bool = True
) -> sa.Column[int]:
    """A foreign key to the table that the column is named after, unless another is given."""
    table = table or column.removesuffix("_id")
    key = sa.ForeignKey(f"{table}.id", ondelete="CASCADE" if cascade else None)
    return sa.Column(column, sa.BigInteger, key, nullable=nullable)


def one_of(name: str, *words: str) -> sa.CheckConstraint:
    """A column that holds one of these words."""
    listed = ", ".join(f"'{word}'" for word in words)
    return sa.CheckConstraint(f"{name} IN ({listed})", name=name)
