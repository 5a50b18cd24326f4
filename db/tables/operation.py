"""What operators look at and act on: the processes that are there, and the queues that rest."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from aparella.db.tables.base import json, metadata, one_of, time

worker = sa.Table(
    "worker",
    metadata,
    sa.Column("id", UUID, primary_key=True, comment="Chosen by the process when it starts"),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False, comment="NAME@HOST"),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("queues", ARRAY(sa.Text), nullable=False),
    sa.Column("processes", sa.Integer, nullable=False, comment="That do chunks"),
    sa.Column("threads", sa.Integer, nullable=False, comment="Of each"),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("draining", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column(
        "beat_seconds", sa.Float, nullable=False, comment="From one sign of life to the next"
    ),
    sa.Column("skew_seconds", sa.Float, nullable=False, comment="Its clock minus the database's"),
    sa.Column("memory_bytes", sa.BigInteger, nullable=False, comment="Its own, not its processes'"),
    sa.Column("disk_free_bytes", sa.BigInteger, comment="Where it keeps copies of artifacts"),
    time("started_at", now=True),
    time("seen_at", now=True),
    time("stopped_at"),
    one_of("kind", "worker", "reconciler"),
)

worker_process = sa.Table(
    "worker_process",
    metadata,
    # All zeros: what the processes that are gone have counted, added up.
    sa.Column("worker_id", UUID, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("memory_bytes", sa.BigInteger, nullable=False),
    json("figures"),
    json("rates"),
    time("started_at", now=True),
    time("seen_at", now=True),
    sa.PrimaryKeyConstraint("worker_id", "pid"),
)

paused_queue = sa.Table(
    "paused_queue",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    time("paused_at", now=True),
)
