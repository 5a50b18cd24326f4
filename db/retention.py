"""How long jobs that have ended are kept, with their chunks, errors and matches.

A job stays, however old it is, whose matches are the latest of any of its source records, about
whose candidates somebody has decided, or that a model's figures come from.
"""

from dataclasses import dataclass

import sqlalchemy as sa

ROWS = 20_000
"""Rows that one call removes of a job: a big job goes in several calls, each of them short."""
# candidates: the oldest first. A match job is superseded where each of its source records that is
# still there has matches of a later one, of the same model with the same catalogue.
_OLD = sa.text("""
    SELECT j.id FROM job j
    WHERE j.state IN ('succeeded', 'succeeded_with_errors', 'failed', 'cancelled')
      AND j.finished_at < now() - make_interval(days => :days)
      AND NOT EXISTS (SELECT FROM evaluation e WHERE e.job_id = j.id)
      AND NOT (j.kind = 'match' AND EXISTS (SELECT FROM decision d WHERE d.job_id = j.id))
      AND NOT (j.kind = 'match' AND j.state IN ('succeeded', 'succeeded_with_errors') AND EXISTS (
            SELECT FROM stage s, match m JOIN record r ON r.id = m.source_id
            WHERE s.job_id = j.id AND s.handler = 'match'
              AND m.job_id = j.id AND m.rank = 1 AND r.removed_at IS NULL
              AND NOT EXISTS (
                SELECT FROM job n JOIN stage t ON t.job_id = n.id AND t.handler = 'match'
                JOIN match x ON x.job_id = n.id AND x.source_id = m.source_id AND x.rank = 1
                WHERE n.id > j.id AND n.kind = 'match' AND n.model_id = j.model_id
                  AND n.state IN ('succeeded', 'succeeded_with_errors')
                  AND t.params -> 'source_id' = s.params -> 'source_id'
                  AND t.params -> 'collection_id' = s.params -> 'collection_id')))
    ORDER BY j.id LIMIT :jobs
""")
# The job's row goes last: until then the job is there, with less and less of it.
_PARTS = ("match", "answer", "job_error", "chunk")
_REMOVE = """
    DELETE FROM {table} WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM {table} WHERE job_id = :job LIMIT :rows))
"""
_REMOVE_JOB = sa.text("DELETE FROM job WHERE id = :job")


@dataclass(frozen=True)
class Pruned:
    """Ids of the jobs that are gone, and whether there is more to remove."""

    gone: list[int]
    more: bool


def prune(connection: sa.Connection, *, days: int, jobs: int = 100, rows: int = ROWS) -> Pruned:
    """Remove jobs that ended more than so many days ago, as many as is done in a moment.

    Args:
        connection: inside a transaction.
        days: 0 keeps all.
        jobs: at most so many at a time.
        rows: at most so many of a job are removed from each table at a time.
    """
    if not days:
        return Pruned([], more=False)
    old = connection.execute(_OLD, {"days": days, "jobs": jobs}).scalars().all()
    gone: list[int] = []
    total = 0
    for job in old:
        removed = []
        for table in _PARTS:
            query = sa.text(_REMOVE.format(table=table))
            removed.append(connection.execute(query, {"job": job, "rows": rows}).rowcount)
        if max(removed) == rows:
            return Pruned(gone, more=True)
        connection.execute(_REMOVE_JOB, {"job": job})
        gone.append(job)
        total += sum(removed)
        if total >= rows:
            return Pruned(gone, more=True)
    return Pruned(gone, more=len(old) == jobs)
