"""The stage that makes a match job one-to-one: each record of the catalogue for one line at most.

It chooses among the candidates that were found, so that the sum of the chosen ones' confidences,
the expected number of right answers, is the greatest; by vectors alone, the sum of their cosines.
"""

import numpy as np
import sqlalchemy as sa

from aparella.db import assignments, chunks, jobs
from aparella.db.chunks import Failed
from aparella.db.engine import transaction
from aparella.db.leases import Claimed
from aparella.errors import JobError
from aparella.workers.assignment import BYTES, assign
from aparella.workers.context import Context, Outcome, Tick, Write, waiting

_LEAST = 1e-6
"""What a candidate is worth at least: any is better than none."""
_MIB = 1 << 20


def plan(connection: sa.Connection, _context: Context, chunk: Claimed) -> int:
    """One chunk: each line's answer hangs on all others'."""
    chunks.add_whole(connection, chunk)
    return 0


def work(context: Context, chunk: Claimed, tick: Tick) -> Write:
    """Assign, and put the candidates of lines whose first one is another now into that order.

    Raises:
        JobError: the candidates do not fit the memory that a worker may use.
    """
    with waiting(tick):
        with transaction(context.db) as connection:
            needed = assignments.count(connection, chunk.job_id) * BYTES
            if needed > context.settings.match_memory_mb * _MIB:
                raise JobError(
                    f"Assigning all candidates at once would take {needed >> 20:,} MiB, and a "
                    f"worker may use {context.settings.match_memory_mb:,} "
                    "(APARELLA_MATCH_MEMORY_MB). Ask for fewer candidates with -k, or match the "
                    "list in parts."
                )
            found = assignments.read(
                connection, chunk.job_id, fused=bool(chunk.params.get("fused"))
            )
        weights = np.maximum(found["worth"].astype(np.float64), _LEAST)
        chosen = assign(found["source_id"], found["target_id"], weights)
        lines, first = np.unique(found["source_id"], return_index=True)
        target = np.full(len(lines), -1, dtype=np.int64)
        target[np.searchsorted(lines, found["source_id"][chosen])] = found["target_id"][chosen]
        before = np.where(found["rank"][first] == 1, found["target_id"][first], -1)
    other = target != before

    def write(connection: sa.Connection) -> Outcome:
        assignments.reorder(connection, chunk.job_id, lines[other], target[other])
        figures = {
            "lines": len(lines),
            "assigned": int((target >= 0).sum()),
            "not_their_first": int((other & (target >= 0)).sum()),
            "without": int((target < 0).sum()),
            "worth": round(float(found["worth"][chosen].sum()), 3),
        }
        jobs.add_summary(connection, chunk.job_id, {"one_to_one": figures})
        return Outcome(size=chunk.size)

    return write


def bury(_connection: sa.Connection, _chunk: Failed, _code: str, _message: str) -> None:
    """The job fails as a whole; its error says why."""
