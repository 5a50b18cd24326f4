"""The candidates of a whole match job, read for their assignment, and put into its order."""

from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from aparella.db import copy

_FIELDS: dict[str, np.dtype[Any]] = {
    "source_id": copy.INT8,
    "rank": copy.INT2,
    "target_id": copy.INT8,
    "worth": copy.FLOAT4,
}
_COUNT = sa.text("SELECT count(*) FROM match WHERE job_id = :job")
# reorder: the assigned candidate comes first, the others follow by their worth; where none is
# assigned, the first place stays empty
_REORDER = sa.text("""
    WITH wanted AS (
        SELECT * FROM unnest(CAST(:sources AS bigint[]), CAST(:targets AS bigint[]))
             AS w(source_id, target_id)
    ), old AS (
        DELETE FROM match m USING wanted w
        WHERE m.job_id = :job AND m.source_id = w.source_id RETURNING m.*
    )
    SELECT o.source_id, o.target_id, o.score, o.confidence,
           row_number() OVER (PARTITION BY o.source_id ORDER BY o.target_id = w.target_id DESC,
               o.confidence DESC NULLS LAST, o.rank)
             + CASE WHEN w.target_id < 0 THEN 1 ELSE 0 END AS rank
    FROM old o JOIN wanted w USING (source_id) ORDER BY o.source_id, rank
""")
_INSERT = sa.text("""
    INSERT INTO match (job_id, source_id, rank, target_id, score, confidence)
    SELECT :job, * FROM unnest(CAST(:sources AS bigint[]), CAST(:ranks AS smallint[]),
        CAST(:targets AS bigint[]), CAST(:scores AS real[]), CAST(:confidences AS real[]))
""")
_SAY = sa.text("""
    UPDATE answer a SET accepted = false, contradicted = NULL,
           evidence = CAST('{"agree": [], "contradict": [], "moved": [["one_to_one", 1.0]]}'
                           AS jsonb)
    WHERE a.job_id = :job AND a.source_id = ANY(:sources)
""")
_BLOCK = 2_000
"""Lines that are put into order at a time."""


def count(connection: sa.Connection, job_id: int) -> int:
    """Candidates of a job."""
    return int(connection.execute(_COUNT, {"job": job_id}).scalar_one())


def read(connection: sa.Connection, job_id: int, *, fused: bool) -> NDArray[Any]:
    """A job's candidates: a structured array of source_id, rank, target_id, worth.

    `worth` is the confidence, 0 where the evidence was not weighed; without `fused`, the cosine.
    """
    worth = "coalesce(confidence, 0)" if fused else "score"
    query = (
        f"SELECT source_id, rank, target_id, {worth} AS worth FROM match "
        f"WHERE job_id = {int(job_id)} ORDER BY source_id, rank"
    )
    parts: list[NDArray[Any]] = []

    def take(block: NDArray[Any]) -> None:
        part = np.empty(
            len(block), dtype=[(name, kind.newbyteorder("=")) for name, kind in _FIELDS.items()]
        )
        for name in _FIELDS:
            part[name] = block[name]
        parts.append(part)

    copy.read(connection, query, _FIELDS, take)
    return np.concatenate(parts) if parts else np.empty(0, dtype=list(_FIELDS.items()))


def reorder(
    connection: sa.Connection, job_id: int, chosen: NDArray[np.int64], target: NDArray[np.int64]
) -> None:
    """Put lines' candidates into the order of their assignment.

    Args:
        connection: inside a transaction.
        job_id: of the job.
        chosen: lines whose first candidate is to be another one, (n,).
        target: that one, -1: none, (n,).
    """
    for start in range(0, len(chosen), _BLOCK):
        part = slice(start, start + _BLOCK)
        values = {
            "job": job_id,
            "sources": chosen[part].tolist(),
            "targets": target[part].tolist(),
        }
        rows = connection.execute(_REORDER, values).all()
        connection.execute(
            _INSERT,
            {
                "job": job_id,
                "sources": [row.source_id for row in rows],
                "ranks": [row.rank for row in rows],
                "targets": [row.target_id for row in rows],
                "scores": [row.score for row in rows],
                "confidences": [row.confidence for row in rows],
            },
        )
        connection.execute(_SAY, values)
