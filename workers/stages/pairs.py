"""The stage that turns an uploaded file into pairs: one transaction, all or nothing."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from aparella.db import chunks, imports, jobs, pair_imports, pair_rows, pair_sets
from aparella.db.chunks import Failed
from aparella.db.imports import Upload
from aparella.db.leases import Claimed
from aparella.db.pairs import PairSet
from aparella.workers.context import Context, Outcome, Tick, Write
from aparella.workers.pairing import place

_NOTHING = {"new": 0, "changed": 0, "unchanged": 0, "rejected": 0, "left_out": 0}


def plan(connection: sa.Connection, _context: Context, chunk: Claimed) -> int:
    """One chunk: a set must not be seen half written."""
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
    """Check the rows and write the pairs and their folds, in the commit's transaction."""

    def write(connection: sa.Connection) -> Outcome:
        upload = imports.find_upload(connection, chunk.params["upload_id"])
        columns = jobs.find(connection, chunk.job_id).params["columns"]
        pair_set = pair_sets.lock_set(connection, chunk.params["pair_set_id"])
        summary: dict[str, Any] = {"file": upload.filename, "rows": upload.rows, **_NOTHING}
        if pair_set is None:
            fatal: str | None = (
                "The pair set was deleted before its file was imported: nothing was written. "
                "Import it again."
            )
        else:
            fatal = _swapped(connection, upload, pair_set, columns)
        if fatal is None and pair_set is not None:
            fatal = _import(connection, chunk, upload, pair_set, columns, summary)
        imports.discard(connection, upload.id)
        jobs.add_summary(connection, chunk.job_id, summary)
        return Outcome(size=chunk.size, fatal=fatal)

    return write


def bury(_connection: sa.Connection, _chunk: Failed, _code: str, _message: str) -> None:
    """The job fails as a whole; its error says why."""


def _import(
    connection: sa.Connection,
    chunk: Claimed,
    upload: Upload,
    pair_set: PairSet,
    columns: Mapping[str, str],
    summary: dict[str, Any],
) -> str | None:
    """Write the pairs and put the figures into `summary`; or say why nothing is written."""
    ids = {"job_id": chunk.job_id, "stage_id": chunk.stage_id}
    pair_rows.create(connection)
    pair_imports.gather(connection, upload.id, pair_set, columns)
    pair_imports.refuse_contradictions(connection, upload.id, pair_set.id)
    pair_rows.find_repeated(connection)
    pair_imports.note_repeated(connection, upload.id)
    imports.list_faults(connection, upload.id, **ids)
    counts = pair_imports.count(connection, upload.id)
    summary |= asdict(counts)
    if fatal := upload.refusal(counts.rows, counts.refused):
        return fatal
    written = pair_rows.write(connection, pair_set.id)
    moved = place(connection, pair_set.id)
    leaks = pair_rows.leaks(connection, pair_set.id)
    fresh = {leak.pair_id for leak in leaks}
    others = [pair_id for pair_id in moved if pair_id not in fresh]
    pair_imports.report_leaks(
        connection, upload.id, **ids, rows=[leak.row for leak in leaks], pairs=others
    )
    summary |= {**asdict(written), "left_out": len(leaks) + len(others)}
    return None


def _swapped(
    connection: sa.Connection, upload: Upload, pair_set: PairSet, columns: Mapping[str, str]
) -> str | None:
    if pair_set.source_collection_id == pair_set.target_collection_id:
        return None  # a list paired with itself, or texts: each side is as right as the other
    found = pair_imports.count_swapped(connection, upload.id, pair_set)
    if not found.certain:
        return None
    source, target = columns["source"], columns["target"]
    return (
        f"The two columns of {upload.filename} are swapped: {found.sources:,} of {found.rows:,} "
        f"keys in '{source}' are records of '{pair_set.target}', not of '{pair_set.source}', and "
        f"{found.targets:,} in '{target}' the other way round. Nothing was changed; call it with "
        f"--source-column {target} --target-column {source}."
    )
