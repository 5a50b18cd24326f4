import json
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from aparella.workers.evaluation.gate import (
    MARGIN,
    TOLERANCE,
    Verdict,
    bound_passes,
    bounds,
    judge,
)
from aparella.workers.evaluation.ranks import Ranked

RIGHT, WRONG = Ranked((1,), 1), Ranked((4,), 1)


Rule = Callable[[int, int, float], bool]
RULES: dict[str, Rule] = {
    "bound >= -0.01": lambda _wins, _losses, low: low >= -MARGIN,
    "difference >= 0": lambda wins, losses, _low: wins >= losses,
    "this rule": bound_passes,
}
DIFFERENCES = (-0.05, -0.03, 0.0, 0.02, 0.05, 0.1)


@cache
def low_of(wins: int, losses: int, n: int) -> float:
    return bounds(wins, losses, n)[0]


def share_that_passes(
    n: int, difference: float, differing: float = 0.1, rule: Rule = bound_passes
) -> float:
    """Of 400 test sets of n lines, where the models truly differ by so much."""
    differing = max(differing, 1.3 * abs(difference))
    chances = [(differing + difference) / 2, (differing - difference) / 2, 1 - differing]
    draws = np.random.default_rng(3).multinomial(n, chances, size=400).tolist()
    return float(np.mean([rule(w, lost, low_of(w, lost, n)) for w, lost, _ in draws]))


@pytest.mark.parametrize("n", [50, 200, 1_000])
@pytest.mark.parametrize("rule", list(RULES))
def test_the_figures_of_the_docstring(n: int, rule: str) -> None:
    line = next(
        line
        for line in (judge.__doc__ or "").splitlines()
        if line.strip().startswith(f"{n:,} ") and rule in line
    )
    expected = [float(figure) for figure in line.split(rule)[1].split()]
    found = [share_that_passes(n, difference, rule=RULES[rule]) for difference in DIFFERENCES]
    # Three standard errors of a share of 400.
    assert found == pytest.approx(expected, abs=0.075)


@pytest.mark.parametrize("n", [20, 50, 200, 1_000])
@pytest.mark.parametrize("differing", [0.06, 0.1, 0.2])
def test_a_worse_model_seldom_passes(n: int, differing: float) -> None:
    assert share_that_passes(n, -TOLERANCE, differing) <= 0.1


@pytest.mark.parametrize("differing", [0.1, 0.2])
def test_a_plainly_better_model_passes(differing: float) -> None:
    assert share_that_passes(50, 0.15, differing) >= 0.9
    assert share_that_passes(100, 0.1, differing) >= 0.9
    assert share_that_passes(200, 0.05, differing) >= 0.85


@pytest.mark.parametrize("n", [50, 300])
def test_the_same_model_passes(n: int) -> None:
    verdict = judge([RIGHT] * n, [RIGHT] * n)
    assert verdict.passed
    assert (verdict.difference, verdict.wins, verdict.losses) == (0, 0, 0)
    assert verdict.sentence.startswith("Not worse than the current model")
    assert verdict.sentence.endswith(
        f"a loss of {-verdict.low * 100:.1f} in 100 lines is the worst to expect."
    )


def test_a_better_model_passes() -> None:
    verdict = judge([RIGHT] * 90 + [WRONG] * 10, [RIGHT] * 70 + [WRONG] * 30)
    assert verdict.passed
    assert (verdict.wins, verdict.losses, verdict.queries) == (20, 0, 100)
    assert (verdict.candidate, verdict.current) == (0.9, 0.7)
    assert verdict.difference == pytest.approx(0.2)
    assert verdict.mrr_difference == pytest.approx(0.2 * 0.75)
    assert 0.1 < verdict.low < 0.2 < verdict.high < 0.3
    assert verdict.mrr_low < verdict.mrr_difference < verdict.mrr_high
    assert verdict.sentence == (
        "Better than the current model: on 100 lines it has 20 right that the current model has "
        "wrong, and 0 wrong that the current one has right, which is no accident."
    )


def test_a_worse_model_does_not_pass() -> None:
    verdict = judge([RIGHT] * 70 + [None] * 30, [RIGHT] * 90 + [WRONG] * 10)
    assert not verdict.passed
    assert verdict.sentence.startswith("Worse than the current model")


def test_too_few_lines_are_said_to_be_too_few() -> None:
    verdict = judge([RIGHT] * 20, [RIGHT] * 20)
    assert not verdict.passed
    assert verdict.sentence.startswith("Too few lines to tell")


def test_a_hair_of_loss_on_many_lines_passes() -> None:
    verdict = judge([RIGHT] * 9_980 + [WRONG] * 20, [RIGHT] * 10_000)
    assert verdict.passed
    assert verdict.difference == -0.002


def test_a_verdict_survives_json() -> None:
    verdict = judge([RIGHT, None], [WRONG, RIGHT])
    assert Verdict.from_json(json.loads(json.dumps(verdict.to_json()))) == verdict


def test_lines_must_be_the_same() -> None:
    with pytest.raises(ValueError, match="1 lines of the candidate, 2"):
        judge([RIGHT], [RIGHT, RIGHT])
    with pytest.raises(ValueError, match="no line"):
        judge([], [])
