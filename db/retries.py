"""Another try for a job that has ended: what failed in it, not what is done."""

import sqlalchemy as sa

from aparella.db import chunks, jobs, stages
from aparella.errors import ConflictError

# retry: dead chunks and failed items of finished ones get another try; the stages from the first
# one with such run again, and each plans only what is missing. A chunk that is still in some
# worker's hands is taken away: its row is gone, so nothing of it lands.
_RETRY_FROM = sa.text("""
    SELECT min(s.position) FROM stage s
    WHERE s.job_id = :id AND (s.state IN ('failed', 'cancelled') OR EXISTS (
        SELECT FROM chunk c WHERE c.stage_id = s.id
          AND (c.state = 'dead' OR c.state = 'done' AND c.failed > 0)))
""")
# applied: an import that was applied, or refused as a whole, has no rows left: the file must come
# again
_APPLIED = sa.text("""
    SELECT EXISTS (SELECT FROM chunk c JOIN stage s ON s.id = c.stage_id
                   WHERE s.job_id = :id AND s.handler IN ('apply', 'pairs', 'decisions')
                     AND c.kind = 'work' AND c.state = 'done')
""")
_RETRY_JOB = sa.text("""
    UPDATE job SET state = 'running', error = NULL, finished_at = NULL, paused_at = NULL
    WHERE id = :id
""")
_RETRY_STAGES = sa.text("""
    UPDATE stage SET state = 'waiting', started_at = NULL, finished_at = NULL
    WHERE job_id = :id AND position >= :position
""")
_RETRY_DROP_CHUNKS = sa.text("""
    DELETE FROM chunk c USING stage s
    WHERE s.id = c.stage_id AND s.job_id = :id AND s.position >= :position
      AND (c.kind = 'plan' OR c.state <> 'done')
""")
_RETRY_COUNTS = sa.text("""
    UPDATE chunk c SET size = c.size - c.failed, failed = 0 FROM stage s
    WHERE s.id = c.stage_id AND s.job_id = :id AND c.failed > 0
""")
_RETRY_ERRORS = sa.text("""
    DELETE FROM job_error e USING stage s
    WHERE s.id = e.stage_id AND e.job_id = :id AND s.position >= :position
""")
# model: held until the end of the transaction, so that it is not deleted meanwhile
_MODEL = sa.text("""
    SELECT m.name, m.version, m.status FROM model m JOIN job j ON j.model_id = m.id
    WHERE j.id = :id FOR SHARE OF m
""")


def begin(connection: sa.Connection, job_id: int) -> None:
    """Go on with a failed or cancelled job, or try again what died in it; what is done stays done.

    Raises:
        NotFoundError: no such job.
        ConflictError: the job still runs, has nothing to retry, or its model was deleted.
    """
    jobs.find(connection, job_id)
    values = {"id": job_id}
    lock = sa.text("SELECT state FROM job WHERE id = :id FOR NO KEY UPDATE")
    state = connection.execute(lock, values).scalar_one()
    if state in jobs.OPEN:
        raise ConflictError(f"Job {job_id} is {state}: it can be retried once it has ended.")
    if (model := connection.execute(_MODEL, values).one_or_none()) and model.status == "deleted":
        raise ConflictError(
            f"Job {job_id} cannot be retried: its model {model.name}@{model.version} was deleted. "
            "Enqueue it anew."
        )
    position = connection.execute(_RETRY_FROM, values).scalar()
    applied = connection.execute(_APPLIED, values).scalar_one()
    if state == "succeeded" or applied or position is None:
        raise ConflictError(
            f"Job {job_id} {state} and has nothing that could be tried again. Rows refused at "
            "import stay refused: mend the file and import it again."
        )
    where = {"id": job_id, "position": position}
    connection.execute(_RETRY_JOB, where)
    for query in (_RETRY_ERRORS, _RETRY_DROP_CHUNKS, _RETRY_COUNTS, _RETRY_STAGES):
        connection.execute(query, where)
    stages.start_next(connection, job_id)
    chunks.notify(connection)
