"""An answer knows what a new record must reach to be among its candidates, for `--since`.

Revision 0013, after 0012.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column(
        "answer",
        sa.Column(
            "floors",
            postgresql.ARRAY(sa.REAL()),
            nullable=True,
            comment="Scores that a new record must reach to be a candidate; NULL: not noted",
        ),
    )


def downgrade() -> None:
    op.drop_column("answer", "floors")
