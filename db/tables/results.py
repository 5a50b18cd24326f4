"""What matching found, and what people decided about it."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from aparella.db.tables.base import identity, metadata, one_of, reference, time

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

answer = sa.Table(
    "answer",
    metadata,
    sa.Column("job_id", sa.BigInteger, sa.ForeignKey("job.id", ondelete="CASCADE")),
    sa.Column("source_id", sa.BigInteger, nullable=False),
    sa.Column("evidence", JSONB, nullable=False, comment="Why the first candidate is the first"),
    sa.Column("accepted", sa.Boolean, nullable=False, comment="Accepted unseen"),
    sa.PrimaryKeyConstraint("job_id", "source_id"),
)

decision = sa.Table(
    "decision",
    metadata,
    identity(),
    reference("job_id", nullable=True),
    sa.Column("source_id", sa.BigInteger, sa.ForeignKey("record.id"), nullable=False),
    sa.Column("target_id", sa.BigInteger, sa.ForeignKey("record.id"), nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("decided_by", sa.Text, nullable=False),
    time("decided_at", now=True),
    sa.Column("note", sa.Text),
    one_of("verdict", "accept", "reject"),
    sa.Index(None, "source_id"),
)
