"""The stage that cleans an upload's texts: pure CPU work, in parallel over the rows."""

import sqlalchemy as sa

from aparella.db import imports
from aparella.db.chunks import Failed
from aparella.db.engine import transaction
from aparella.db.imports import CleanedRow
from aparella.db.leases import Claimed
from aparella.workers.context import Context, Outcome, Tick, Write
from aparella.workers.text import clean, text_hash

_TICK_EVERY = 1_000


def plan(connection: sa.Connection, context: Context, chunk: Claimed) -> int:
    """One chunk for every so many rows that the reader did not refuse."""
    imports.plan(
        connection,
        chunk.params["upload_id"],
        job_id=chunk.job_id,
        stage_id=chunk.stage_id,
        size=context.settings.import_chunk,
    )
    return 0


def work(context: Context, chunk: Claimed, tick: Tick) -> Write:
    """Clean the rows' texts."""
    upload_id = chunk.params["upload_id"]
    with transaction(context.db) as connection:
        rows = imports.texts(connection, upload_id, chunk.items)
    cleaned: list[CleanedRow] = []
    for place, (number, text) in enumerate(rows, 1):
        cleaned.append(_clean_row(number, text))
        if place % _TICK_EVERY == 0:
            tick(_TICK_EVERY)

    def write(connection: sa.Connection) -> Outcome:
        imports.store_cleaned(connection, upload_id, cleaned)
        return Outcome(size=len(chunk.items))

    return write


def bury(connection: sa.Connection, chunk: Failed, code: str, message: str) -> None:
    """Refuse the row; `apply` lists it with the others."""
    imports.refuse(connection, chunk.params["upload_id"], chunk.items, code=code, message=message)


def _clean_row(number: int, text: str) -> CleanedRow:
    result = clean(text)
    if not result.text:
        return CleanedRow(
            number,
            None,
            None,
            None,
            code="empty_text",
            field="text",
            message="nothing is left of the text once control characters are taken out",
        )
    return CleanedRow(
        number,
        result.text if result.text != text else None,
        text_hash(result.text),
        result.repaired,
    )
