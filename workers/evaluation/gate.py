"""Whether a candidate model may take the current one's place: not worse, on the same lines."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aparella.workers.evaluation import metrics
from aparella.workers.evaluation.ranks import Ranked

MARGIN = 0.01
"""A loss in acc@1 that nobody would notice: one line in a hundred."""
TOLERANCE = 0.04
"""The loss that must be ruled out where the candidate did no worse on the lines at hand."""
CONFIDENCE = 0.95
"""Of the one-sided interval."""

RESAMPLES = 10_000

RULE = (
    f"acc@1 on the same lines: passes if the one-sided {CONFIDENCE:.0%} bound of the paired "
    f"difference is at least -{MARGIN:.2f}, or if the difference is at least 0 and the bound at "
    f"least -{TOLERANCE:.2f}"
)
"""For the verdict's reader; `bound_passes` is the same in code."""


@dataclass(frozen=True)
class Verdict:
    """What the gate says about a candidate.

    Attributes:
        passed: whether it may be promoted without force.
        difference: acc@1 of the candidate less that of the current model, -1 to 1.
        low: one-sided 95 % lower bound of `difference`; the rule looks at this.
        high: one-sided 95 % upper bound. Together they are a 90 % interval.
        mrr_difference: the same of mrr@10, for information.
        mrr_low: lower bound of `mrr_difference`.
        mrr_high: upper bound of `mrr_difference`.
        candidate: acc@1 of the candidate.
        current: acc@1 of the current model.
        wins: lines that only the candidate has right.
        losses: lines that only the current model has right.
        queries: lines that both were tested on.
        rule: the rule and its numbers.
        sentence: the verdict in one sentence for the user.
    """

    passed: bool
    difference: float
    low: float
    high: float
    mrr_difference: float
    mrr_low: float
    mrr_high: float
    candidate: float
    current: float
    wins: int
    losses: int
    queries: int
    rule: str
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """Numbers and strings only."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Verdict":
        """What `to_json` gave, again.

        Raises:
            TypeError: fields are missing, or are not known.
        """
        return cls(**data)


def judge(candidate: Sequence[Ranked | None], current: Sequence[Ranked | None]) -> Verdict:
    """Compare two models by a paired bootstrap over the lines that both were tested on.

    The rule must work from a few dozen lines to many thousands. Two plain ones do not: "bound >=
    -0.01" alone blocks most good candidates on small sets, since an interval of 50 lines is wide;
    "difference >= 0" alone is a coin that lets worse ones through. So the second is allowed, but
    only where the lines rule out a loss of `TOLERANCE`. Shares that pass, simulated, where the
    models differ on a tenth of the lines (or 1.3 times the true difference, if that is more):

    ======  ===================  =====  =====  =====  =====  =====  =====
    lines   true difference:     -0.05  -0.03   0.00   0.02   0.05   0.10
    ======  ===================  =====  =====  =====  =====  =====  =====
    50      bound >= -0.01        0.01   0.02   0.07   0.14   0.34   0.74
    50      difference >= 0       0.17   0.32   0.58   0.74   0.92   0.99
    50      this rule             0.04   0.09   0.24   0.40   0.67   0.94
    200     bound >= -0.01        0.00   0.01   0.13   0.41   0.89   1.00
    200     difference >= 0       0.01   0.10   0.53   0.85   0.99   1.00
    200     this rule             0.01   0.10   0.53   0.84   0.99   1.00
    1,000   bound >= -0.01        0.00   0.00   0.27   0.93   1.00   1.00
    1,000   difference >= 0       0.00   0.00   0.52   0.98   1.00   1.00
    1,000   this rule             0.00   0.00   0.52   0.98   1.00   1.00
    ======  ===================  =====  =====  =====  =====  =====  =====

    Of 2,000 sets each; the unit tests draw them again. A model that is `TOLERANCE` worse passes
    in at most 8 of 100 cases, on however few lines and however many they differ on (simulated:
    20 to 500 lines, 6 to 20 % differing).

    The lines count as independent of each other. Where many lines share few targets they are
    not, and the interval is narrower than it should be.

    Args:
        candidate: ranks of the candidate, one for each line; None counts as wrong.
        current: ranks of the current model for the same lines in the same order.

    Raises:
        ValueError: the lengths differ, or there is no line.
    """
    if len(candidate) != len(current):
        raise ValueError(f"{len(candidate)} lines of the candidate, {len(current)} of the current")
    if not candidate:
        raise ValueError("There is no line to compare the models on.")
    first, second = metrics.outcomes(candidate), metrics.outcomes(current)
    n = len(first)
    hits = first[:, 0] - second[:, 0]
    wins, losses = int((hits > 0).sum()), int((hits < 0).sum())
    low, high = bounds(wins, losses, n)
    column = metrics.METRICS.index("mrr@10")
    mrr = (first - second)[:, column : column + 1]
    tails = [1 - CONFIDENCE, CONFIDENCE]
    mrr_low, mrr_high = np.quantile(metrics.resample(mrr)[:, 0], tails).tolist()
    difference = (wins - losses) / n
    passed = bound_passes(wins, losses, low)
    return Verdict(
        passed=passed,
        difference=difference,
        low=low,
        high=high,
        mrr_difference=float(mrr.mean()),
        mrr_low=mrr_low,
        mrr_high=mrr_high,
        candidate=float(first[:, 0].mean()),
        current=float(second[:, 0].mean()),
        wins=wins,
        losses=losses,
        queries=n,
        rule=RULE,
        sentence=_sentence(passed, wins, losses, n, low),
    )


def bounds(wins: int, losses: int, n: int) -> tuple[float, float]:
    """One-sided bounds of the difference in acc@1, by a paired bootstrap.

    A line adds 1 (a win), -1 (a loss) or 0 to the difference, so a resample of the lines is one
    draw of how often each of the three occurs, whatever the number of lines. One win and one loss
    are added beforehand (Bonett and Price, Journal of Educational and Behavioral Statistics
    37(4), 2012, do so for paired proportions): else 50 lines with one win and no loss would
    "prove" that no loss is possible.

    Args:
        wins: lines that only the candidate has right.
        losses: lines that only the current model has right.
        n: all lines.

    Returns:
        The lower and the upper bound, each with a confidence of `CONFIDENCE`.
    """
    total = n + 2
    share = np.array([wins + 1, losses + 1, n - wins - losses]) / total
    draws: NDArray[np.int64] = np.random.default_rng(metrics.SEED).multinomial(
        total, share, size=RESAMPLES
    )
    differences = (draws[:, 0] - draws[:, 1]) / total
    low, high = np.quantile(differences, [1 - CONFIDENCE, CONFIDENCE]).tolist()
    return low, high


def bound_passes(wins: int, losses: int, low: float) -> bool:
    """The rule: see `RULE`, and `judge` for why."""
    return low >= -MARGIN or (wins >= losses and low >= -TOLERANCE)


def _sentence(passed: bool, wins: int, losses: int, n: int, low: float) -> str:
    """The verdict for the user."""
    seen = (
        f"on {n} lines it has {wins} right that the current model has wrong, and {losses} wrong "
        f"that the current one has right"
    )
    loss = f"a loss of {-low * 100:.1f} in 100 lines"
    if passed and low >= 0:
        return f"Better than the current model: {seen}, which is no accident."
    if passed:
        return f"Not worse than the current model: {seen}; {loss} is the worst to expect."
    if losses > wins:
        return (
            f"Worse than the current model, or not shown to be as good: {seen}. "
            "Look at the lines that it lost, or train with more pairs."
        )
    return (
        f"Too few lines to tell: {seen}, so {loss} cannot be ruled out. "
        "Add pairs so that more lines can be held out, or promote by force with a reason."
    )
