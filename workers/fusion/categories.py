"""How sure answers are by the category of the record that comes first: what one corrects by.

Lists are not equally hard throughout: a catalogue may tell its syringes apart by their sizes, and
its prostheses by nothing that a line says. Where enough answers within a category are known, its
confidences move by as much log-odds as these answers ask for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aparella.category import ATTRIBUTES, category
from aparella.workers.features.attributes import Attributes
from aparella.workers.fusion.ranker import Vector

MIN_ANSWERS = 50
"""Known answers within a category below which it is not corrected."""
_STRENGTH = 1.0
"""Inverse variance of a correction's prior, which is centred on none."""
_LEAST = 1e-6


@dataclass(frozen=True)
class Categories:
    """What is known of categories.

    Attributes:
        attributes: names of the attributes that are looked for, the first one found counts.
        offsets: log-odds to add to the confidence, by category; none for all others.
    """

    attributes: tuple[str, ...] = ATTRIBUTES
    offsets: Mapping[str, float] = field(default_factory=dict)

    def of(self, attributes: Attributes) -> str | None:
        """A record's category."""
        return category(attributes, self.attributes)

    def corrected(self, sure: Vector, categories: Sequence[str | None]) -> Vector:
        """Confidences (m,) of first candidates of these categories, corrected."""
        more = np.array([self.offsets.get(name or "", 0.0) for name in categories])
        return np.where(more == 0, sure, _moved(_log_odds(sure), more))

    def to_json(self) -> dict[str, Any]:
        """As JSON knows it; `from_json` reads it back to the bit."""
        return {"attributes": list(self.attributes), "offsets": dict(self.offsets)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Categories":
        """From what `to_json` gave."""
        offsets = {str(name): float(offset) for name, offset in stored["offsets"].items()}
        return cls(tuple(map(str, stored["attributes"])), offsets)


def learn(
    sure: Vector,
    right: NDArray[np.bool_],
    count: Vector,
    categories: Sequence[str | None],
    fold: NDArray[np.int64],
    real: NDArray[np.bool_],
) -> tuple[dict[str, float], Vector]:
    """Corrections from answers to queries that nothing had learnt from.

    A category is corrected only if corrections learnt without a fold surprise less in that fold, by
    more than a standard error.

    Args:
        sure: confidences, (m,).
        right: whether the answer is right, bool (m,).
        count: how often each counts, (m,).
        categories: of each answer, (m,).
        fold: of each answer's query, int64 (m,).
        real: whether the answer counts among the `MIN_ANSWERS`, bool (m,).

    Returns:
        Log-odds to add by category, and the confidences by the corrections learnt without their
        fold, (m,).
    """
    offsets: dict[str, float] = {}
    corrected, odds = sure.copy(), _log_odds(sure)
    names = np.array([name or "" for name in categories])
    for name in np.unique(names[real & (names != "")]).tolist():
        inside = names == name
        if (inside & real).sum() < MIN_ANSWERS:
            continue
        mine, good, weight, folds = odds[inside], right[inside], count[inside], fold[inside]
        tried = np.zeros(len(mine))
        for one in np.unique(folds).tolist():
            others = folds != one
            tried[~others] = _offset(mine[others], good[others], weight[others])
        gain = weight * (_surprise(mine, good) - _surprise(mine + tried, good))
        if gain.mean() > gain.std() / np.sqrt(len(gain)):
            offsets[name] = _offset(mine, good, weight)
            corrected[inside] = _moved(mine, tried)
    return offsets, corrected


def _offset(odds: Vector, right: NDArray[np.bool_], count: Vector) -> float:
    """The likeliest log-odds to add."""
    from scipy.optimize import minimize_scalar

    def loss(offset: float) -> float:
        surprise = (count * _surprise(odds + offset, right)).sum()
        return float(surprise + _STRENGTH * offset * offset / 2)

    return float(minimize_scalar(loss, bounds=(-8.0, 8.0), method="bounded").x)


def _surprise(odds: Vector, right: NDArray[np.bool_]) -> Vector:
    return np.logaddexp(0, np.where(right, -odds, odds))


def _log_odds(sure: Vector) -> Vector:
    kept = np.clip(sure, _LEAST, 1 - _LEAST)
    return np.asarray(np.log(kept / (1 - kept)))


def _moved(odds: Vector, by: Vector) -> Vector:
    return np.asarray(1 / (1 + np.exp(-(odds + by))))
