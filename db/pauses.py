"""Jobs and queues that rest: nothing of theirs is taken up, and what is in hand finishes."""

import sqlalchemy as sa

from aparella.db import chunks, jobs
from aparella.errors import ConflictError

_PAUSE_JOB = sa.text("""
    UPDATE job SET paused_at = coalesce(paused_at, now())
    WHERE id = :id AND state IN ('queued', 'running') RETURNING id
""")
_RESUME_JOB = sa.text("""
    UPDATE job SET paused_at = NULL
    WHERE id = :id AND state IN ('queued', 'running') AND paused_at IS NOT NULL RETURNING id
""")
# forget: the messages that went out before the pause may have been dropped by workers since; a
# chunk without one is sent another, and a message too many does no harm
_FORGET_OF_JOB = sa.text("""
    UPDATE chunk SET sent_at = NULL WHERE job_id = :id AND state = 'ready' AND sent_at IS NOT NULL
""")
_FORGET_OF_QUEUE = sa.text("""
    UPDATE chunk c SET sent_at = NULL FROM stage s
    WHERE s.id = c.stage_id AND s.state = 'running' AND s.queue = :name
      AND c.state = 'ready' AND c.sent_at IS NOT NULL
""")


def pause_job(connection: sa.Connection, job_id: int) -> None:
    """Let a job rest; a job that rests already goes on resting.

    Raises:
        NotFoundError: no such job.
        ConflictError: it has ended, or is being cancelled.
    """
    if connection.execute(_PAUSE_JOB, {"id": job_id}).scalar() is None:
        state = jobs.find(connection, job_id).state
        raise ConflictError(f"Job {job_id} is {state}: only one that goes on can be paused.")


def resume_job(connection: sa.Connection, job_id: int) -> None:
    """Let a job that rests go on.

    Raises:
        NotFoundError: no such job.
        ConflictError: it does not rest.
    """
    if connection.execute(_RESUME_JOB, {"id": job_id}).scalar() is None:
        state = jobs.find(connection, job_id).state
        raise ConflictError(f"Job {job_id} is {state}, and not paused.")
    connection.execute(_FORGET_OF_JOB, {"id": job_id})
    chunks.notify(connection)


def pause_queue(connection: sa.Connection, name: str) -> None:
    """Let a queue rest: its chunks stay where they are, whoever's they are."""
    connection.execute(
        sa.text("INSERT INTO paused_queue (name) VALUES (:name) ON CONFLICT DO NOTHING"),
        {"name": name},
    )


def resume_queue(connection: sa.Connection, name: str) -> None:
    """Let a queue go on.

    Raises:
        ConflictError: it does not rest.
    """
    query = sa.text("DELETE FROM paused_queue WHERE name = :name RETURNING name")
    if connection.execute(query, {"name": name}).scalar() is None:
        raise ConflictError(f"The queue {name} is not paused.")
    connection.execute(_FORGET_OF_QUEUE, {"name": name})
    chunks.notify(connection)
