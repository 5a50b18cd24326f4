"""What the functions of schema `report` need: texts to encode, and how well an index searches."""

import sqlalchemy as sa
from pgvector.sqlalchemy import VECTOR
from sqlalchemy.dialects.postgresql import BYTEA

from aparella.db.tables.base import DIMENSIONS, identity, metadata, reference, time

text_embedding = sa.Table(
    "text_embedding",
    metadata,
    identity(),
    reference("model_id"),
    sa.Column("text_hash", BYTEA, nullable=False, comment="SHA-256 of the text as it was given"),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("embedding", VECTOR(DIMENSIONS), comment="NULL until a worker has answered"),
    sa.Column("error", sa.Text, comment="Why it cannot be encoded"),
    sa.Column("job_id", sa.BigInteger, comment="The job that answers; NULL until there is one"),
    time("requested_at", now=True),
    time("answered_at"),
    sa.UniqueConstraint("model_id", "text_hash"),
    sa.Index(
        "ix_text_embedding_waiting",
        "model_id",
        "id",
        postgresql_where=sa.text("answered_at IS NULL"),
    ),
)

index_recall = sa.Table(
    "index_recall",
    metadata,
    reference("model_id"),
    reference("collection_id"),
    sa.Column("ef_search", sa.Integer, nullable=False, comment="Depth of the search"),
    sa.Column("recall", sa.Float, nullable=False, comment="Share of the true neighbours found"),
    sa.Column("sample", sa.Integer, nullable=False, comment="Records that were looked up"),
    sa.Column("k", sa.Integer, nullable=False, comment="Neighbours of each"),
    time("measured_at", now=True),
    sa.PrimaryKeyConstraint("model_id", "collection_id", "ef_search"),
)
