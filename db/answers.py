"""What a match job says about its first candidates: why, and whether they are accepted unseen."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

_STORE = sa.text("""
    INSERT INTO answer (job_id, source_id, evidence, accepted, contradicted, floors)
    SELECT :job, source, evidence, accepted, contradicted, CAST(floors AS real[])
    FROM unnest(CAST(:sources AS bigint[]), CAST(:evidence AS jsonb[]),
                CAST(:accepted AS boolean[]), CAST(:contradicted AS boolean[]),
                CAST(:floors AS text[]))  -- an array of arrays would be unnested whole
         AS new (source, evidence, accepted, contradicted, floors)
""")


def store(
    connection: sa.Connection,
    job_id: int,
    source_ids: NDArray[np.int64],
    evidence: Sequence[Mapping[str, Any] | None],
    accepted: Sequence[bool],
    contradicted: Sequence[bool],
    floors: NDArray[np.float32],
) -> None:
    """Note the first candidates of source records, (n,) each; without evidence there is none.

    And what a record's scores must reach to be a candidate, (n, kinds of score).
    """
    kept = [place for place, one in enumerate(evidence) if one is not None]
    values = {
        "job": job_id,
        "sources": [int(source_ids[place]) for place in kept],
        "evidence": [json.dumps(evidence[place], ensure_ascii=False) for place in kept],
        "accepted": [bool(accepted[place]) for place in kept],
        "contradicted": [bool(contradicted[place]) for place in kept],
        "floors": [f"{{{','.join(map(str, row))}}}" for row in floors[kept].tolist()],
    }
    connection.execute(_STORE, values)


@dataclass(frozen=True)
class Tally:
    """Lines of a job's list, and how many of its answers were accepted unseen."""

    lines: int
    accepted: int


def tally(connection: sa.Connection, job_id: int, source_id: int) -> Tally:
    """Count a job's answers."""
    query = sa.text("""
        SELECT (SELECT count(*) FROM record
                WHERE collection_id = :source AND removed_at IS NULL) AS lines,
               (SELECT count(*) FROM answer WHERE job_id = :job AND accepted) AS accepted
    """)
    values = {"job": job_id, "source": source_id}
    return Tally(**connection.execute(query, values).one()._mapping)
