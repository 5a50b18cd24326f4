"""Learning a fusion from known pairs, starting from one that others have taught."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aparella.category import ATTRIBUTES
from aparella.workers.features.abbreviations import Abbreviations
from aparella.workers.fusion import categories, confidence, ranker
from aparella.workers.fusion.candidates import Candidates
from aparella.workers.fusion.categories import Categories
from aparella.workers.fusion.confidence import ABSENT, Firsts, firsts
from aparella.workers.fusion.evidence import Matrix, relate
from aparella.workers.fusion.model import Fusion
from aparella.workers.fusion.promise import Trials
from aparella.workers.fusion.ranker import Examples, Vector

STRENGTHS = (1.0, 5.0, 20.0, 80.0, 320.0, np.inf)
"""How strongly the prior holds, from which cross-validation chooses; infinity learns nothing."""
FIRST_STRENGTH = 1.0
MIN_QUERIES = 20
"""Queries with a right candidate below which nothing is learnt."""
MIN_RANKED = 50
"""Those below which the ranker's weights stay the prior's: so few cannot show that others are
better, and mislead as often (docs/matching.md)."""


@dataclass(frozen=True)
class Known:
    """Queries whose right records are known.

    Attributes:
        candidates: n pairs; queries are numbered from 0 to `queries` - 1.
        features: as `evidence.matrix` gives them; `cosine` by a model that has not seen the
            query's pairs.
        right: bool (n,).
        queries: how many, those without candidates too.
        fold: of each query, int64 (queries,): queries of one fold are never learnt from when one
            of them is tried.
        weight: of each query, (queries,).
        category: of each pair's record, (n,), None where it has none; None: none has.
        attributes: that records' categories were taken from.
    """

    candidates: Candidates
    features: Matrix
    right: NDArray[np.bool_]
    queries: int
    fold: NDArray[np.int64]
    weight: Vector
    category: Sequence[str | None] | None = None
    attributes: tuple[str, ...] = ATTRIBUTES


def learn(
    known: Known,
    prior: Fusion,
    abbreviations: Abbreviations,
    learnt_from: Mapping[str, Any],
    strengths: tuple[float, ...] = STRENGTHS,
    first_strength: float = FIRST_STRENGTH,
    absent: float = ABSENT,
) -> Fusion:
    """Learn a fusion: the ranker's weights, then how sure its first candidates are.

    The strength of the prior is the greatest under which the answers to queries not learnt from
    surprise no more than under the best one, by a standard error: so a few pairs move little or
    nothing, and useless ones nothing. The confidence learns from answers that the ranker gave to
    queries it had not learnt from, and is tried likewise.

    Args:
        known: the queries.
        prior: what is known without them; keeps its standardisation.
        abbreviations: with which the features were computed.
        learnt_from: noted with it.
        strengths: to choose from.
        first_strength: how strongly the prior of the confidence's weights holds.
        absent: share of lines that are taken to have no counterpart.
    """
    starts = known.candidates.starts
    answered = np.zeros(known.queries, dtype=bool)
    answered[known.candidates.query[starts]] = (
        np.add.reduceat(known.right.astype(np.int64), starts) > 0 if len(starts) else False
    )
    noted = {**learnt_from, "queries": known.queries, "found": int(answered.sum())}
    if answered.sum() < MIN_QUERIES:
        return replace(prior, abbreviations=abbreviations, learnt_from=noted, trials=Trials())
    examples = Examples(
        known.candidates, prior.standardised(known.features), known.right, known.weight
    )
    if answered.sum() < MIN_RANKED:
        strengths = (np.inf,)
    tried = {strength: _tried(examples, known.fold, prior, strength) for strength in strengths}
    strength = _strongest({one: surprises for one, (surprises, _) in tried.items()})
    by_fold = tried[strength][1]
    weights = ranker.fit(examples, prior.weights, strength)
    first_weights, offsets, trials = _confidence(known, prior, by_fold, first_strength, absent)
    return replace(
        prior,
        weights=weights,
        first_weights=first_weights,
        abbreviations=abbreviations,
        categories=Categories(known.attributes, offsets),
        trials=trials,
        learnt_from={**noted, "prior_strength": None if np.isinf(strength) else strength},
    )


def _strongest(surprises: Mapping[float, Vector]) -> float:
    """The greatest strength whose surprises (queries,) exceed the best one's by no more than luck.

    The one-standard-error rule: Breiman, Friedman, Olshen and Stone, "Classification and regression
    trees" (1984), section 3.4.3; of the paired differences.
    """
    best = min(surprises.values(), key=np.mean)
    return max(
        strength
        for strength, found in surprises.items()
        if (found - best).mean() <= (found - best).std() / np.sqrt(len(best))
    )


def _tried(
    examples: Examples, fold: NDArray[np.int64], prior: Fusion, strength: float
) -> tuple[Vector, dict[int, Vector]]:
    """Surprise at answered queries by weights not learnt from their fold, and these by fold.

    Each is scaled as fits the queries learnt from: on an easy list all weights are too small, which
    moves no rank, and is no reason to leave the prior.
    """
    weights: dict[int, Vector] = {}
    surprises = []
    for one in np.unique(fold).tolist():
        learning, trying = examples.of(fold != one), examples.of(fold == one)
        weights[one] = learnt = ranker.fit(learning, prior.weights, strength)
        if len(trying.candidates):
            scaled = learnt * ranker.scale(learning, learnt)
            surprises.append(ranker.surprise(trying, scaled))
    return np.concatenate(surprises), weights


def _confidence(
    known: Known, prior: Fusion, weights: dict[int, Vector], strength: float, share: float
) -> tuple[Vector, dict[str, float], Trials]:
    """The confidence's weights, its corrections, and how sure it was of what it had not seen."""
    without = ~known.right
    fewer, left = known.candidates.where(without), known.features[without].copy()
    relate(left, fewer)
    present = _firsts(known.candidates, known.features, known.fold, prior, weights)
    absent = _firsts(fewer, left, known.fold, prior, weights)
    evidence = np.vstack([present.evidence, absent.evidence])
    evidence = (evidence - prior.first_mean) / prior.first_scale
    right = np.concatenate([known.right[present.pair], np.zeros(len(absent.pair), dtype=bool)])
    query = np.concatenate([present.query, absent.query])
    real = np.arange(len(query)) < len(present.pair)
    count = known.weight[query] * np.where(real, 1.0, share / (1 - share))
    sure = np.empty(len(query))
    for one in np.unique(known.fold).tolist():
        inside = known.fold[query] == one
        learnt = confidence.fit(
            *(evidence[~inside], right[~inside], count[~inside]), *(prior.first_weights, strength)
        )
        sure[inside] = confidence.apply(evidence[inside], learnt)
    offsets: dict[str, float] = {}
    if known.category is not None:
        pair = np.concatenate([present.pair, np.flatnonzero(without)[absent.pair]])
        of = [known.category[one] for one in pair.tolist()]
        offsets, sure = categories.learn(sure, right, count, of, known.fold[query], real)
    trials = Trials(
        tuple(sure[real & right].tolist()),
        tuple(sure[real & ~right].tolist()),
        tuple(sure[~real].tolist()),
    )
    learnt = confidence.fit(evidence, right, count, prior.first_weights, strength)
    return learnt, offsets, trials


def _firsts(
    candidates: Candidates,
    features: Matrix,
    fold: NDArray[np.int64],
    prior: Fusion,
    weights: dict[int, Vector],
) -> Firsts:
    """First candidates by the weights that have not learnt from the query's fold."""
    standardised = prior.standardised(features)
    utility = np.empty(len(candidates))
    for one, learnt in weights.items():
        inside = (fold == one)[candidates.query]
        utility[inside] = ranker.utilities(standardised[inside], learnt)
    return firsts(candidates, features, utility)


def standardisation(first: Firsts) -> tuple[Vector, Vector]:
    """Mean and scale of first candidates' evidence, (names,) each."""
    scale = first.evidence.std(axis=0)
    return first.evidence.mean(axis=0), np.where(scale < 0.05, 0.05, scale)
