"""From which confidence on answers may be accepted unseen, and what that promises."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ABSENT = 0.1
"""Share of lines without a counterpart that a promise allows for."""
_Z = 2.326
"""Standard normal quantile of a one-sided 99 % bound. The lowest of many thresholds is taken, each
of which may be lucky; a test shows that the promise made so is kept 95 times of 100."""
MIN_TRIALS = 60
"""Known answers below which nothing is promised. For 95 % some 100 are needed, all right."""


@dataclass(frozen=True)
class Trials:
    """Confidences of answers to queries that had not been learnt from.

    Attributes:
        right: confidences of first candidates that were right.
        wrong: of those that were wrong.
        absent: of the first candidates for the same queries with their right records taken away.
    """

    right: Sequence[float] = ()
    wrong: Sequence[float] = ()
    absent: Sequence[float] = ()

    def __len__(self) -> int:
        """Queries."""
        return len(self.right) + len(self.wrong)

    def to_json(self) -> dict[str, list[float]]:
        """As JSON knows it, cut off after 4 decimals: rounded up, a 1 would accept nothing."""
        return {
            name: [math.floor(c * 10_000) / 10_000 for c in sorted(values)]
            for name, values in vars(self).items()
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Trials":
        """From what `to_json` gave."""
        return cls(**{name: tuple(map(float, stored[name])) for name in vars(cls())})


@dataclass(frozen=True)
class Promise:
    """What can be promised of answers that are accepted unseen.

    Attributes:
        precision: the share of right ones that was asked for.
        threshold: the least confidence that is accepted; None: nothing is.
        share: of lines that will be accepted, expected.
        sentence: for people.
    """

    precision: float
    threshold: float | None
    share: float
    sentence: str


def promise(trials: Trials, precision: float) -> Promise:
    """The lowest threshold whose answers are right so often, with 95 % certainty.

    The share of right answers above a threshold is bounded from below by Wilson's interval
    ("Probable inference, the law of succession, and statistical inference", 1927), one in ten
    lines taken to have no counterpart.
    """
    if len(trials) < MIN_TRIALS:
        return Promise(
            *(precision, None, 0.0),
            f"Nothing is accepted unseen: {len(trials)} known answers are too few to promise "
            f"that {precision:.0%} are right; {MIN_TRIALS} or more are needed. "
            "Train on more pairs.",
        )
    absent = ABSENT / (1 - ABSENT) * len(trials) / max(len(trials.absent), 1)
    answers = sorted(
        [(c, 1.0, 1.0) for c in trials.right]
        + [(c, 0.0, 1.0) for c in trials.wrong]
        + [(c, 0.0, absent) for c in trials.absent],
        reverse=True,
    )
    lines = sum(count for _, _, count in answers)
    threshold, accepted, good, taken = None, 0.0, 0.0, 0.0
    for place, (confidence, right, count) in enumerate(answers):
        good += right * count
        taken += count
        tied = place + 1 < len(answers) and answers[place + 1][0] == confidence
        if not tied and lower_bound(good, taken) >= precision:
            threshold, accepted = confidence, taken
    if threshold is None:
        return Promise(
            *(precision, None, 0.0),
            f"Nothing is accepted unseen: by {len(trials)} known answers no confidence promises "
            f"that {precision:.0%} are right. Ask for less, or train on more pairs.",
        )
    return Promise(
        *(precision, threshold, accepted / lines),
        f"Answers of confidence {threshold:.3f} or more are accepted unseen, about "
        f"{accepted / lines:.0%} of the lines: by {len(trials)} known answers, at least "
        f"{precision:.0%} of them are right (95 % certain).",
    )


def lower_bound(right: float, total: float) -> float:
    """Wilson's one-sided 99 % lower bound of a share."""
    if not total:
        return 0.0
    share, z = right / total, _Z * _Z / total
    middle = share + z / 2
    width = _Z * math.sqrt(share * (1 - share) / total + z / total / 4)
    return max(0.0, (middle - width) / (1 + z))
