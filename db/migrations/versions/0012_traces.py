"""A job knows the span of the request that asked for it, so that its chunks continue that trace.

Revision 0012, after 0011.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column(
        "job",
        sa.Column(
            "traceparent",
            sa.Text(),
            nullable=True,
            comment="The request's span, which its chunks continue",
        ),
    )


def downgrade() -> None:
    op.drop_column("job", "traceparent")
