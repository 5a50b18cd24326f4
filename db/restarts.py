"""A match job that begins anew, because an import changed what it was looking at."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from aparella.db import chunks, stages

MOST = 5
"""Restarts of a job before it is given up."""

_LOCK = sa.text("""
    SELECT coalesce((summary ->> 'restarts')::int, 0) FROM job
    WHERE id = :job AND state IN ('queued', 'running') FOR NO KEY UPDATE
""")
# forget: answers to lines whose text is not the one that was matched; all, if the catalogue changed
_FORGET = """
    DELETE FROM {table} m USING record s
    WHERE m.job_id = :job AND s.id = m.source_id
      AND (:all OR s.changed_edition > :edition)
"""
_BEGIN = (
    # A chunk that is still in some worker's hands is taken away: nothing of it lands.
    "DELETE FROM chunk WHERE job_id = :job",
    "DELETE FROM job_error WHERE job_id = :job",
    """UPDATE stage SET state = 'waiting', started_at = NULL, finished_at = NULL, skipped = 0
       WHERE job_id = :job""",
)


def restart(
    connection: sa.Connection, job_id: int, *, source_edition: int, everything: bool
) -> str | None:
    """Let a job's stages run again from the first one, keeping answers that still hold.

    Args:
        connection: the commit's transaction.
        job_id: of the job.
        source_edition: of the lines that its answers are about; those of lines that changed later
            are forgotten.
        everything: forget all answers.

    Returns:
        Why the job must end instead, if it has begun anew too often; None otherwise.
    """
    values = {"job": job_id, "edition": source_edition, "all": everything}
    restarts = connection.execute(_LOCK, values).scalar()
    if restarts is None:
        return None  # it has ended, or is about to
    if restarts >= MOST:
        return (
            f"Imports changed what it matches {MOST + 1} times while it ran. "
            "Match again when they have ended."
        )
    forget(connection, job_id, source_edition=source_edition, everything=everything)
    for statement in _BEGIN:
        connection.execute(sa.text(statement), values)
    summary = sa.text("UPDATE job SET summary = :summary WHERE id = :job").bindparams(
        sa.bindparam("summary", type_=JSONB)
    )
    connection.execute(summary, {"job": job_id, "summary": {"restarts": restarts + 1}})
    stages.start_next(connection, job_id)
    chunks.notify(connection)
    return None


def forget(
    connection: sa.Connection, job_id: int, *, source_edition: int, everything: bool
) -> None:
    """Delete a job's answers to lines that changed after that edition; or all."""
    values = {"job": job_id, "edition": source_edition, "all": everything}
    for table in ("match", "answer"):
        connection.execute(sa.text(_FORGET.format(table=table)), values)
