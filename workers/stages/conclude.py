"""The last stage of a match job that promised something: says what has come of it."""

from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from aparella.db import answers, carried, chunks, jobs
from aparella.db.chunks import Failed
from aparella.db.leases import Claimed
from aparella.workers.context import Context, Outcome, Tick, Write


def plan(connection: sa.Connection, _context: Context, chunk: Claimed) -> int:
    """One chunk: it counts."""
    chunks.add_whole(connection, chunk)
    return 0


def work(_context: Context, chunk: Claimed, _tick: Tick) -> Write:
    """Count what was accepted unseen, and what has moved since the earlier job."""

    def write(connection: sa.Connection) -> Outcome:
        job = jobs.find(connection, chunk.job_id)
        found: dict[str, Any] = {}
        if promised := job.params.get("auto_accept"):
            tally = answers.tally(connection, chunk.job_id, chunk.params["source_id"])
            found["accepted"] = {
                "accepted": tally.accepted,
                "lines": tally.lines,
                "share": round(tally.accepted / max(tally.lines, 1), 4),
                "expected_share": round(promised["share"], 4),
            }
        if since := chunk.params.get("since"):
            moved = carried.moved(connection, since, chunk.job_id, chunk.params["source_id"])
            kept, matched = carried.done(connection, chunk.job_id)
            said = job.summary.get("since", {})
            found["since"] = {**said, "kept": kept, "matched": matched, **asdict(moved)}
        jobs.add_summary(connection, chunk.job_id, found)
        return Outcome(size=chunk.size)

    return write


def bury(_connection: sa.Connection, _chunk: Failed, _code: str, _message: str) -> None:
    """The job fails as a whole; its error says why."""
