"""Who may use the API: bearer tokens, of which only a hash is kept."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA

from aparella.db.tables.base import identity, metadata, one_of, time

token = sa.Table(
    "token",
    metadata,
    identity(),
    sa.Column("handle", sa.Text, nullable=False, unique=True, comment="The token's public part"),
    sa.Column("digest", BYTEA, nullable=False, comment="SHA-256 of the whole token"),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("created_by", sa.Text, comment="Name of the token that made it; NULL: an operator"),
    time("created_at", now=True),
    time("revoked_at"),
    one_of("scope", "read", "submit", "admin"),
    sa.Index(
        "ix_token_name_in_use", "name", unique=True, postgresql_where=sa.text("revoked_at IS NULL")
    ),
)
