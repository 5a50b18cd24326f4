"""The stage that adds the decisions of a file: one transaction, all or nothing."""

from dataclasses import asdict

import sqlalchemy as sa

from aparella.db import chunks, decision_imports, decisions, imports, jobs, pair_imports
from aparella.db.chunks import Failed
from aparella.db.leases import Claimed
from aparella.workers.context import Context, Outcome, Tick, Write


def plan(connection: sa.Connection, _context: Context, chunk: Claimed) -> int:
    """One chunk: of two decisions of a file none must be seen alone."""
    upload = imports.find_upload(connection, chunk.params["upload_id"])
    chunks.add(
        connection,
        job_id=chunk.job_id,
        stage_id=chunk.stage_id,
        kind="work",
        items=[],
        size=upload.rows,
    )
    return 0


def work(_context: Context, chunk: Claimed, _tick: Tick) -> Write:
    """Check the rows and write the decisions, in the commit's transaction."""

    def write(connection: sa.Connection) -> Outcome:
        upload = imports.find_upload(connection, chunk.params["upload_id"])
        params = jobs.find(connection, chunk.job_id).params
        source_id, target_id = chunk.params["source_id"], chunk.params["target_id"]
        decisions.create_rows(connection)
        pair_imports.refuse_unknown(
            connection,
            upload.id,
            source=(source_id, params["source"]),
            target=(target_id, params["target"]),
        )
        counts = decision_imports.gather(connection, upload.id, source_id, target_id)
        imports.list_faults(connection, upload.id, job_id=chunk.job_id, stage_id=chunk.stage_id)
        imports.discard(connection, upload.id)
        fatal = upload.refusal(counts.rows, counts.refused)
        new = 0 if fatal else decisions.write(connection, target_id, None)
        taken = counts.accepted + counts.rejected + counts.none
        jobs.add_summary(
            connection,
            chunk.job_id,
            {
                "file": upload.filename,
                **asdict(counts),
                "new": new,
                "unchanged": 0 if fatal else taken - new,
            },
        )
        return Outcome(size=chunk.size, fatal=fatal)

    return write


def bury(_connection: sa.Connection, _chunk: Failed, _code: str, _message: str) -> None:
    """The job fails as a whole; its error says why."""
