"""Models, the vectors they make, and how they came to be the default."""

import sqlalchemy as sa
from pgvector.sqlalchemy import VECTOR
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB

from aparella.db.tables.base import (
    DIMENSIONS,
    identity,
    json,
    metadata,
    one_of,
    reference,
    time,
)

model = sa.Table(
    "model",
    metadata,
    identity(),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("base_model", sa.Text, nullable=False),
    reference("parent_id", "model", nullable=True, cascade=False),
    # A twin is trained like its model but without the held-out pairs, so that these can judge it.
    reference("twin_of", "model", nullable=True),
    sa.Column(
        "held_out",
        ARRAY(sa.SmallInteger),
        nullable=False,
        server_default="{}",
        comment="Folds of the pairs that it was not trained on",
    ),
    sa.Column("dim", sa.Integer, nullable=False),
    sa.Column("max_seq_length", sa.Integer, nullable=False),
    sa.Column("artifact_url", sa.Text, nullable=False, comment="Empty until it is trained"),
    sa.Column(
        "sha256", sa.Text, nullable=False, comment="Of model.safetensors; empty until trained"
    ),
    sa.Column(
        "files",
        JSONB,
        nullable=False,
        server_default=sa.text("'{}'::jsonb"),
        comment="SHA-256 of each file of the artifact",
    ),
    sa.Column("cleaner_version", sa.SmallInteger, nullable=False),
    sa.Column(
        "training",
        JSONB,
        nullable=False,
        server_default=sa.text("'{}'::jsonb"),
        comment="Recipe, pairs, split and libraries, by which it could be made again",
    ),
    json("metrics"),
    sa.Column("trials", JSONB, comment="Confidences of answers not learnt from; NULL: it has none"),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("created_by", sa.Text),
    time("created_at", now=True),
    sa.CheckConstraint(f"dim = {DIMENSIONS}", name="dim"),
    one_of("status", "training", "candidate", "promoted", "superseded", "retired", "deleted"),
    sa.CheckConstraint("sha256 <> '' OR status IN ('training', 'deleted')", name="trained"),
    sa.Index(
        "uq_model_name_version",
        "name",
        "version",
        unique=True,
        postgresql_where=sa.text("twin_of IS NULL"),
    ),
    sa.Index(
        "uq_model_promoted",
        "status",
        unique=True,
        postgresql_where=sa.text("status = 'promoted'"),
    ),
)

embedding = sa.Table(
    "embedding",
    metadata,
    # No foreign keys here: their checks would cost more than the COPY itself, and a model's or a
    # collection's vectors go away as a whole, by DROP of a partition.
    sa.Column("model_id", sa.BigInteger, nullable=False),
    sa.Column("collection_id", sa.BigInteger, nullable=False),
    sa.Column("record_id", sa.BigInteger, nullable=False),
    sa.Column("text_hash", BYTEA, nullable=False, comment="Of the text that was encoded"),
    sa.Column("embedding", VECTOR(DIMENSIONS), nullable=False),
    sa.PrimaryKeyConstraint("model_id", "collection_id", "record_id"),
    postgresql_partition_by="LIST (model_id)",
)

vector_index = sa.Table(
    "vector_index",
    metadata,
    reference("model_id"),
    reference("collection_id"),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    time("built_at", now=True),
    sa.PrimaryKeyConstraint("model_id", "collection_id"),
)

promotion = sa.Table(
    "promotion",
    metadata,
    identity(),
    reference("model_id"),
    reference("previous_id", "model", nullable=True),
    sa.Column("job_id", sa.BigInteger, comment="NULL: a rollback, which needs no work"),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, comment="Why the gate was overruled, where it was"),
    sa.Column(
        "verdict",
        JSONB,
        nullable=False,
        server_default=sa.text("'{}'::jsonb"),
        comment="What the gate found, with its numbers",
    ),
    sa.Column("promoted_by", sa.Text),
    time("promoted_at", now=True),
    one_of("kind", "promote", "rollback"),
)
