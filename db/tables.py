"""The tables, as SQLAlchemy declares them; `migrations/` creates exactly these (a test holds it).

Large and hot tables (record, embedding, chunk, match) are written by COPY or set-based SQL only.
"""

import sqlalchemy as sa
from pgvector.sqlalchemy import VECTOR
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB

DIMENSIONS = 384
"""Width of every vector: all-MiniLM-L6-v2's. The column type fixes it."""

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True)


def _time(name: str, *, now: bool = False) -> sa.Column[object]:
    default = sa.func.now() if now else None
    return sa.Column(name, sa.TIMESTAMP(timezone=True), nullable=not now, server_default=default)


def _json(name: str) -> sa.Column[object]:
    return sa.Column(name, JSONB, nullable=False, server_default=sa.text("'{}'::jsonb"))


def _reference(column: str, *, nullable: bool = False) -> sa.Column[int]:
    table = column.removesuffix("_id")
    key = sa.ForeignKey(f"{table}.id", ondelete="CASCADE")
    return sa.Column(column, sa.BigInteger, key, nullable=nullable)


def _one_of(name: str, *words: str) -> sa.CheckConstraint:
    listed = ", ".join(f"'{word}'" for word in words)
    return sa.CheckConstraint(f"{name} IN ({listed})", name=name)


# --- data -----------------------------------------------------------------------------------------

collection = sa.Table(
    "collection",
    metadata,
    _id(),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column(
        "edition",
        sa.Integer,
        nullable=False,
        server_default="0",
        comment="Counts the imports that were applied",
    ),
    _time("created_at", now=True),
    _time("updated_at", now=True),
)

record = sa.Table(
    "record",
    metadata,
    _id(),
    _reference("collection_id"),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False, comment="Cleaned, once, at import"),
    sa.Column("original", sa.Text, comment="The text before cleaning, where cleaning changed it"),
    sa.Column("text_hash", BYTEA, nullable=False, comment="16 bytes, of the cleaned text"),
    sa.Column("cleaner_version", sa.SmallInteger, nullable=False),
    _json("attributes"),
    _time("created_at", now=True),
    _time("updated_at", now=True),
    _time("removed_at"),
    sa.UniqueConstraint("collection_id", "key"),
    sa.Index(None, "text_hash", "collection_id"),
)

upload = sa.Table(
    "upload",
    metadata,
    _id(),
    _reference("collection_id"),
    sa.Column("filename", sa.Text, nullable=False),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("strict", sa.Boolean, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False, server_default="0"),
    _time("created_at", now=True),
    _one_of("mode", "replace", "merge"),
)

upload_row = sa.Table(
    "upload_row",
    metadata,
    _reference("upload_id"),
    sa.Column("number", sa.BigInteger, nullable=False, comment="Line or row in the file"),
    sa.Column("key", sa.Text),
    sa.Column("text", sa.Text, comment="As uploaded"),
    sa.Column("attributes", JSONB),
    sa.Column("cleaned", sa.Text),
    sa.Column("text_hash", BYTEA),
    sa.Column("repaired", sa.Text, comment="Name of the encoding repair, if one was made"),
    sa.Column("code", sa.Text, comment="Why the row is refused; NULL where it is not"),
    sa.Column("field", sa.Text),
    sa.Column("message", sa.Text),
    sa.PrimaryKeyConstraint("upload_id", "number"),
)

# --- models and vectors ---------------------------------------------------------------------------

model = sa.Table(
    "model",
    metadata,
    _id(),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("base_model", sa.Text, nullable=False),
    sa.Column("dim", sa.Integer, nullable=False),
    sa.Column("max_seq_length", sa.Integer, nullable=False),
    sa.Column("artifact_url", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False, comment="Of model.safetensors"),
    sa.Column("cleaner_version", sa.SmallInteger, nullable=False),
    _json("metrics"),
    sa.Column("status", sa.Text, nullable=False),
    _time("created_at", now=True),
    sa.UniqueConstraint("name", "version"),
    sa.CheckConstraint(f"dim = {DIMENSIONS}", name="dim"),
    _one_of("status", "candidate", "promoted", "retired"),
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
    _reference("model_id"),
    _reference("collection_id"),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    _time("built_at", now=True),
    sa.PrimaryKeyConstraint("model_id", "collection_id"),
)

# --- jobs -----------------------------------------------------------------------------------------

job = sa.Table(
    "job",
    metadata,
    _id(),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default="queued"),
    _json("params"),
    _reference("model_id", nullable=True),
    sa.Column("idempotency_key", sa.Text, unique=True),
    sa.Column("request_hash", BYTEA),
    _json("summary"),
    sa.Column("error", sa.Text),
    _time("created_at", now=True),
    _time("started_at"),
    _time("finished_at"),
    _one_of(
        "state",
        "queued",
        "running",
        "cancelling",
        "succeeded",
        "succeeded_with_errors",
        "failed",
        "cancelled",
    ),
    sa.Index(
        "ix_job_open",
        "id",
        postgresql_where=sa.text("state IN ('queued', 'running', 'cancelling')"),
    ),
)

stage = sa.Table(
    "stage",
    metadata,
    _id(),
    _reference("job_id"),
    sa.Column("position", sa.SmallInteger, nullable=False),
    sa.Column("name", sa.Text, nullable=False, comment="What the user sees"),
    sa.Column("handler", sa.Text, nullable=False, comment="Module of workers/stages/"),
    sa.Column("queue", sa.Text, nullable=False),
    _json("params"),
    sa.Column("state", sa.Text, nullable=False, server_default="waiting"),
    sa.Column("skipped", sa.BigInteger, nullable=False, server_default="0"),
    _time("started_at"),
    _time("finished_at"),
    sa.UniqueConstraint("job_id", "position"),
    _one_of("state", "waiting", "running", "done", "failed", "cancelled"),
    sa.Index("ix_stage_running", "id", postgresql_where=sa.text("state = 'running'")),
)

chunk = sa.Table(
    "chunk",
    metadata,
    _id(),
    _reference("job_id"),
    _reference("stage_id"),
    sa.Column("parent_id", sa.BigInteger, comment="The chunk that was bisected into this one"),
    sa.Column("kind", sa.Text, nullable=False, server_default="work"),
    sa.Column("state", sa.Text, nullable=False, server_default="ready"),
    sa.Column("items", ARRAY(sa.BigInteger), nullable=False, comment="Record ids or row numbers"),
    sa.Column("size", sa.Integer, nullable=False, comment="Items counted in the progress"),
    sa.Column("failed", sa.Integer, nullable=False, server_default="0"),
    sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
    sa.Column("lease_token", sa.BigInteger, nullable=False, server_default="0"),
    _time("lease_until"),
    _time("progress_at"),
    sa.Column("leased_by", sa.Text),
    _time("available_at", now=True),
    _time("sent_at"),
    sa.Column("code", sa.Text),
    sa.Column("error", sa.Text),
    _time("started_at"),
    _time("finished_at"),
    _one_of("kind", "plan", "work"),
    _one_of("state", "ready", "leased", "done", "split", "dead", "cancelled"),
    # Claims and dispatch stay flat in the number of finished chunks: these hold open ones only.
    sa.Index(
        "ix_chunk_unsent",
        "stage_id",
        "id",
        postgresql_where=sa.text("state = 'ready' AND sent_at IS NULL"),
    ),
    sa.Index(
        "ix_chunk_sent",
        "sent_at",
        postgresql_where=sa.text("state = 'ready' AND sent_at IS NOT NULL"),
    ),
    sa.Index("ix_chunk_leased", "lease_until", postgresql_where=sa.text("state = 'leased'")),
    sa.Index(
        "ix_chunk_progress",
        "stage_id",
        "state",
        postgresql_include=["size", "failed", "finished_at"],
    ),
    sa.Index(None, "job_id"),
)

job_error = sa.Table(
    "job_error",
    metadata,
    _id(),
    _reference("job_id"),
    _reference("stage_id", nullable=True),
    sa.Column("record_id", sa.BigInteger),
    sa.Column("row", sa.BigInteger),
    sa.Column("key", sa.Text),
    sa.Column("field", sa.Text),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    _time("created_at", now=True),
    sa.Index(None, "job_id", "id"),
)

# --- results --------------------------------------------------------------------------------------

match = sa.Table(
    "match",
    metadata,
    sa.Column("job_id", sa.BigInteger, sa.ForeignKey("job.id", ondelete="CASCADE")),
    sa.Column("source_id", sa.BigInteger, nullable=False),
    sa.Column("rank", sa.SmallInteger, nullable=False),
    sa.Column("target_id", sa.BigInteger, nullable=False),
    sa.Column("score", sa.REAL, nullable=False, comment="Cosine of the two vectors, -1 to 1"),
    sa.Column("confidence", sa.REAL, comment="Calibrated probability; NULL until there is one"),
    sa.PrimaryKeyConstraint("job_id", "source_id", "rank"),
)

decision = sa.Table(
    "decision",
    metadata,
    _id(),
    _reference("job_id", nullable=True),
    sa.Column("source_id", sa.BigInteger, sa.ForeignKey("record.id"), nullable=False),
    sa.Column("target_id", sa.BigInteger, sa.ForeignKey("record.id"), nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("decided_by", sa.Text, nullable=False),
    _time("decided_at", now=True),
    sa.Column("note", sa.Text),
    _one_of("verdict", "accept", "reject"),
    sa.Index(None, "source_id"),
)

pair = sa.Table(
    "pair",
    metadata,
    _id(),
    sa.Column("pair_set", sa.Text, nullable=False),
    sa.Column("source_text", sa.Text, nullable=False),
    sa.Column("target_text", sa.Text, nullable=False),
    sa.Column("source_id", sa.BigInteger, sa.ForeignKey("record.id")),
    sa.Column("target_id", sa.BigInteger, sa.ForeignKey("record.id")),
    sa.Column("label", sa.REAL, nullable=False, server_default="1"),
    sa.Column("weight", sa.REAL, nullable=False, server_default="1"),
    _time("created_at", now=True),
    sa.UniqueConstraint("pair_set", "source_text", "target_text"),
)
