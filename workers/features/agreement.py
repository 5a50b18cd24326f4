"""Whether the measures of two texts agree, contradict each other, or only one of them speaks.

The rule. A measure of the one text and one of the other are *comparable* if they may be of one
kind. They *agree* if some reading of each does: within the kind's rounding (`units.rounding`), one
inside the other's tolerance or range, or two ranges that share half of the shorter one. Each
measure is paired at most once, the closest first. What is then left over on *both* sides and is
comparable contradicts: of the text that states fewer measures of a kind, each has to be found in
the other. So the longer text may speak of other lengths as well, and what one text does not
mention is no contradiction. Three exceptions, which are never contradictions:

- values more than a thousand times apart: they measure different things (a pore and a tube);
- a measure whose unit is assumed (`10X8`), unless both are sides of a dimension;
- a text and itself.

Comparing is symmetric.
"""

import math
from dataclasses import dataclass

from aparella.workers.features.measures import Measure, Reading
from aparella.workers.features.units import rounding

_TOO_FAR = math.log(1000) + 1e-9


@dataclass(frozen=True, slots=True)
class MeasureComparison:
    """The measures of two texts, side by side.

    Attributes:
        agreeing: pairs (of the first text, of the second) that agree.
        contradicting: pairs that contradict each other.
        only_first: measures of the first text that the second does not mention.
        only_second: the other way round.
    """

    agreeing: tuple[tuple[Measure, Measure], ...] = ()
    contradicting: tuple[tuple[Measure, Measure], ...] = ()
    only_first: tuple[Measure, ...] = ()
    only_second: tuple[Measure, ...] = ()


def agreement(first: tuple[Measure, ...], second: tuple[Measure, ...]) -> MeasureComparison:
    """Compare what two texts measure, by the rule above."""
    if not first or not second:
        return MeasureComparison(only_first=first, only_second=second)
    # Ties are broken by place, so for symmetry the two always stand in one order.
    turned = len(second) < len(first) or (
        len(first) == len(second) and list(map(_order, second)) < list(map(_order, first))
    )
    left, right = (second, first) if turned else (first, second)
    near: list[tuple[float, int, int]] = []
    far: list[tuple[float, int, int]] = []
    for i, a in enumerate(left):
        kind, several = a.kind, len(a.readings) > 1
        for j, b in enumerate(right):
            if kind == b.kind or several or len(b.readings) > 1:
                gap, agrees = _gap(a, b)
                if agrees:
                    near.append((gap, i, j))
                elif gap <= _TOO_FAR and (not (a.assumed or b.assumed) or (a.side and b.side)):
                    far.append((gap, i, j))
    if not near and not far:
        return MeasureComparison(only_first=first, only_second=second)
    free_left, free_right = set(range(len(left))), set(range(len(right)))
    agreeing = _paired(near, free_left, free_right)
    contradicting = _paired(far, free_left, free_right) if free_left and free_right else []
    pairs = [
        tuple((right[j], left[i]) if turned else (left[i], right[j]) for i, j in sorted(some))
        for some in (agreeing, contradicting)
    ]
    rest_left = tuple(left[i] for i in sorted(free_left))
    rest_right = tuple(right[j] for j in sorted(free_right))
    return MeasureComparison(
        pairs[0],
        pairs[1],
        rest_right if turned else rest_left,
        rest_left if turned else rest_right,
    )


def _order(measure: Measure) -> tuple[tuple[Reading, ...], bool, bool]:
    return measure.readings, measure.side, measure.assumed


def _paired(
    edges: list[tuple[float, int, int]], free_left: set[int], free_right: set[int]
) -> list[tuple[int, int]]:
    """Greedily, the closest first; takes what it pairs out of the free ones."""
    edges.sort()
    taken = []
    for _, i, j in edges:
        if i in free_left and j in free_right:
            free_left.remove(i)
            free_right.remove(j)
            taken.append((i, j))
    return taken


def _gap(a: Measure, b: Measure) -> tuple[float, bool]:
    """How far apart two measures are, and whether they agree.

    The gap is -1 for the same readings; for others that agree the difference of their middles,
    relative; else the logarithm of the middles' ratio; infinity if they are not comparable.
    """
    if a.readings == b.readings:
        return -1.0, True
    gap = math.inf
    exact = a.assumed or b.assumed  # of a number without unit, the number itself has to be right
    for kind, low, high in a.readings:
        for other, least, most in b.readings:
            if kind == other:
                ours, theirs = low + high, least + most
                tolerance = 1e-9 if exact else rounding(kind)
                slack = tolerance * max(abs(high), abs(most)) + 1e-9
                if _overlap(low, high, least, most, slack):
                    return abs(ours - theirs) / (abs(ours) + 1e-12), True
                both_positive = ours > 0 and theirs > 0
                gap = min(gap, abs(math.log(ours / theirs) if both_positive else ours - theirs))
    return gap, False


def _overlap(low: float, high: float, least: float, most: float, slack: float) -> bool:
    overlap = min(high, most) - max(low, least)
    if overlap < -slack:
        return False
    shorter = min(high - low, most - least)
    # Two ranges that touch, 30-150 and 150-300, are two ranges.
    return shorter <= slack or overlap >= shorter / 2 - 1e-9
