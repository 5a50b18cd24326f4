"""Workers tell that they are there and what they count; jobs and queues can rest.

Revision 0005, after 0004.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("job", sa.Column("paused_at", sa.TIMESTAMP(timezone=True)))
    op.create_table(
        "worker",
        sa.Column(
            "id",
            postgresql.UUID(),
            nullable=False,
            comment="Chosen by the process when it starts",
        ),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False, comment="NAME@HOST"),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("queues", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("processes", sa.Integer(), nullable=False, comment="That do chunks"),
        sa.Column("threads", sa.Integer(), nullable=False, comment="Of each"),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("draining", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column(
            "beat_seconds",
            sa.Float(),
            nullable=False,
            comment="From one sign of life to the next",
        ),
        sa.Column(
            "skew_seconds", sa.Float(), nullable=False, comment="Its clock minus the database's"
        ),
        sa.Column(
            "memory_bytes",
            sa.BigInteger(),
            nullable=False,
            comment="Its own, not its processes'",
        ),
        sa.Column("disk_free_bytes", sa.BigInteger(), comment="Where it keeps copies of artifacts"),
        _now("started_at"),
        _now("seen_at"),
        sa.Column("stopped_at", sa.TIMESTAMP(timezone=True)),
        sa.CheckConstraint("kind IN ('worker', 'reconciler')", name=op.f("ck_worker_kind")),
        sa.PrimaryKeyConstraint("id", name="pk_worker"),
    )
    op.create_table(
        "worker_process",
        sa.Column("worker_id", postgresql.UUID(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        _document("figures"),
        _document("rates"),
        _now("started_at"),
        _now("seen_at"),
        sa.PrimaryKeyConstraint("worker_id", "pid", name="pk_worker_process"),
    )
    op.create_table(
        "paused_queue",
        sa.Column("name", sa.Text(), nullable=False),
        _now("paused_at"),
        sa.PrimaryKeyConstraint("name", name="pk_paused_queue"),
    )


def downgrade() -> None:
    for table in ("paused_queue", "worker_process", "worker"):
        op.drop_table(table)
    op.drop_column("job", "paused_at")


def _now(name: str) -> sa.Column[object]:
    return sa.Column(
        name, sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
    )


def _document(name: str) -> sa.Column[object]:
    return sa.Column(
        name, postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False
    )
