"""Matches: for each source record of a job its ranked candidates."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from aparella.db import copy

_FIELDS: dict[str, np.dtype[Any]] = {
    "job_id": copy.INT8,
    "source_id": copy.INT8,
    "rank": copy.INT2,
    "target_id": copy.INT8,
    "score": copy.FLOAT4,
}
_SURE_FIELDS = {**_FIELDS, "confidence": copy.FLOAT4}
_PLAN = sa.text("""
    INSERT INTO chunk (job_id, stage_id, items, size)
    SELECT :job, :stage, array_agg(id ORDER BY id), count(*)
    FROM (SELECT r.id, row_number() OVER (ORDER BY r.id) - 1 AS place FROM record r
          WHERE r.collection_id = :collection AND r.removed_at IS NULL
            AND NOT EXISTS (SELECT FROM match m WHERE m.job_id = :job AND m.source_id = r.id)
         ) numbered
    GROUP BY place / :size
""")
# page: the source records of a job, those without any candidate too, in the order of their ids
_ROWS = """
    SELECT s.id AS source_id, s.key AS source_key, s.text AS source_text, m.rank,
           t.key AS target_key, t.text AS target_text, m.score, m.confidence,
           CASE WHEN m.rank = 1 THEN a.accepted END AS accepted,
           CASE WHEN m.rank = 1 THEN a.evidence END AS evidence
    FROM {sources} s
    LEFT JOIN match m ON m.job_id = :job AND m.source_id = s.id
    LEFT JOIN record t ON t.id = m.target_id
    LEFT JOIN answer a ON a.job_id = :job AND a.source_id = s.id
    ORDER BY s.id, m.rank
"""
_SOURCES = """
    SELECT r.id, r.key, r.text FROM record r
    WHERE r.collection_id = :collection AND r.id > :after
      AND (r.removed_at IS NULL AND r.created_at <= :until
           OR EXISTS (SELECT FROM match m WHERE m.job_id = :job AND m.source_id = r.id))
    ORDER BY r.id
"""


@dataclass(frozen=True)
class Match:
    """One candidate of a source record; rank None: the record has no candidate at all.

    `accepted` (unseen) and `evidence` are of first candidates whose evidence was weighed.
    """

    source_id: int
    source_key: str
    source_text: str
    rank: int | None
    target_key: str | None
    target_text: str | None
    score: float | None
    confidence: float | None
    accepted: bool | None = None
    evidence: dict[str, Any] | None = None


def plan(
    connection: sa.Connection, collection_id: int, *, job_id: int, stage_id: int, size: int
) -> None:
    """Insert chunks of up to `size` source records that have no match in this job yet."""
    values = {"collection": collection_id, "job": job_id, "stage": stage_id, "size": size}
    connection.execute(_PLAN, values)


def store(
    connection: sa.Connection,
    job_id: int,
    source_ids: NDArray[np.int64],
    ranks: NDArray[np.int16],
    target_ids: NDArray[np.int64],
    scores: NDArray[np.float32],
    confidences: NDArray[np.float32] | None = None,
) -> None:
    """COPY matches in: arrays of the same length n, one entry a candidate.

    `confidences` are NaN where there is none.
    """
    columns: dict[str, copy.Array | int]
    if confidences is not None:
        sure = ~np.isnan(confidences)
        columns = {
            "job_id": job_id,
            "source_id": source_ids[sure],
            "rank": ranks[sure],
            "target_id": target_ids[sure],
            "score": scores[sure],
            "confidence": confidences[sure],
        }
        copy.write(connection, "match", _SURE_FIELDS, columns, int(sure.sum()))
        source_ids, ranks = source_ids[~sure], ranks[~sure]
        target_ids, scores = target_ids[~sure], scores[~sure]
    columns = {
        "job_id": job_id,
        "source_id": source_ids,
        "rank": ranks,
        "target_id": target_ids,
        "score": scores,
    }
    copy.write(connection, "match", _FIELDS, columns, len(source_ids))


def page(
    connection: sa.Connection,
    job_id: int,
    collection_id: int,
    *,
    until: object,
    after: int,
    limit: int,
) -> list[Match]:
    """The candidates of up to `limit` source records whose id is over `after`, in order.

    Args:
        connection: any.
        job_id: the match job.
        collection_id: its source collection.
        until: the job's end (or now): records imported later are not part of it.
        after: keyset cursor, a source record's id; 0 at first.
        limit: source records, not rows.
    """
    query = sa.text(_ROWS.format(sources=f"({_SOURCES} LIMIT :limit)"))
    values = {
        "job": job_id,
        "collection": collection_id,
        "until": until,
        "after": after,
        "limit": limit,
    }
    return [Match(**row._mapping) for row in connection.execute(query, values)]


def stream(
    engine: sa.Engine, job_id: int, collection_id: int, *, until: object, block: int = 1_000
) -> Iterator[Match]:
    """All matches of a job in order, holding one block at a time.

    Keyset pages instead of one long cursor: no transaction stays open while a slow client reads.
    """
    after = 0
    while True:
        with engine.connect() as connection:
            rows = page(connection, job_id, collection_id, until=until, after=after, limit=block)
        yield from rows
        if not rows:
            return
        after = rows[-1].source_id
