"""How large a stage's chunks are, by what the workers have measured."""

import sqlalchemy as sa

from aparella.db import workers
from aparella.db.leases import Claimed
from aparella.workers.sizing import chunk_size


def choose(
    connection: sa.Connection,
    plan: Claimed,
    items: int,
    *,
    fixed: int | None,
    first: int,
    most: int,
) -> int:
    """Items of a chunk of the stage that is being planned.

    Args:
        connection: in a transaction.
        plan: the stage's plan chunk.
        items: of the stage, at most.
        fixed: what the settings say; None leaves it to the workers' figures.
        first: the size while there are none.
        most: never more.
    """
    if fixed is not None:
        return fixed
    rate, processes = workers.pace(connection, plan.handler, plan.queue)
    return chunk_size(items, rate, processes, first=first, most=most)
