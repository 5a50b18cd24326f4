"""The stage that cleans pairs which came as texts: as records' texts are cleaned, in parallel."""

import sqlalchemy as sa

from aparella.db import jobs, pair_imports
from aparella.db.engine import transaction
from aparella.db.leases import Claimed
from aparella.db.pair_imports import CleanedPair
from aparella.workers.context import Context, Outcome, Tick, Write
from aparella.workers.stages.clean import bury, plan
from aparella.workers.text import clean, text_hash

__all__ = ["bury", "plan", "work"]

_TICK_EVERY = 1_000


def work(context: Context, chunk: Claimed, tick: Tick) -> Write:
    """Clean both texts of each row."""
    upload_id = chunk.params["upload_id"]
    with transaction(context.db) as connection:
        columns = jobs.find(connection, chunk.job_id).params["columns"]
        rows = pair_imports.texts(connection, upload_id, chunk.items)
    cleaned: list[CleanedPair] = []
    for place, (number, source, target) in enumerate(rows, 1):
        cleaned.append(_clean_row(number, source, target, columns))
        if place % _TICK_EVERY == 0:
            tick(_TICK_EVERY)

    def write(connection: sa.Connection) -> Outcome:
        pair_imports.store_cleaned(connection, upload_id, cleaned)
        return Outcome(size=len(chunk.items))

    return write


def _clean_row(number: int, source: str, target: str, columns: dict[str, str]) -> CleanedPair:
    left, right = clean(source), clean(target)
    empty = next(
        (side for side, text in (("source", left), ("target", right)) if not text.text), ""
    )
    repairs = {left.repaired, right.repaired} - {None}
    message = "nothing is left of the text once control characters are taken out: leave the row out"
    return CleanedPair(
        number,
        left.text,
        right.text,
        text_hash(left.text),
        text_hash(right.text),
        repairs.pop() if len(repairs) == 1 else "mixed" if repairs else None,
        code="empty_text" if empty else None,
        field=columns[empty] if empty else None,
        message=message if empty else None,
    )
