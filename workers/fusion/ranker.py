"""Which candidate of a query is the right one: a conditional logit over its candidates.

Each candidate has a utility, the weighted sum of its features; the probability that it is the
right one is the softmax of the utilities of the query's candidates (McFadden, "Conditional logit
analysis of qualitative choice behavior", 1974). Weights are those that make the known answers
likeliest, pulled towards a prior by a normal distribution around it, and held to the sign that a
feature's meaning gives (`evidence.FEATURES`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aparella.workers.fusion.candidates import Candidates
from aparella.workers.fusion.evidence import FEATURES, Matrix

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Examples:
    """Queries whose answers are known.

    Attributes:
        candidates: of all queries, n pairs.
        features: standardised, float64 (n, features).
        right: whether a candidate is right, bool (n,); several of a query may be.
        weight: of each query, float64 (queries,).
    """

    candidates: Candidates
    features: Matrix
    right: NDArray[np.bool_]
    weight: Vector

    def of(self, queries: NDArray[np.bool_]) -> "Examples":
        """Those of some queries, given as bool (queries,)."""
        kept = queries[self.candidates.query]
        return Examples(
            self.candidates.where(kept), self.features[kept], self.right[kept], self.weight
        )


def utilities(features: Matrix, weights: Vector) -> Vector:
    """Weighted sums, (n,); the same bits for a candidate whatever the others are."""
    # Not a matrix product: BLAS may add up in another order for another number of rows.
    return np.asarray(np.einsum("ij,j->i", features, weights))


def probabilities(utility: Vector, candidates: Candidates) -> Vector:
    """The softmax over each query's candidates, (n,)."""
    starts = candidates.starts
    lengths = np.diff(np.append(starts, len(utility)))
    highest = np.repeat(np.maximum.reduceat(utility, starts), lengths)
    grown = np.exp(utility - highest)
    return np.asarray(grown / np.repeat(np.add.reduceat(grown, starts), lengths))


def fit(examples: Examples, prior: Vector, strength: float) -> Vector:
    """The likeliest weights.

    Args:
        examples: a query without a right candidate tells nothing and is left out.
        prior: mean of the weights' prior, (features,).
        strength: inverse of its variance; infinity gives the prior itself.
    """
    from scipy.optimize import minimize

    starts = examples.candidates.starts
    lengths = np.diff(np.append(starts, len(examples.right)))
    known = np.repeat(np.add.reduceat(examples.right.astype(np.int64), starts) > 0, lengths)
    if not np.isfinite(strength) or not known.any():
        return prior
    candidates, features = examples.candidates.where(known), examples.features[known]
    right = examples.right[known].astype(np.float64)
    starts = candidates.starts
    lengths = np.diff(np.append(starts, len(right)))
    per_query = examples.weight[candidates.query[starts]]
    per_pair = np.repeat(per_query, lengths)

    def loss(weights: Vector) -> tuple[float, Vector]:
        utility = features @ weights
        among_right = np.where(right > 0, utility, -np.inf)
        chance, wanted = probabilities(utility, candidates), probabilities(among_right, candidates)
        missed = _log_sums(utility, starts, lengths) - _log_sums(among_right, starts, lengths)
        away = weights - prior
        return (
            float((per_query * missed).sum() + strength / 2 * away @ away),
            features.T @ ((chance - wanted) * per_pair) + strength * away,
        )

    bounds = [(0 if sign > 0 else None, 0 if sign < 0 else None) for sign in FEATURES.values()]
    return np.asarray(minimize(loss, prior, jac=True, method="L-BFGS-B", bounds=bounds).x)


def _log_sums(values: Vector, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Vector:
    """Ln of the sum of exponentials of each query's values, without overflow."""
    highest = np.maximum.reduceat(values, starts)
    grown = np.exp(values - np.repeat(highest, lengths))
    return np.asarray(highest + np.log(np.add.reduceat(grown, starts)))


def scale(examples: Examples, weights: Vector) -> float:
    """The number that weights are best multiplied with, 0.2 to 5."""
    from scipy.optimize import minimize_scalar

    def loss(logarithm: float) -> float:
        return float(surprise(examples, weights * np.exp(logarithm)).sum())

    bound = np.log(5.0)
    return float(np.exp(minimize_scalar(loss, bounds=(-bound, bound), method="bounded").x))


def surprise(examples: Examples, weights: Sequence[float] | Vector) -> Vector:
    """-ln of the probability given to the right candidates, for each query that has one."""
    chance = probabilities(utilities(examples.features, np.asarray(weights)), examples.candidates)
    starts = examples.candidates.starts
    known = np.add.reduceat(examples.right.astype(np.int64), starts) > 0
    found = np.add.reduceat(chance * examples.right, starts)[known]
    return np.asarray(-np.log(np.maximum(found, 1e-12)))
