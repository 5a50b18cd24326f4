"""How sure it is that the first candidate is right, and that there is a right one at all.

A logistic regression over the first candidate's evidence and its lead over the second. It learns
from the same queries twice: as they are, and with their right records taken out of the catalogue,
when whatever comes first is wrong. So many lines count as such: `ABSENT`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aparella.workers.fusion.candidates import Candidates
from aparella.workers.fusion.evidence import FEATURES, Matrix
from aparella.workers.fusion.ranker import Vector, probabilities

ABSENT = 0.05
"""Share of lines that are taken to have no counterpart."""

FIRST = (
    *("cosine", "letters", "words_coverage", "joined_coverage", "expanded_coverage"),
    *("token_set_ratio", "shared_code", "missed_code", "figures_coverage", "missed_figures"),
    *("contradicting_measures", "contradicting_negations"),
    *("attributes_agreeing", "attributes_contradicting"),
)
"""Features of the first candidate that count; what only compares candidates does not."""
NAMES = ("log_odds", "lead", "utility", *FIRST)
"""`log_odds`: of its probability among the candidates; `lead`: its utility less the second's, at
most `_MOST_LEAD`, which is also that of a single candidate; `utility`: its own."""

_MOST_LEAD = 6.0
_COLUMNS = [list(FEATURES).index(name) for name in FIRST]


@dataclass(frozen=True)
class Firsts:
    """The first candidate of each query that has one.

    Attributes:
        query: int64 (m,).
        pair: its place among the candidates, int64 (m,).
        evidence: float64 (m, len(NAMES)).
    """

    query: NDArray[np.int64]
    pair: NDArray[np.int64]
    evidence: Matrix


def firsts(candidates: Candidates, features: Matrix, utility: Vector) -> Firsts:
    """The first candidates: by utility, equal ones by row.

    Args:
        candidates: n pairs.
        features: as `evidence.matrix` gives them, not standardised, (n, features).
        utility: (n,).
    """
    starts = candidates.starts
    order = np.lexsort((candidates.row, -utility, candidates.query))
    pair = order[starts]
    several = np.diff(np.append(starts, len(utility))) > 1
    second = order[np.minimum(starts + 1, len(utility) - 1)]
    lead = np.where(several, np.minimum(utility[pair] - utility[second], _MOST_LEAD), _MOST_LEAD)
    chance = np.clip(probabilities(utility, candidates)[pair], 1e-9, 1 - 1e-9)
    found = [np.log(chance / (1 - chance)), lead, utility[pair]]
    return Firsts(
        candidates.query[starts],
        pair,
        np.column_stack([*found, features[pair][:, _COLUMNS]]),
    )


def apply(evidence: Matrix, weights: Vector) -> Vector:
    """Confidences, (m,), of standardised evidence (m, names); the first weight is the intercept."""
    score = np.einsum("ij,j->i", evidence, weights[1:]) + weights[0]
    return np.asarray(1 / (1 + np.exp(-np.clip(score, -30, 30))))


def fit(
    evidence: Matrix, right: NDArray[np.bool_], count: Vector, prior: Vector, strength: float
) -> Vector:
    """The likeliest weights, the intercept first, pulled towards a prior.

    Args:
        evidence: standardised, float64 (m, names).
        right: bool (m,).
        count: how often each counts, (m,).
        prior: mean of the weights' prior, (1 + names,).
        strength: inverse of its variance; the intercept's prior is wide.
    """
    from scipy.optimize import minimize

    pull = np.full(len(prior), strength)
    pull[0] = 0.01 * strength
    signs = np.where(right, 1.0, -1.0)

    def loss(weights: Vector) -> tuple[float, Vector]:
        margin = signs * (evidence @ weights[1:] + weights[0])
        away = weights - prior
        slope = -count * signs / (1 + np.exp(np.clip(margin, -30, 30)))
        gradient = np.concatenate([[slope.sum()], evidence.T @ slope])
        return (
            float((count * np.logaddexp(0, -margin)).sum() + (pull * away * away).sum() / 2),
            gradient + pull * away,
        )

    return np.asarray(minimize(loss, prior, jac=True, method="L-BFGS-B").x)
