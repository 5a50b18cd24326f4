"""When a record last changed, counted in editions, and what a first candidate contradicts.

Revision 0008, after 0007.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    # Constant defaults: neither table is written anew.
    op.add_column(
        "record",
        sa.Column(
            "changed_edition",
            sa.Integer(),
            nullable=False,
            server_default="0",
            comment="Its collection's edition when its text, or whether it is there, last changed",
        ),
    )
    op.add_column(
        "answer",
        sa.Column(
            "contradicted",
            sa.Boolean(),
            comment="Whether a measure of the first candidate contradicts the line",
        ),
    )


def downgrade() -> None:
    op.drop_column("answer", "contradicted")
    op.drop_column("record", "changed_edition")
