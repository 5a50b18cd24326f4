"""Jobs, their stages, their chunks, and what went wrong in them."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB

from aparella.db.tables.base import identity, json, metadata, one_of, reference, time

job = sa.Table(
    "job",
    metadata,
    identity(),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default="queued"),
    json("params"),
    reference("model_id", nullable=True),
    sa.Column("idempotency_key", sa.Text, unique=True),
    sa.Column("request_hash", BYTEA),
    json("summary"),
    sa.Column("error", sa.Text),
    time("created_at", now=True),
    time("started_at"),
    time("finished_at"),
    time("paused_at"),
    sa.Column("traceparent", sa.Text, comment="The request's span, which its chunks continue"),
    one_of(
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
    identity(),
    reference("job_id"),
    sa.Column("position", sa.SmallInteger, nullable=False),
    sa.Column("name", sa.Text, nullable=False, comment="What the user sees"),
    sa.Column("handler", sa.Text, nullable=False, comment="Module of workers/stages/"),
    sa.Column("queue", sa.Text, nullable=False),
    json("params"),
    sa.Column("state", sa.Text, nullable=False, server_default="waiting"),
    sa.Column("skipped", sa.BigInteger, nullable=False, server_default="0"),
    time("started_at"),
    time("finished_at"),
    sa.UniqueConstraint("job_id", "position"),
    one_of("state", "waiting", "running", "done", "failed", "cancelled", "skipped"),
    sa.Index("ix_stage_running", "id", postgresql_where=sa.text("state = 'running'")),
)

chunk = sa.Table(
    "chunk",
    metadata,
    identity(),
    reference("job_id"),
    reference("stage_id"),
    sa.Column("parent_id", sa.BigInteger, comment="The chunk that was bisected into this one"),
    sa.Column("kind", sa.Text, nullable=False, server_default="work"),
    sa.Column("state", sa.Text, nullable=False, server_default="ready"),
    sa.Column("items", ARRAY(sa.BigInteger), nullable=False, comment="Record ids or row numbers"),
    sa.Column("size", sa.Integer, nullable=False, comment="Items counted in the progress"),
    sa.Column("failed", sa.Integer, nullable=False, server_default="0"),
    sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
    sa.Column(
        "lost",
        sa.Integer,
        nullable=False,
        server_default="0",
        comment="Attempts that ended with the worker gone",
    ),
    sa.Column("lease_token", sa.BigInteger, nullable=False, server_default="0"),
    time("lease_until"),
    time("progress_at"),
    # Of a chunk that is a stage's one long piece of work; others count when they are done.
    sa.Column("progress_done", sa.Integer, nullable=False, server_default="0"),
    sa.Column("detail", JSONB, comment="What its work says about itself meanwhile"),
    sa.Column("leased_by", sa.Text),
    time("available_at", now=True),
    time("sent_at"),
    sa.Column("code", sa.Text),
    sa.Column("error", sa.Text),
    time("started_at"),
    time("finished_at"),
    one_of("kind", "plan", "work"),
    one_of("state", "ready", "leased", "done", "split", "dead", "cancelled"),
    # Claims and dispatch stay flat in the number of finished chunks: these hold open ones only.
    sa.Index(
        "ix_chunk_unsent",
        "stage_id",
        sa.text("(parent_id IS NULL)"),
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
    identity(),
    reference("job_id"),
    reference("stage_id", nullable=True),
    sa.Column("record_id", sa.BigInteger),
    sa.Column("row", sa.BigInteger),
    sa.Column("key", sa.Text),
    sa.Column("field", sa.Text),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    time("created_at", now=True),
    sa.Index(None, "job_id", "id"),
)
