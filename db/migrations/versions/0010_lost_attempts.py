"""Attempts that ended with the worker gone are counted apart from others.

Revision 0010, after 0009.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column(
        "chunk",
        sa.Column(
            "lost",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="Attempts that ended with the worker gone",
        ),
    )


def downgrade() -> None:
    op.drop_column("chunk", "lost")
