"""Decisions that can be undone and that know their texts, and the queue of a review.

Revision 0007, after 0006.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from aparella.db import reporting

revision = "0007"
down_revision = "0006"

# Decisions that were made before are taken to be about the texts of today.
FILL = """
    UPDATE decision d SET source_hash = s.text_hash, target_hash = t.text_hash,
                          catalogue_id = t.collection_id
    FROM record s, record t WHERE s.id = d.source_id AND t.id = d.target_id
"""
VERDICTS = "verdict IN ('accept', 'reject', 'none', 'undo')"
UNDOES = "(undoes_id IS NOT NULL) = (verdict = 'undo')"
TARGET = (
    "(target_id IS NULL) = (target_hash IS NULL) AND (verdict = 'undo' "
    "OR (target_id IS NULL) = (verdict = 'none'))"
)


def upgrade() -> None:
    op.add_column(
        "record",
        sa.Column(
            "text_changed_at",
            sa.TIMESTAMP(timezone=True),
            comment="When it last got another text; NULL: never since it was created",
        ),
    )
    _extend_decision()
    op.create_table(
        "review",
        sa.Column("job_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("built_at", sa.TIMESTAMP(timezone=True)),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job.id"], name="fk_review_job_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", name="pk_review"),
    )
    op.create_table(
        "review_line",
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("source_id", sa.BigInteger(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False, comment="Uncertain lines first, mixed"),
        sa.Column("skips", sa.Integer(), server_default="0", nullable=False),
        sa.Column("leased_by", sa.Text()),
        sa.Column("lease_until", sa.TIMESTAMP(timezone=True)),
        sa.ForeignKeyConstraint(
            ["job_id"], ["review.job_id"], name="fk_review_line_job_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "source_id", name="pk_review_line"),
    )
    op.create_index(
        "ix_review_line_job_id_skips_place", "review_line", ["job_id", "skips", "place"]
    )
    reporting.install_review(op.get_bind())


def downgrade() -> None:
    reporting.remove_review(op.get_bind())
    op.drop_table("review_line")
    op.drop_table("review")
    # The table before can neither say that there is no counterpart nor take anything back.
    op.execute("""
        DELETE FROM decision d WHERE d.verdict IN ('none', 'undo')
            OR EXISTS (SELECT FROM decision u WHERE u.undoes_id = d.id)
    """)
    for name in ("ck_decision_target", "ck_decision_undoes", "ck_decision_verdict"):
        op.execute(f"ALTER TABLE decision DROP CONSTRAINT {name}")
    op.create_check_constraint(
        op.f("ck_decision_verdict"), "decision", "verdict IN ('accept', 'reject')"
    )
    op.drop_index("ix_decision_source_id_catalogue_id", table_name="decision")
    op.create_index("ix_decision_source_id", "decision", ["source_id"])
    for name in ("undoes_id", "source_hash", "target_hash", "catalogue_id"):
        op.drop_column("decision", name)
    op.alter_column("decision", "target_id", nullable=False, comment=None)
    _point_at_job("CASCADE")
    op.drop_column("record", "text_changed_at")


def _extend_decision() -> None:
    op.add_column("decision", sa.Column("catalogue_id", sa.BigInteger()))
    op.add_column(
        "decision",
        sa.Column("undoes_id", sa.BigInteger(), comment="The decision that this one takes back"),
    )
    op.add_column(
        "decision",
        sa.Column("source_hash", postgresql.BYTEA(), comment="Of the text that was decided about"),
    )
    op.add_column("decision", sa.Column("target_hash", postgresql.BYTEA()))
    op.execute(FILL)
    for name in ("catalogue_id", "source_hash"):
        op.alter_column("decision", name, nullable=False)
    op.alter_column("decision", "target_id", nullable=True, comment="NULL: none of the catalogue")
    op.create_foreign_key(
        "fk_decision_catalogue_id", "decision", "collection", ["catalogue_id"], ["id"]
    )
    op.create_foreign_key("fk_decision_undoes_id", "decision", "decision", ["undoes_id"], ["id"])
    op.create_unique_constraint("uq_decision_undoes_id", "decision", ["undoes_id"])
    op.drop_index("ix_decision_source_id", table_name="decision")
    op.create_index("ix_decision_source_id_catalogue_id", "decision", ["source_id", "catalogue_id"])
    op.execute("ALTER TABLE decision DROP CONSTRAINT ck_decision_verdict")
    for name, rule in (("verdict", VERDICTS), ("undoes", UNDOES), ("target", TARGET)):
        op.create_check_constraint(op.f(f"ck_decision_{name}"), "decision", rule)
    _point_at_job("SET NULL")


def _point_at_job(ondelete: str) -> None:
    """A decision is about records: it outlives the job that was looked at."""
    op.drop_constraint("fk_decision_job_id", "decision", type_="foreignkey")
    op.create_foreign_key(
        "fk_decision_job_id", "decision", "job", ["job_id"], ["id"], ondelete=ondelete
    )
