"""Whether confidences mean what they say."""

from collections.abc import Sequence
from dataclasses import dataclass

from aparella.workers.fusion.promise import Trials

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Answers whose confidence is in one tenth: how many, how sure on average, how many right."""

    count: int
    confidence: float
    right: float


def diagram(trials: Trials) -> list[Bin]:
    """The reliability diagram: ten bins of equal width, empty ones with count 0."""
    found: list[list[tuple[float, int]]] = [[] for _ in range(BINS)]
    for values, right in ((trials.right, 1), (trials.wrong, 0)):
        for c in values:
            found[min(int(c * BINS), BINS - 1)].append((c, right))
    return [
        Bin(len(one), _mean([c for c, _ in one]), _mean([right for _, right in one]))
        for one in found
    ]


def expected_calibration_error(trials: Trials) -> float:
    """Mean distance of confidence from the share that is right, over the bins by their count.

    Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian
    binning" (2015).
    """
    bins = diagram(trials)
    total = sum(one.count for one in bins)
    return (
        sum(one.count * abs(one.confidence - one.right) for one in bins) / total if total else 0.0
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
