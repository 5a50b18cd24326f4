"""Bearer tokens of the API.

Revision 0006, after 0003.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "token",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("handle", sa.Text(), nullable=False, comment="The token's public part"),
        sa.Column(
            "digest", postgresql.BYTEA(), nullable=False, comment="SHA-256 of the whole token"
        ),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column(
            "created_by", sa.Text(), comment="Name of the token that made it; NULL: an operator"
        ),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("revoked_at", sa.TIMESTAMP(timezone=True)),
        sa.CheckConstraint("scope IN ('read', 'submit', 'admin')", name="ck_token_scope"),
        sa.PrimaryKeyConstraint("id", name="pk_token"),
        sa.UniqueConstraint("handle", name="uq_token_handle"),
    )
    op.create_index(
        "ix_token_name_in_use",
        "token",
        ["name"],
        unique=True,
        postgresql_where=sa.text("revoked_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_table("token")
