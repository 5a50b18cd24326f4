"""Figures of a ranking with their confidence intervals, as a whole and by category."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aparella.workers.evaluation.ranks import Ranked

Floats: TypeAlias = NDArray[np.float64]

METRICS = ("acc@1", "acc@5", "hit@10", "mrr@10", "ndcg@10")
"""In the order of the columns that `outcomes` gives."""

RESAMPLES = 1_000
CONFIDENCE = 0.95
SEED = 20_260
"""Of every bootstrap: the same ranks have the same interval wherever they are looked at."""

MIN_CATEGORY = 20
"""Queries that a category needs for figures of its own."""
OTHER = "other"
"""The category of the rest: too small, or without a category."""

_COUNTS = 2_000_000
"""Draws at a time: 16 MB each for them and for their counts."""


@dataclass(frozen=True)
class Value:
    """A mean over queries, 0 to 1, and its confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Figures:
    """How well a search finds the right records.

    Attributes:
        acc_1: share of queries whose first record is right (acc@1).
        acc_5: share with a right record among the first 5 (acc@5).
        hit_10: share with a right record among the first 10 (hit@10).
        mrr_10: mean of 1 / rank of the first right record, 0 below rank 10 (MRR@10; Craswell,
            "Mean Reciprocal Rank", Encyclopedia of Database Systems, 2009).
        ndcg_10: normalised discounted cumulative gain of the first 10 with a gain of 1 for a
            right record and a discount of log2(rank + 1) (Järvelin and Kekäläinen, ACM TOIS
            20(4), 2002).
        queries: how many queries the means are over.
        records: how many catalogue records were candidates for each.
    """

    acc_1: Value
    acc_5: Value
    hit_10: Value
    mrr_10: Value
    ndcg_10: Value
    queries: int
    records: int

    def items(self) -> Iterator[tuple[str, Value]]:
        """The metrics by their names, in the order of `METRICS`."""
        for name, field in zip(METRICS, fields(self), strict=False):
            yield name, getattr(self, field.name)

    def to_json(self) -> dict[str, Any]:
        """Numbers and dicts only."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Figures":
        """What `to_json` gave, again.

        Raises:
            KeyError: a field is missing.
            TypeError: a value has other fields.
        """
        values = {f.name: Value(**data[f.name]) for f in fields(cls)[: len(METRICS)]}
        return cls(**values, queries=data["queries"], records=data["records"])


@dataclass(frozen=True)
class Report:
    """Figures as a whole and by category.

    Attributes:
        overall: over all queries.
        by_category: of each category with enough queries, by name; the rest as `OTHER`, last.
            Empty where no category has enough.
        note: a sentence on what was pooled; None if nothing was.
    """

    overall: Figures
    by_category: dict[str, Figures]
    note: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Numbers, strings and dicts only; the categories in order."""
        return {
            "overall": self.overall.to_json(),
            "by_category": [[name, f.to_json()] for name, f in self.by_category.items()],
            "note": self.note,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Report":
        """What `to_json` gave, again; raises as `Figures.from_json` does."""
        return cls(
            Figures.from_json(data["overall"]),
            {name: Figures.from_json(figures) for name, figures in data["by_category"]},
            data["note"],
        )


def outcomes(ranks: Sequence[Ranked | None]) -> Floats:
    """What each query contributes to each metric.

    Args:
        ranks: as `ranks.rank` gives them; None counts as wrong.

    Returns:
        float64 (queries, len(METRICS)), 0 to 1.
    """
    gains = 1 / np.log2(np.arange(2, 12))
    ideal = np.cumsum(gains)
    result = np.zeros((len(ranks), len(METRICS)))
    for row, ranked in zip(result, ranks, strict=True):
        if ranked is None or ranked.best > 10:
            continue
        found = np.array([rank for rank in ranked.ranks if rank <= 10])
        row[:] = (
            ranked.best == 1,
            ranked.best <= 5,
            1,
            1 / ranked.best,
            gains[found - 1].sum() / ideal[min(ranked.right, 10) - 1],
        )
    return result


def resample(values: Floats, resamples: int = RESAMPLES, seed: int = SEED) -> Floats:
    """Means of `values` over queries drawn with replacement (Efron's bootstrap).

    Args:
        values: float64 (queries, columns); the columns of a query are drawn together.
        resamples: how many times to draw as many queries as there are.
        seed: of the draws.

    Returns:
        float64 (resamples, columns).

    Raises:
        ValueError: there is no query.
    """
    n = len(values)
    if not n:
        raise ValueError("There is no query to draw from.")
    rng = np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]))
    step = max(1, _COUNTS // n)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        draws = rng.integers(0, n, (rows, n)) + np.arange(rows)[:, None] * n
        # How often each query was drawn; then all means of the tile are one matrix product.
        counts = np.bincount(draws.ravel(), minlength=rows * n).reshape(rows, n)
        means[start : start + rows] = counts @ values / n
    return means


def figures(ranks: Sequence[Ranked | None], records: int, seed: int = SEED) -> Figures:
    """Compute the figures of a ranking.

    The intervals are percentile-bootstrap ones over queries (Efron and Tibshirani, An
    Introduction to the Bootstrap, 1993, chapter 13). Where all queries are right, or all wrong,
    such an interval has no width: it says nothing about what was not seen.

    Args:
        ranks: one for each query, at least one.
        records: number of catalogue records that were candidates.
        seed: of the draws.

    Raises:
        ValueError: there is no query.
    """
    values = outcomes(ranks)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resample(values, seed=seed), [tail, 1 - tail], axis=0)
    mean = values.mean(axis=0)
    columns = [
        # A mean may miss its bounds by the last bits only.
        Value(float(m), float(min(a, m)), float(max(b, m)))
        for m, a, b in zip(mean, low, high, strict=True)
    ]
    return Figures(
        acc_1=columns[0],
        acc_5=columns[1],
        hit_10=columns[2],
        mrr_10=columns[3],
        ndcg_10=columns[4],
        queries=len(values),
        records=records,
    )


def report(
    ranks: Sequence[Ranked | None],
    records: int,
    categories: Sequence[str | None] | None = None,
    min_queries: int = MIN_CATEGORY,
    seed: int = SEED,
) -> Report:
    """Compute the figures as a whole and by category.

    Args:
        ranks: one for each query, at least one.
        records: number of catalogue records that were candidates.
        categories: of each query, None for none. A category that is called `OTHER` is pooled.
        min_queries: queries that a category needs for figures of its own.
        seed: of the draws.

    Raises:
        ValueError: there is no query, or the lengths differ.
    """
    overall = figures(ranks, records, seed)
    if categories is None:
        return Report(overall, {})
    if len(categories) != len(ranks):
        raise ValueError(f"{len(ranks)} queries, categories of {len(categories)}")
    counts = Counter(name for name in categories if name not in (None, OTHER))
    large = sorted(name for name, n in counts.items() if n >= min_queries)
    if not large:
        return Report(
            overall, {}, f"No category has {min_queries} lines, enough for figures of its own."
        )
    members: dict[str, list[Ranked | None]] = {name: [] for name in [*large, OTHER]}
    for name, ranked in zip(categories, ranks, strict=True):
        members[OTHER if name is None or name not in members else name].append(ranked)
    note = None
    if pooled := len(members[OTHER]):
        note = (
            f"{OTHER!r} pools {pooled} lines: those of {len(counts) - len(large)} categories with "
            f"fewer than {min_queries} lines each, and those without a category."
        )
    return Report(
        overall,
        {name: figures(part, records, seed) for name, part in members.items() if part},
        note,
    )
