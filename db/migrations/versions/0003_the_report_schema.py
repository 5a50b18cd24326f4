"""The schema `report`, its role, and the indexes that a free text is searched with.

Revision 0003, after 0002. The indexes are built concurrently, so that imports go on meanwhile, and
so outside the migration's transaction: whatever comes before the last step may be repeated.

A later revision that changes a table which `reports/*.sql` reads calls `reporting.drop` first, and
`reporting.begin` and `reporting.install` at its end; this one then needs the files as they were.
"""

import logging

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import VECTOR
from sqlalchemy.dialects import postgresql

from aparella.db import reporting

revision = "0003"
down_revision = "0002"

log = logging.getLogger("aparella.db.migrate")

INDEXES = {
    "ix_record_text_trigrams": "gin (report_internal.plain(text) gin_trgm_ops)",
    "ix_record_text_words": "gin (to_tsvector('simple'::regconfig, report_internal.plain(text)))",
    "ix_record_attributes": "gin (attributes jsonb_path_ops)",
}


def upgrade() -> None:
    connection = op.get_bind()
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    op.execute("CREATE EXTENSION IF NOT EXISTS unaccent")
    reporting.begin(connection)
    with op.get_context().autocommit_block():
        for name, definition in INDEXES.items():
            if not _is_valid(name):
                # What a build that was broken off has left is of no use.
                op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
                op.execute(f"CREATE INDEX CONCURRENTLY {name} ON record USING {definition}")
    _create_tables()
    reporting.install(connection)
    sentence = reporting.admit(connection)
    if sentence is not None:
        log.warning("%s", sentence)
    # On servers that were upgraded from old versions everybody may still create objects here.
    op.execute(
        "DO $$ BEGIN EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC', current_schema()); "
        "EXCEPTION WHEN insufficient_privilege THEN NULL; END $$"
    )


def downgrade() -> None:
    for name in INDEXES:
        op.execute(f"DROP INDEX IF EXISTS {name}")
    reporting.drop(op.get_bind())
    op.drop_table("index_recall")
    op.drop_table("text_embedding")


def _is_valid(name: str) -> bool:
    query = sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")
    return bool(op.get_bind().execute(query, {"name": name}).scalar())


def _create_tables() -> None:
    op.create_table(
        "text_embedding",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("model_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "text_hash",
            postgresql.BYTEA(),
            nullable=False,
            comment="SHA-256 of the text as it was given",
        ),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("embedding", VECTOR(384), comment="NULL until a worker has answered"),
        sa.Column("error", sa.Text(), comment="Why it cannot be encoded"),
        sa.Column(
            "job_id", sa.BigInteger(), comment="The job that answers; NULL until there is one"
        ),
        sa.Column(
            "requested_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("answered_at", sa.TIMESTAMP(timezone=True)),
        sa.ForeignKeyConstraint(
            ["model_id"], ["model.id"], name="fk_text_embedding_model_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_text_embedding"),
        sa.UniqueConstraint("model_id", "text_hash", name="uq_text_embedding_model_id_text_hash"),
    )
    op.create_index(
        "ix_text_embedding_waiting",
        "text_embedding",
        ["model_id", "id"],
        postgresql_where=sa.text("answered_at IS NULL"),
    )
    op.create_table(
        "index_recall",
        sa.Column("model_id", sa.BigInteger(), nullable=False),
        sa.Column("collection_id", sa.BigInteger(), nullable=False),
        sa.Column("ef_search", sa.Integer(), nullable=False, comment="Depth of the search"),
        sa.Column(
            "recall", sa.Float(), nullable=False, comment="Share of the true neighbours found"
        ),
        sa.Column("sample", sa.Integer(), nullable=False, comment="Records that were looked up"),
        sa.Column("k", sa.Integer(), nullable=False, comment="Neighbours of each"),
        sa.Column(
            "measured_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            ["collection.id"],
            name="fk_index_recall_collection_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["model_id"], ["model.id"], name="fk_index_recall_model_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("model_id", "collection_id", "ef_search", name="pk_index_recall"),
    )
