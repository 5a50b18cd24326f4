"""What a match job says about its first candidates: why, and whether they are accepted unseen."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

_STORE = sa.text("""
    INSERT INTO answer (job_id, source_id, evidence, accepted)
    SELECT :job, * FROM unnest(CAST(:sources AS bigint[]), CAST(:evidence AS jsonb[]),
                               CAST(:accepted AS boolean[]))
""")


def store(
    connection: sa.Connection,
    job_id: int,
    source_ids: NDArray[np.int64],
    evidence: Sequence[Mapping[str, Any] | None],
    accepted: Sequence[bool],
) -> None:
    """Note the first candidates of source records, (n,) each; without evidence there is none."""
    kept = [place for place, one in enumerate(evidence) if one is not None]
    values = {
        "job": job_id,
        "sources": [int(source_ids[place]) for place in kept],
        "evidence": [json.dumps(evidence[place], ensure_ascii=False) for place in kept],
        "accepted": [bool(accepted[place]) for place in kept],
    }
    connection.execute(_STORE, values)
