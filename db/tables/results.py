"""What matching found, and what people decided about it."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB

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
    sa.Column(
        "contradicted",
        sa.Boolean,
        comment="Whether a measure of the first candidate contradicts the line",
    ),
    sa.Column(
        "floors",
        ARRAY(sa.REAL),
        comment="Scores that a new record must reach to be a candidate; NULL: not noted",
    ),
    sa.PrimaryKeyConstraint("job_id", "source_id"),
)

decision = sa.Table(
    "decision",
    metadata,
    identity(),
    # A decision is about records: it outlives the job that was looked at.
    sa.Column("job_id", sa.BigInteger, sa.ForeignKey("job.id", ondelete="SET NULL")),
    sa.Column("source_id", sa.BigInteger, sa.ForeignKey("record.id"), nullable=False),
    sa.Column(
        "target_id",
        sa.BigInteger,
        sa.ForeignKey("record.id"),
        comment="NULL: none of the catalogue",
    ),
    reference("catalogue_id", "collection", cascade=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column(
        "undoes_id",
        sa.BigInteger,
        sa.ForeignKey("decision.id"),
        unique=True,
        comment="The decision that this one takes back",
    ),
    sa.Column("source_hash", BYTEA, nullable=False, comment="Of the text that was decided about"),
    sa.Column("target_hash", BYTEA),
    sa.Column("decided_by", sa.Text, nullable=False),
    time("decided_at", now=True),
    sa.Column("note", sa.Text),
    one_of("verdict", "accept", "reject", "none", "undo"),
    sa.CheckConstraint("(undoes_id IS NOT NULL) = (verdict = 'undo')", name="undoes"),
    sa.CheckConstraint(
        "(target_id IS NULL) = (target_hash IS NULL) AND (verdict = 'undo' "
        "OR (target_id IS NULL) = (verdict = 'none'))",
        name="target",
    ),
    # None that begins with the catalogue: the two together would be read in full, for each line.
    sa.Index(None, "source_id", "catalogue_id"),
)

review = sa.Table(
    "review",
    metadata,
    sa.Column(
        "job_id", sa.BigInteger, sa.ForeignKey("job.id", ondelete="CASCADE"), primary_key=True
    ),
    time("built_at"),
)

review_line = sa.Table(
    "review_line",
    metadata,
    sa.Column("job_id", sa.BigInteger, sa.ForeignKey("review.job_id", ondelete="CASCADE")),
    sa.Column("source_id", sa.BigInteger, nullable=False),
    sa.Column("place", sa.BigInteger, nullable=False, comment="Uncertain lines first, mixed"),
    sa.Column("skips", sa.Integer, nullable=False, server_default="0"),
    sa.Column("leased_by", sa.Text),
    time("lease_until"),
    sa.PrimaryKeyConstraint("job_id", "source_id"),
    sa.Index(None, "job_id", "skips", "place"),
)
