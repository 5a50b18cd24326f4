"""One module for each kind of stage: read ids, call pure code, write rows.

A handler plans (`plan` inserts the stage's chunks, in the transaction that ends the plan chunk),
works (`work` reads and computes outside any long transaction and returns the function that writes
the results in the commit's transaction), and buries (`bury` notes why an item could not be done).
"""

from typing import Protocol

import sqlalchemy as sa

from aparella.db.chunks import Failed
from aparella.db.leases import Claimed
from aparella.workers.context import Context, Tick, Write
from aparella.workers.stages import (
    apply,
    assign,
    card,
    carry,
    clean,
    clean_pairs,
    conclude,
    decisions,
    drift,
    embed,
    evaluate,
    gate,
    index,
    match,
    pairs,
    switch,
    texts,
    train,
)


class Handler(Protocol):
    """What a module of this package offers."""

    def plan(self, connection: sa.Connection, context: Context, chunk: Claimed) -> int:
        """Insert the stage's chunks; returns how many items are done already and skipped."""

    def work(self, context: Context, chunk: Claimed, tick: Tick) -> Write:
        """Do a chunk's work; calls `tick` as a sign of life, which may raise to stop it."""

    def bury(self, connection: sa.Connection, chunk: Failed, code: str, message: str) -> None:
        """Note why a dead chunk's item could not be done."""


HANDLERS: dict[str, Handler] = {
    "apply": apply,
    "assign": assign,
    "card": card,
    "carry": carry,
    "clean": clean,
    "clean_pairs": clean_pairs,
    "conclude": conclude,
    "decisions": decisions,
    "drift": drift,
    "embed": embed,
    "evaluate": evaluate,
    "gate": gate,
    "index": index,
    "match": match,
    "pairs": pairs,
    "switch": switch,
    "texts": texts,
    "train": train,
}
