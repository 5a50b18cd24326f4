"""A job's errors, row by row and record by record."""

from dataclasses import dataclass

import sqlalchemy as sa

# of_records: one error for each of these records; where a record has one in this job already, that
# one stands: what failed later failed because of it
_OF_RECORDS = sa.text("""
    INSERT INTO job_error (job_id, stage_id, record_id, key, code, message)
    SELECT :job, :stage, r.id, r.key, :code, :message
    FROM record r WHERE r.id = ANY(:records)
      AND NOT EXISTS (SELECT FROM job_error e WHERE e.job_id = :job AND e.record_id = r.id)
    ORDER BY r.id
""")
# of_texts: one error for each record of the collection that bears the text of one of these
_OF_TEXTS = sa.text("""
    INSERT INTO job_error (job_id, stage_id, record_id, key, code, message)
    SELECT :job, :stage, r.id, r.key, :code, :message
    FROM record i JOIN record r ON r.text_hash = i.text_hash AND r.collection_id = i.collection_id
    WHERE i.id = ANY(:records) AND r.removed_at IS NULL
      AND NOT EXISTS (SELECT FROM job_error e WHERE e.job_id = :job AND e.record_id = r.id)
    ORDER BY r.id
""")


@dataclass(frozen=True)
class Fault:
    """One row or record that a job could not do, and why."""

    id: int
    stage: str | None
    code: str
    row: int | None
    key: str | None
    field: str | None
    message: str


def add_for_records(
    connection: sa.Connection,
    records: list[int],
    *,
    job_id: int,
    stage_id: int,
    code: str,
    message: str,
    same_text: bool = False,
) -> None:
    """Add the same error for these records; `same_text`: and for all that bear the same texts."""
    connection.execute(
        _OF_TEXTS if same_text else _OF_RECORDS,
        {"job": job_id, "stage": stage_id, "code": code, "message": message, "records": records},
    )


def add(
    connection: sa.Connection, *, job_id: int, stage_id: int, key: str, code: str, message: str
) -> None:
    """Add one error, about a key."""
    connection.execute(
        sa.text(
            "INSERT INTO job_error (job_id, stage_id, key, code, message) "
            "VALUES (:job, :stage, :key, :code, :message)"
        ),
        {"job": job_id, "stage": stage_id, "key": key, "code": code, "message": message},
    )


def count(connection: sa.Connection, job_id: int) -> int:
    """How many rows or records of the job have an error."""
    return int(
        connection.execute(
            sa.text("SELECT count(*) FROM job_error WHERE job_id = :id"), {"id": job_id}
        ).scalar_one()
    )


def page(
    connection: sa.Connection, job_id: int, *, limit: int, after: int | None = None
) -> list[Fault]:
    """Up to `limit` of the job's errors, in order, after the error of id `after`."""
    rows = connection.execute(
        sa.text(
            "SELECT e.id, s.name AS stage, e.code, e.row, e.key, e.field, e.message "
            "FROM job_error e LEFT JOIN stage s ON s.id = e.stage_id "
            "WHERE e.job_id = :id AND e.id > coalesce(:after, 0) ORDER BY e.id LIMIT :limit"
        ),
        {"id": job_id, "after": after, "limit": limit},
    )
    return [Fault(**row._mapping) for row in rows]
