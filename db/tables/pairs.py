"""Known pairs, from which models learn and by which they are judged."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA

from aparella.db.tables.base import identity, json, metadata, one_of, reference, time

pair_set = sa.Table(
    "pair_set",
    metadata,
    identity(),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    # NULL: the pairs came as texts, before there was a collection.
    reference("source_collection_id", "collection", nullable=True),
    reference("target_collection_id", "collection", nullable=True),
    time("created_at", now=True),
    time("updated_at", now=True),
)

pair = sa.Table(
    "pair",
    metadata,
    identity(),
    reference("pair_set_id"),
    reference("source_id", "record", nullable=True, cascade=False),
    reference("target_id", "record", nullable=True, cascade=False),
    sa.Column("source_text", sa.Text, nullable=False, comment="Cleaned"),
    sa.Column("target_text", sa.Text, nullable=False, comment="Cleaned"),
    sa.Column("source_hash", BYTEA, nullable=False),
    sa.Column("target_hash", BYTEA, nullable=False),
    sa.Column("positive", sa.Boolean, nullable=False, comment="False: known not to belong"),
    sa.Column("weight", sa.REAL, nullable=False, server_default="1"),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column(
        "fold",
        sa.SmallInteger,
        comment="0 to 9; 0 and 1 are held out. NULL: would leak between the parts",
    ),
    time("created_at", now=True),
    time("updated_at", now=True),
    sa.UniqueConstraint("pair_set_id", "source_hash", "target_hash"),
    one_of("origin", "file", "decision"),
)

evaluation = sa.Table(
    "evaluation",
    metadata,
    identity(),
    # NULL: a ranking without a model, which `system` names.
    reference("model_id", nullable=True),
    sa.Column("system", sa.Text, nullable=False),
    reference("pair_set_id"),
    reference("job_id", nullable=True),
    sa.Column("method", sa.Text, nullable=False),
    sa.Column("split_sha256", sa.Text, nullable=False, comment="Of the split it was made on"),
    json("figures"),
    time("created_at", now=True),
    one_of("system", "model", "trigrams"),
    one_of("method", "holdout", "cross_validation"),
    sa.Index(None, "pair_set_id", "model_id"),
)

evaluation_query = sa.Table(
    "evaluation_query",
    metadata,
    reference("evaluation_id"),
    sa.Column("source_hash", BYTEA, nullable=False, comment="Of the query's text"),
    sa.Column(
        "ranks",
        ARRAY(sa.BigInteger),
        nullable=False,
        comment="Of its right records in the whole catalogue, from 1; empty: none was found",
    ),
    sa.Column("right_records", sa.Integer, nullable=False),
    sa.Column("category", sa.Text),
    sa.PrimaryKeyConstraint("evaluation_id", "source_hash"),
)
