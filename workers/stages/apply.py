"""The stage that turns a cleaned upload into records: one transaction, all or nothing."""

from dataclasses import asdict

import sqlalchemy as sa

from aparella.db import chunks, imports, jobs
from aparella.db.chunks import Failed
from aparella.db.leases import Claimed
from aparella.workers.context import Context, Outcome, Tick, Write
from aparella.workers.text import CLEANER_VERSION


def plan(connection: sa.Connection, _context: Context, chunk: Claimed) -> int:
    """One chunk: an import must not be seen half done."""
    upload = imports.find_upload(connection, chunk.params["upload_id"])
    chunks.add_whole(connection, chunk, size=upload.rows)
    return 0


def work(_context: Context, chunk: Claimed, _tick: Tick) -> Write:
    """Apply the upload: all of it is SQL, in the commit's transaction."""

    def write(connection: sa.Connection) -> Outcome:
        upload = imports.find_upload(connection, chunk.params["upload_id"])
        counts = imports.check(
            connection,
            upload,
            job_id=chunk.job_id,
            stage_id=chunk.stage_id,
            cleaner_version=CLEANER_VERSION,
        )
        summary = {"file": upload.filename, **asdict(counts)}
        fatal = upload.refusal(counts.rows, counts.refused)
        if fatal is None:
            summary["removed"] = imports.apply(connection, upload, cleaner_version=CLEANER_VERSION)
        else:
            summary |= {"new": 0, "changed": 0, "unchanged": 0}
        imports.discard(connection, upload.id)
        jobs.add_summary(connection, chunk.job_id, summary)
        return Outcome(size=chunk.size, fatal=fatal)

    return write


def bury(_connection: sa.Connection, _chunk: Failed, _code: str, _message: str) -> None:
    """The job fails as a whole; its error says why."""
