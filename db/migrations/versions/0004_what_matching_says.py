"""Why a first candidate is the first, and what a model's confidences are worth.

Revision 0004, after 0003.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "answer",
        sa.Column("job_id", sa.BigInteger, nullable=False),
        sa.Column("source_id", sa.BigInteger, nullable=False),
        sa.Column(
            "evidence", JSONB, nullable=False, comment="Why the first candidate is the first"
        ),
        sa.Column("accepted", sa.Boolean, nullable=False, comment="Accepted unseen"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job.id"], name="fk_answer_job_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "source_id", name="pk_answer"),
    )
    op.add_column(
        "model",
        sa.Column(
            "trials", JSONB, comment="Confidences of answers not learnt from; NULL: it has none"
        ),
    )


def downgrade() -> None:
    op.drop_column("model", "trials")
    op.drop_table("answer")
