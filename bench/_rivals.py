"""What `bench._fusion` is compared with: gradient boosting, and lines reviewed in another order.

For its options `--boost` and `--review`. Training halves only, tried on each fifth in turn.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.isotonic import IsotonicRegression

from aparella.workers.features.abbreviations import Abbreviations
from aparella.workers.fusion.candidates import Candidates
from aparella.workers.fusion.learning import Known, learn
from aparella.workers.fusion.model import Fusion
from bench._fusion import Set, applied, part, show, together

TREES = {
    "default": {},
    "small": {"max_leaf_nodes": 6, "learning_rate": 0.05, "max_iter": 150, "l2_regularization": 5},
}
"""Settings of the trees: scikit-learn's, and what suits some hundred queries better."""
REVIEWED = (50, 100, 200, 400)
_BLOCK = 32


def boosted(one: Set, others: Sequence[Set]) -> None:
    """Trees in place of the conditional logit, on the same features."""
    for name in TREES:
        elsewhere = together(others)
        trees = _fit(name, elsewhere)
        sure, right = _firsts(one.known, trees, _calibrated(name, elsewhere))
        show(f"{one.name}: trees ({name}) of the others", sure, right, one.known.queries)
        sure, right = np.empty(one.known.queries), np.zeros(one.known.queries, dtype=bool)
        for fold in range(5):
            mine, tried = part(one.known, one.known.fold != fold), one.known.fold == fold
            found = _firsts(part(one.known, tried), _fit(name, mine), _calibrated(name, mine))
            sure[tried], right[tried] = found
        show(f"{one.name}: trees ({name}) of own pairs", sure, right, one.known.queries)


def reviewed(one: Set, prior: Fusion) -> None:
    """After so many lines looked at: in the order of a review, and at random."""
    known = one.known
    for order in ("review", "random"):
        results = {n: (np.empty(known.queries), np.zeros(known.queries, bool)) for n in REVIEWED}
        counts = dict.fromkeys(REVIEWED, 0)
        for fold in range(5):
            tried = known.fold == fold
            for n, lines in _steps(one, prior, np.flatnonzero(~tried), order):
                rows = np.zeros(known.queries, dtype=bool)
                rows[lines] = True
                fusion = learn(part(known, rows), prior, Abbreviations(), {})
                sure, right = applied(replace(one, known=part(known, tried)), fusion)
                results[n][0][tried], results[n][1][tried] = sure, right
                counts[n] = len(lines)
        for n, (sure, right) in results.items():
            show(f"{one.name}: {order} order, {counts[n]} of {n} lines", sure, right, known.queries)


def _steps(
    one: Set, prior: Fusion, pool: NDArray[np.int64], order: str
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Lines looked at so far, after each step; a model learnt from them orders the next ones."""
    done = np.empty(0, dtype=np.int64)
    left = np.random.default_rng(0).permutation(pool)
    fusion = prior
    for n in REVIEWED:
        if order == "review":
            left = _queue(one, fusion, left)
        step = min(n, len(pool)) - len(done)
        done, left = np.concatenate([done, left[:step]]), left[step:]
        yield n, done
        if order == "review" and n != REVIEWED[-1]:
            rows = np.zeros(one.known.queries, dtype=bool)
            rows[done] = True
            fusion = learn(part(one.known, rows), prior, Abbreviations(), {})


def _queue(one: Set, fusion: Fusion, lines: NDArray[np.int64]) -> NDArray[np.int64]:
    """As `db/review.py` orders: confidence nearest to a half; in each block, new records first."""
    known = one.known
    rows = np.zeros(known.queries, dtype=bool)
    rows[lines] = True
    some = part(known, rows)
    first = _first_pairs(some, fusion.utilities(some.features))
    sure, _ = applied(replace(one, known=some), fusion)
    order = np.argsort(np.abs(sure - 0.5), kind="stable")
    queue: list[int] = []
    for start in range(0, len(order), _BLOCK):
        seen: dict[int, int] = {}
        turns = []
        for place, line in enumerate(order[start : start + _BLOCK].tolist()):
            record = int(some.candidates.row[first[line]])
            seen[record] = seen.get(record, 0) + 1
            turns.append((seen[record], place, line))
        queue += [line for _, _, line in sorted(turns)]
    return np.flatnonzero(rows)[queue]


def _first_pairs(known: Known, utility: NDArray[np.float64]) -> NDArray[np.int64]:
    """The place of each query's best candidate; every query has some."""
    found: Candidates = known.candidates
    order = np.lexsort((found.row, -utility, found.query))
    return np.asarray(order[found.starts])


def _fit(name: str, known: Known) -> HistGradientBoostingClassifier:
    trees = HistGradientBoostingClassifier(random_state=0, **TREES[name])
    weight = known.weight[known.candidates.query]
    return trees.fit(known.features, known.right, sample_weight=weight)


def _calibrated(name: str, known: Known) -> IsotonicRegression:
    """From the trees' probability of a first candidate to how often that was right, out of fold."""
    sure, right = np.empty(known.queries), np.zeros(known.queries)
    for fold in np.unique(known.fold):
        tried = known.fold == fold
        unseen = part(known, tried)
        chance = _fit(name, part(known, ~tried)).predict_proba(unseen.features)[:, 1]
        pairs = _first_pairs(unseen, chance)
        sure[tried], right[tried] = chance[pairs], unseen.right[pairs]
    return IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(sure, right)


def _firsts(
    known: Known, trees: HistGradientBoostingClassifier, calibration: IsotonicRegression
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    chance = trees.predict_proba(known.features)[:, 1]
    pairs = _first_pairs(known, chance)
    return calibration.predict(chance[pairs]), known.right[pairs]
