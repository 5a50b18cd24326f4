"""Numbers that stand alone, without a unit: `NÚMERO 22`, `HDTV 1080`, `3.0`."""

import re
from collections.abc import Sequence

from aparella.workers.features.measures import Measure, measures
from aparella.workers.features.quantities import values

_NUMBER = re.compile(r"(?<![\w.,])\d+(?:[.,]\d+)*(?![^\W\d_]|[.,]?\d)")


def numbers(text: str, found: Sequence[Measure] | None = None) -> frozenset[float]:
    """The numbers of a text that are part of no measure and of no word.

    `1.500`, which may be 1.5 or 1500, counts as both; a version such as `1.2.3` as its parts 1.2.

    Args:
        text: any text.
        found: the measures of this text, if the caller has them.
    """
    spans = [(m.start, m.end) for m in (measures(text) if found is None else found)]
    result: set[float] = set()
    for match in _NUMBER.finditer(text):
        start, end = match.span()
        if any(start < stop and begin < end for begin, stop in spans):
            continue
        worth = values(match[0])
        if not worth:
            worth = values(".".join(re.split("[.,]", match[0])[:2]))
        result.update(worth)
    return frozenset(result)


def shared_share(first: frozenset[float], second: frozenset[float]) -> float:
    """The share of the first text's numbers that the second has too; 0 if it has none."""
    return len(first & second) / len(first) if first else 0.0
