"""Texts whose vectors reports have asked for: the table is both the outbox and the cache.

`report.request_embedding` writes a row; the reconciler makes a job of those that wait.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

_WAITING = sa.text("""
    SELECT model_id, array_agg(id ORDER BY id) AS ids
    FROM (SELECT id, model_id FROM text_embedding
          WHERE answered_at IS NULL AND job_id IS NULL
          ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED) waiting
    GROUP BY model_id ORDER BY model_id
""")
_ANSWER = sa.text("""
    UPDATE text_embedding SET embedding = CAST(:vector AS vector), error = :error,
        answered_at = now()
    WHERE id = :id AND answered_at IS NULL
""")
# forgotten: of a job that has ended without an answer; the text can be asked for again
_GIVE_UP = sa.text("""
    UPDATE text_embedding t SET error = 'its job ' || j.state, answered_at = now()
    FROM job j WHERE j.id = t.job_id AND t.answered_at IS NULL
      AND j.state IN ('succeeded', 'succeeded_with_errors', 'failed', 'cancelled')
""")


@dataclass(frozen=True)
class Text:
    """A text that waits for its vector."""

    id: int
    text: str


def waiting(connection: sa.Connection, *, most: int) -> dict[int, list[int]]:
    """Ids of texts that no job has yet, by model; locked, so that no other makes a job of them."""
    rows = connection.execute(_WAITING, {"most": most})
    return {int(row.model_id): [int(i) for i in row.ids] for row in rows}


def assign(connection: sa.Connection, ids: Sequence[int], job_id: int) -> None:
    """Note which job answers."""
    query = sa.text("UPDATE text_embedding SET job_id = :job WHERE id = ANY(:ids)")
    connection.execute(query, {"job": job_id, "ids": list(ids)})


def of_job(connection: sa.Connection, job_id: int) -> list[int]:
    """Ids of a job's texts without an answer."""
    query = "SELECT id FROM text_embedding WHERE job_id = :job AND answered_at IS NULL ORDER BY id"
    return [int(i) for i in connection.execute(sa.text(query), {"job": job_id}).scalars()]


def read(connection: sa.Connection, ids: Sequence[int]) -> list[Text]:
    """These texts, as they were given."""
    query = sa.text(
        "SELECT id, text FROM text_embedding WHERE id = ANY(:ids) AND answered_at IS NULL "
        "ORDER BY id"
    )
    return [Text(row.id, row.text) for row in connection.execute(query, {"ids": list(ids)})]


def answer(
    connection: sa.Connection, ids: Sequence[int], vectors: NDArray[np.float32] | None, error: str
) -> None:
    """Store the vectors, of the same length as the ids; None: the error says why there is none."""
    rows = [
        {
            "id": text_id,
            "vector": None if vectors is None else str(vectors[row].tolist()),
            "error": error if vectors is None else None,
        }
        for row, text_id in enumerate(ids)
    ]
    if rows:
        connection.execute(_ANSWER, rows)


def give_up(connection: sa.Connection) -> None:
    """Let those not wait in vain whose job has ended."""
    connection.execute(_GIVE_UP)
