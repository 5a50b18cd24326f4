"""Pair sets, splits and evaluations; versions of models that are trained, promoted and retired.

Revision 0002, after 0001.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

STATUSES = ("training", "candidate", "promoted", "superseded", "retired", "deleted")


def _json(name: str, comment: str | None = None) -> sa.Column[object]:
    return sa.Column(
        name,
        postgresql.JSONB(),
        server_default=sa.text("'{}'::jsonb"),
        nullable=False,
        comment=comment,
    )


def _now(name: str) -> sa.Column[object]:
    return sa.Column(
        name, sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
    )


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False)


def upgrade() -> None:
    op.add_column(
        "chunk", sa.Column("progress_done", sa.Integer(), server_default="0", nullable=False)
    )
    op.add_column(
        "chunk",
        sa.Column(
            "detail",
            postgresql.JSONB(),
            nullable=True,
            comment="What its work says about itself meanwhile",
        ),
    )
    op.drop_constraint("ck_stage_state", "stage")
    op.create_check_constraint(
        "state",
        "stage",
        "state IN ('waiting', 'running', 'done', 'failed', 'cancelled', 'skipped')",
    )
    op.alter_column("upload", "collection_id", nullable=True)
    _models()
    _pairs()
    op.create_table(
        "promotion",
        _id(),
        sa.Column("model_id", sa.BigInteger(), nullable=False),
        sa.Column("previous_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "job_id",
            sa.BigInteger(),
            nullable=True,
            comment="NULL: a rollback, which needs no work",
        ),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column(
            "reason",
            sa.Text(),
            nullable=True,
            comment="Why the gate was overruled, where it was",
        ),
        _json("verdict", "What the gate found, with its numbers"),
        sa.Column("promoted_by", sa.Text(), nullable=True),
        _now("promoted_at"),
        sa.ForeignKeyConstraint(
            ["model_id"], ["model.id"], name="fk_promotion_model_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["previous_id"], ["model.id"], name="fk_promotion_previous_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_promotion"),
        sa.CheckConstraint("kind IN ('promote', 'rollback')", name="kind"),
    )


def _models() -> None:
    op.drop_constraint("ck_model_status", "model")
    op.drop_constraint("uq_model_name_version", "model")
    op.add_column("model", sa.Column("parent_id", sa.BigInteger(), nullable=True))
    op.add_column("model", sa.Column("twin_of", sa.BigInteger(), nullable=True))
    op.add_column(
        "model",
        sa.Column(
            "held_out",
            postgresql.ARRAY(sa.SmallInteger()),
            server_default="{}",
            nullable=False,
            comment="Folds of the pairs that it was not trained on",
        ),
    )
    op.add_column("model", _json("files", "SHA-256 of each file of the artifact"))
    op.add_column(
        "model",
        _json("training", "Recipe, pairs, split and libraries, by which it could be made again"),
    )
    op.add_column("model", sa.Column("created_by", sa.Text(), nullable=True))
    op.alter_column("model", "artifact_url", comment="Empty until it is trained")
    op.alter_column(
        "model",
        "sha256",
        comment="Of model.safetensors; empty until trained",
        existing_comment="Of model.safetensors",
    )
    op.create_foreign_key("fk_model_parent_id", "model", "model", ["parent_id"], ["id"])
    op.create_foreign_key(
        "fk_model_twin_of", "model", "model", ["twin_of"], ["id"], ondelete="CASCADE"
    )
    listed = ", ".join(f"'{status}'" for status in STATUSES)
    op.create_check_constraint("status", "model", f"status IN ({listed})")
    op.create_check_constraint(
        "trained", "model", "sha256 <> '' OR status IN ('training', 'deleted')"
    )
    op.create_index(
        "uq_model_name_version",
        "model",
        ["name", "version"],
        unique=True,
        postgresql_where=sa.text("twin_of IS NULL"),
    )


def _pairs() -> None:
    op.drop_table("pair")  # nothing ever wrote to it
    op.create_table(
        "pair_set",
        _id(),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("source_collection_id", sa.BigInteger(), nullable=True),
        sa.Column("target_collection_id", sa.BigInteger(), nullable=True),
        _now("created_at"),
        _now("updated_at"),
        sa.ForeignKeyConstraint(
            ["source_collection_id"],
            ["collection.id"],
            name="fk_pair_set_source_collection_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["target_collection_id"],
            ["collection.id"],
            name="fk_pair_set_target_collection_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_pair_set"),
        sa.UniqueConstraint("name", name="uq_pair_set_name"),
    )
    op.create_table(
        "pair",
        _id(),
        sa.Column("pair_set_id", sa.BigInteger(), nullable=False),
        sa.Column("source_id", sa.BigInteger(), nullable=True),
        sa.Column("target_id", sa.BigInteger(), nullable=True),
        sa.Column("source_text", sa.Text(), nullable=False, comment="Cleaned"),
        sa.Column("target_text", sa.Text(), nullable=False, comment="Cleaned"),
        sa.Column("source_hash", postgresql.BYTEA(), nullable=False),
        sa.Column("target_hash", postgresql.BYTEA(), nullable=False),
        sa.Column("positive", sa.Boolean(), nullable=False, comment="False: known not to belong"),
        sa.Column("weight", sa.REAL(), server_default="1", nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column(
            "fold",
            sa.SmallInteger(),
            nullable=True,
            comment="0 to 9; 0 and 1 are held out. NULL: would leak between the parts",
        ),
        _now("created_at"),
        _now("updated_at"),
        sa.ForeignKeyConstraint(
            ["pair_set_id"], ["pair_set.id"], name="fk_pair_pair_set_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["source_id"], ["record.id"], name="fk_pair_source_id"),
        sa.ForeignKeyConstraint(["target_id"], ["record.id"], name="fk_pair_target_id"),
        sa.PrimaryKeyConstraint("id", name="pk_pair"),
        sa.UniqueConstraint(
            "pair_set_id",
            "source_hash",
            "target_hash",
            name="uq_pair_pair_set_id_source_hash_target_hash",
        ),
        sa.CheckConstraint("origin IN ('file', 'decision')", name="origin"),
    )
    op.create_table(
        "evaluation",
        _id(),
        sa.Column("model_id", sa.BigInteger(), nullable=True),
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("pair_set_id", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=True),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("split_sha256", sa.Text(), nullable=False, comment="Of the split it was made on"),
        _json("figures"),
        _now("created_at"),
        sa.ForeignKeyConstraint(
            ["model_id"], ["model.id"], name="fk_evaluation_model_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["pair_set_id"],
            ["pair_set.id"],
            name="fk_evaluation_pair_set_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job.id"], name="fk_evaluation_job_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_evaluation"),
        sa.CheckConstraint("system IN ('model', 'trigrams')", name="system"),
        sa.CheckConstraint("method IN ('holdout', 'cross_validation')", name="method"),
    )
    op.create_index("ix_evaluation_pair_set_id_model_id", "evaluation", ["pair_set_id", "model_id"])
    op.create_table(
        "evaluation_query",
        sa.Column("evaluation_id", sa.BigInteger(), nullable=False),
        sa.Column("source_hash", postgresql.BYTEA(), nullable=False, comment="Of the query's text"),
        sa.Column(
            "ranks",
            postgresql.ARRAY(sa.BigInteger()),
            nullable=False,
            comment="Of its right records in the whole catalogue, from 1; empty: none was found",
        ),
        sa.Column("right_records", sa.Integer(), nullable=False),
        sa.Column("category", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["evaluation_id"],
            ["evaluation.id"],
            name="fk_evaluation_query_evaluation_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("evaluation_id", "source_hash", name="pk_evaluation_query"),
    )


def downgrade() -> None:
    op.drop_table("promotion")
    op.drop_table("evaluation_query")
    op.drop_table("evaluation")
    op.drop_table("pair")
    op.drop_table("pair_set")
    op.create_table(
        "pair",
        _id(),
        sa.Column("pair_set", sa.Text(), nullable=False),
        sa.Column("source_text", sa.Text(), nullable=False),
        sa.Column("target_text", sa.Text(), nullable=False),
        sa.Column("source_id", sa.BigInteger(), nullable=True),
        sa.Column("target_id", sa.BigInteger(), nullable=True),
        sa.Column("label", sa.REAL(), server_default="1", nullable=False),
        sa.Column("weight", sa.REAL(), server_default="1", nullable=False),
        _now("created_at"),
        sa.ForeignKeyConstraint(["source_id"], ["record.id"], name="fk_pair_source_id"),
        sa.ForeignKeyConstraint(["target_id"], ["record.id"], name="fk_pair_target_id"),
        sa.PrimaryKeyConstraint("id", name="pk_pair"),
        sa.UniqueConstraint(
            "pair_set",
            "source_text",
            "target_text",
            name="uq_pair_pair_set_source_text_target_text",
        ),
    )
    # Models that only this revision knows cannot be kept: their rows say things the older schema
    # has no columns for. The older program's default is the base model again.
    op.execute("DELETE FROM model WHERE parent_id IS NOT NULL OR twin_of IS NOT NULL")
    op.execute("UPDATE model SET status = 'candidate' WHERE status = 'superseded'")
    op.execute("DELETE FROM model WHERE status IN ('training', 'deleted')")
    op.execute(
        "UPDATE model SET status = 'promoted' WHERE id = (SELECT min(id) FROM model) "
        "AND NOT EXISTS (SELECT FROM model WHERE status = 'promoted')"
    )
    op.drop_index("uq_model_name_version", table_name="model")
    op.drop_constraint("ck_model_trained", "model")
    op.drop_constraint("ck_model_status", "model")
    op.drop_constraint("fk_model_twin_of", "model")
    op.drop_constraint("fk_model_parent_id", "model")
    for column in ("created_by", "training", "files", "held_out", "twin_of", "parent_id"):
        op.drop_column("model", column)
    op.alter_column("model", "artifact_url", comment=None)
    op.alter_column("model", "sha256", comment="Of model.safetensors")
    op.create_check_constraint("status", "model", "status IN ('candidate', 'promoted', 'retired')")
    op.create_unique_constraint("uq_model_name_version", "model", ["name", "version"])
    op.execute("DELETE FROM upload WHERE collection_id IS NULL")
    op.alter_column("upload", "collection_id", nullable=False)
    op.execute("UPDATE stage SET state = 'cancelled' WHERE state = 'skipped'")
    op.drop_constraint("ck_stage_state", "stage")
    op.create_check_constraint(
        "state", "stage", "state IN ('waiting', 'running', 'done', 'failed', 'cancelled')"
    )
    op.drop_column("chunk", "detail")
    op.drop_column("chunk", "progress_done")
