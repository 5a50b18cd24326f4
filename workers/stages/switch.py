"""The stage that makes a model the default, in one transaction."""

import sqlalchemy as sa

from aparella.db import chunks, jobs, models, partitions, records, registry, vectors
from aparella.db.chunks import Failed
from aparella.db.engine import transaction
from aparella.db.leases import Claimed
from aparella.errors import JobError, TransientError
from aparella.workers.context import Context, Outcome, Tick, Write
from aparella.workers.stages import embed
from aparella.workers.text import CLEANER_VERSION

MOST_LATE = 5_000
"""Texts imported while the promotion ran that the switch itself encodes; more are a new job's."""


def plan(connection: sa.Connection, _context: Context, chunk: Claimed) -> int:
    """One chunk: one switch."""
    chunks.add_whole(connection, chunk)
    return 0


def work(context: Context, chunk: Claimed, tick: Tick) -> Write:
    """Encode what was imported since the catalogues were embedded; then switch."""
    model_id, against = chunk.params["model_id"], chunk.params["against"]
    with transaction(context.db) as connection:
        model = models.model_by_id(connection, model_id)
        _check_current(connection, against)
        late = {
            collection_id: (name, vectors.behind(connection, against, model_id, collection_id))
            for collection_id, name, _ in partitions.collections(connection, against)
        }
    for collection_id, (name, items) in late.items():
        if len(items) > MOST_LATE:
            raise JobError(
                f"{len(items):,} records were imported into '{name}' while {model} was being "
                f"promoted. Run `aparella model promote {model}` again: it goes on where this "
                "job ended."
            )
        if items:
            with transaction(context.db) as connection:
                partitions.ensure_partition(connection, model_id, collection_id)
            store = embed.encode(context, model_id, collection_id, items, tick)
            with transaction(context.db) as connection:
                store(connection)

    def write(connection: sa.Connection) -> Outcome:
        # Imports wait from here to the end of the transaction, which is the blink of an eye.
        records.hold(connection, list(late))
        _check_current(connection, against)
        if any(vectors.behind(connection, against, model_id, i, most=1) for i in late):
            raise TransientError(f"records were imported while {model} was being promoted")
        registry.switch(
            connection,
            model_id,
            kind="promote",
            reason=chunk.params.get("reason"),
            verdict=chunk.params["verdict"],
            job_id=chunk.job_id,
            by=chunk.params.get("by"),
            cleaner_version=CLEANER_VERSION,
        )
        jobs.add_summary(connection, chunk.job_id, {"promoted": str(model)})
        return Outcome(size=chunk.size)

    return write


def bury(_connection: sa.Connection, _chunk: Failed, _code: str, _message: str) -> None:
    """The job fails as a whole; its error says why."""


def _check_current(connection: sa.Connection, against: int) -> None:
    """Refuse to replace another model than the one that the gate compared with."""
    current = models.find_model(connection, None)
    if current.id != against:
        raise JobError(
            f"{current} was promoted meanwhile, and the gate has not compared with it. Run the "
            "promotion again."
        )
