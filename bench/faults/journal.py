"""What was done to the system and when, and how long it took to recover."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import sqlalchemy as sa

from bench.faults import audit
from bench.faults.audit import Move


@dataclass
class Happening:
    """One fault.

    Attributes:
        kind: of the schedule.
        at: seconds since the epoch, when it struck.
        over: when what it took away was back (a service answers, a link is up), or `at`.
        chunk: in the hands of the victim, if it had one.
        note: what was seen of it: `refused` for a zombie's write, say.
        missed: why it did not come about; it does not count then.
        recovered: seconds from `over` until the victim's chunk was done by others, or, where there
            is no such chunk, until the next chunk was done.
        again: whether a later fault struck the same chunk or a part of it, whose recovery counts.
    """

    kind: str
    at: float
    over: float
    chunk: int | None = None
    note: str = ""
    missed: str = ""
    recovered: float | None = None
    again: bool = False

    @property
    def is_kill(self) -> bool:
        """Whether it is the death of one of Aparella's own processes."""
        return self.kind.startswith("kill")


def settle(connection: sa.Connection, happenings: Sequence[Happening], jobs: Sequence[int]) -> None:
    """Find out from the audit how long each recovery took."""
    moves = [move for job in jobs for move in audit.moves(connection, job)]
    by_chunk, children = defaultdict(list), defaultdict(set)
    for move in moves:
        by_chunk[move.chunk].append(move)
    query = sa.text("SELECT id, parent_id FROM chunk WHERE job_id = ANY(:jobs) AND parent_id > 0")
    for chunk, parent in connection.execute(query, {"jobs": list(jobs)}):
        children[parent].add(chunk)
    for place, one in enumerate(happenings):
        if one.missed:
            continue
        if one.chunk:
            end = finished(one.chunk, by_chunk, children)
            family = parts(one.chunk, children)
            one.again = any(other.chunk in family for other in happenings[place + 1 :])
        else:
            end = audit.done_since(connection, one.over)
        if end is not None:
            one.recovered = max(0.0, end - one.over)


def parts(chunk: int, children: dict[int, set[int]]) -> set[int]:
    """A chunk, and all that it was bisected into."""
    return {chunk}.union(*(parts(child, children) for child in children.get(chunk, ())))


def finished(
    chunk: int, moves: dict[int, list[Move]], children: dict[int, set[int]]
) -> float | None:
    """When the last part of a chunk was done or buried; None: it never was."""
    ends = [move for move in moves.get(chunk, []) if move.new in ("done", "dead", "split")]
    if not ends:
        return None
    if ends[0].new != "split":
        return ends[0].at
    found = [finished(part, moves, children) for part in children.get(chunk, ())]
    return None if None in found or not found else max(end for end in found if end is not None)


def quiet_kills(happenings: Sequence[Happening], margin: float) -> list[Happening]:
    """Kills with a chunk in hand, the last to strike it, and no outage was on or just over."""
    outages = [
        (h.at, h.over + margin)
        for h in happenings
        if not h.missed and h.kind.startswith(("postgres", "redis", "network"))
    ]
    return [
        h
        for h in happenings
        if h.is_kill and h.chunk and not h.missed and not h.again
        and not any(begin < h.at + margin and h.at < end for begin, end in outages)
    ]  # fmt: skip


def times(happenings: Sequence[Happening]) -> dict[str, float] | None:
    """How many recovered, the median and the worst in seconds; None for none."""
    known = sorted(h.recovered for h in happenings if h.recovered is not None)
    if not known:
        return None
    return {
        "count": len(known),
        "median_s": round(median(known), 2),
        "worst_s": round(known[-1], 2),
    }
