"""Which faults happen, in which order, with which pauses: drawn from a seed, and nothing else."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

WORKER_POINTS = ("claimed", "worked", "fenced", "written", "committed", "fanned-in")
"""Where in a chunk's life a worker may be hit: after the claim, after the work, in the commit's
transaction before and after the results, after the commit, and in the transaction that ends a
stage."""
RECONCILER_POINTS = ("settled", "marked", "sent")
"""In the transaction that settles an expired lease; between marking a message as sent and sending
it; after sending it."""
API_POINTS = ("created",)
"""In the transaction that enqueues a job."""
ALWAYS_REACHED = tuple(p for p in WORKER_POINTS if p != "fanned-in")

KILLS: Mapping[str, int] = {
    "kill pool": 78,
    "kill parent": 12,
    "kill reconciler": 14,
    "kill api": 12,
    **{f"kill at {point}": 17 for point in ALWAYS_REACHED},
    **{f"kill at {point}": 4 for point in ("fanned-in", "settled", *API_POINTS)},
    **{f"kill at {point}": 8 for point in ("marked", "sent")},
}
OTHERS: Mapping[str, int] = {
    "zombie at worked": 4,
    "zombie at fenced": 2,
    "zombie at written": 2,
    "redis kill": 20,
    "redis flush": 5,
    "redis freeze": 1,
    "redis other run id": 2,
    "redis evicts": 1,
    "postgres restart": 10,
    "postgres kill backend": 8,
    "postgres kill": 4,
    "postgres cut mid-transaction": 6,
    "postgres swallow answers": 4,
    "postgres full disk": 3,
    "postgres statement timeout": 3,
    "postgres deadlock": 4,
    "link down": 3,
    "network delay": 3,
    "network reset": 5,
    "network half-open": 2,
    "network black hole": 3,
    "queue duplicates": 5,
    "queue reorders": 5,
    "queue corrupt": 3,
    "queue unknown": 3,
}
FULL: Mapping[str, int] = {**KILLS, **OTHERS}
SHORT: Mapping[str, int] = {
    "kill pool": 1,
    "kill parent": 1,
    "kill reconciler": 1,
    "kill api": 1,
    **{f"kill at {point}": 1 for point in (*ALWAYS_REACHED, "marked", *API_POINTS)},
    "zombie at worked": 1,
    "redis kill": 1,
    "redis flush": 1,
    "postgres restart": 1,
    "postgres kill backend": 1,
    "postgres cut mid-transaction": 1,
    "network reset": 1,
    "queue duplicates": 1,
    "queue corrupt": 1,
}


@dataclass(frozen=True)
class Event:
    """A fault of this kind, `after` so many seconds since the one before it was over.

    `pick` in [0, 1) chooses the victim among those that there are then.
    """

    kind: str
    after: float
    pick: float


def draw(seed: int, counts: Mapping[str, int], pauses: tuple[float, float]) -> list[Event]:
    """So many faults of each kind, in an order and with pauses that only the seed decides.

    Args:
        seed: the same one gives the same events.
        counts: by kind.
        pauses: the shortest and the longest, in seconds.
    """
    chance = random.Random(seed)
    kinds = [kind for kind in sorted(counts) for _ in range(counts[kind])]
    chance.shuffle(kinds)
    return [Event(kind, chance.uniform(*pauses), chance.random()) for kind in kinds]
