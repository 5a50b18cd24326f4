"""What a process counts while it works: durations, rates, retries. Without a port of its own.

Each process adds up from its start and writes the sums into its row; whoever reads adds the rows.
"""

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from time import monotonic
from typing import Any

BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)
"""Upper bounds of a chunk's seconds; the aim is 5 to 20."""
WINDOW = 60.0
"""Seconds over which a rate is taken."""

Counted = Mapping[str, Any]
"""Sums, nested by name."""


class Figures:
    """Sums of one process since its start. Its methods may be called from any thread.

    Args:
        age: seconds for which the process has run already.
    """

    def __init__(self, age: float = 0.0) -> None:
        self._born = monotonic() - age
        self._lock = threading.Lock()
        self._sums: dict[str, Any] = {}
        self._done: deque[tuple[str, float, float, int]] = deque()

    def count(self, name: str, by: int = 1) -> None:
        """Add to a sum."""
        self._add({name: by})

    def chunk(self, handler: str, seconds: float, items: int) -> None:
        """Note a chunk that was done, `seconds` after its claim."""
        now = monotonic()
        bucket = next((f"{bound:g}" for bound in BUCKETS if seconds <= bound), "inf")
        one = {"count": 1, "seconds": seconds, "items": items, "buckets": {bucket: 1}}
        self._add({"chunks": {handler: one}})
        with self._lock:
            self._done.append((handler, now - seconds, now, items))

    def batch(self, tokens: int, room: int) -> None:
        """Note a batch of the encoder: its texts' tokens, and those that it had room for."""
        self._add({"batches": {"count": 1, "tokens": tokens, "room": room}})

    def snapshot(self) -> dict[str, Any]:
        """The sums as they stand."""
        with self._lock:
            return total([self._sums])

    def rates(self) -> dict[str, float]:
        """Items a second of the last minute, or of the process's life, by kind of stage."""
        now = monotonic()
        with self._lock:
            while self._done and self._done[0][2] < now - WINDOW:
                self._done.popleft()
            return recent(self._done, now, max(1.0, min(WINDOW, now - self._born)))

    def _add(self, sums: Counted) -> None:
        with self._lock:
            _add(self._sums, sums)


def recent(
    done: Iterable[tuple[str, float, float, int]], now: float, window: float = WINDOW
) -> dict[str, float]:
    """Items a second within the window, by kind of stage.

    A chunk that began before the window counts with the part of it that lies within: else the rate
    of chunks that take as long as the window would jump.

    Args:
        done: kind of stage, begin, end and items of chunks.
        now: on the clock of begin and end.
        window: seconds.
    """
    items: dict[str, float] = {}
    for handler, begin, end, number in done:
        within = end - max(begin, now - window)
        share = within / (end - begin) if end > begin else 1.0
        if within >= 0:
            items[handler] = items.get(handler, 0.0) + number * share
    return {handler: round(number / window, 3) for handler, number in items.items() if number}


def total(parts: Iterable[Counted]) -> dict[str, Any]:
    """The sums of all parts, name by name."""
    result: dict[str, Any] = {}
    for part in parts:
        _add(result, part)
    return result


def _add(sums: dict[str, Any], more: Counted) -> None:
    for name, value in more.items():
        if isinstance(value, Mapping):
            _add(sums.setdefault(name, {}), value)
        else:
            sums[name] = sums.get(name, 0) + value


own = Figures()
"""This process's."""
