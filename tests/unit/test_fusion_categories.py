"""Confidences corrected by category: where enough is known, and nowhere else."""

import json
from dataclasses import replace

import numpy as np
import pytest

from aparella.category import category
from aparella.workers.fusion.categories import MIN_ANSWERS, Categories, learn
from aparella.workers.fusion.model import Fusion, default
from aparella.workers.fusion.promise import Trials
from aparella.workers.fusion.reliability import expected_calibration_error


def answers(
    each: int, truth: dict[str, float], seed: int = 0
) -> tuple[np.ndarray, np.ndarray, list[str | None]]:
    """All 0.8 sure; how often they are right is said for each category."""
    rng = np.random.default_rng(seed)
    names: list[str | None] = [name for name in truth for _ in range(each)]
    right = rng.random(len(names)) < np.array([truth[name or ""] for name in names])
    return np.full(len(names), 0.8), right, names


def corrected(each: int, truth: dict[str, float]) -> tuple[dict[str, float], np.ndarray]:
    sure, right, names = answers(each, truth)
    n = len(names)
    return learn(sure, right, np.ones(n), names, np.arange(n) % 5, np.ones(n, dtype=bool))


def test_a_hard_category_becomes_less_sure_and_an_easy_one_more() -> None:
    truth = {"prostheses": 0.4, "syringes": 0.98, "gloves": 0.8}
    offsets, sure = corrected(200, truth)
    assert offsets["prostheses"] < -1 < 0 < 1 < offsets["syringes"]
    assert abs(offsets.get("gloves", 0.0)) < 0.5
    assert sure[:200].mean() == pytest.approx(0.4, abs=0.1)
    assert sure[200:400].mean() == pytest.approx(0.98, abs=0.05)
    # And on lines that taught nothing.
    before, right, names = answers(200, truth, seed=1)
    after = Categories(offsets=offsets).corrected(before, names)

    def error(sure: np.ndarray) -> float:
        return expected_calibration_error(Trials(sure[right].tolist(), sure[~right].tolist()))

    assert error(after) < error(before)


def test_too_few_answers_correct_nothing() -> None:
    offsets, sure = corrected(MIN_ANSWERS - 1, {"prostheses": 0.1})
    assert offsets == {}
    assert np.array_equal(sure, np.full(MIN_ANSWERS - 1, 0.8))


def test_what_is_right_as_often_as_it_says_is_left_alone() -> None:
    offsets, _ = corrected(100, {f"c{i}": 0.8 for i in range(20)})
    assert len(offsets) <= 3  # by chance
    assert all(abs(one) < 0.6 for one in offsets.values())


def test_what_has_no_category_is_not_touched_at_all() -> None:
    sure = np.array([0.123456789, 1.0, 0.0])
    known = Categories(offsets={"prostheses": -1.0})
    assert np.array_equal(known.corrected(sure, [None, "gloves", None]), sure)
    assert known.corrected(sure, ["prostheses", None, None])[0] < sure[0]


def test_where_a_category_comes_from() -> None:
    assert category({"family": "XERINGUES", "price": 3}) == "XERINGUES"
    assert category({"family": "XERINGUES"}, ("group",)) is None
    assert category({"category": "", "family": 7}) == "7"
    assert Categories(attributes=("group",)).of({"group": "B", "family": "A"}) == "B"


def test_it_is_kept_with_the_fusion() -> None:
    one = replace(default(), categories=Categories(("group",), {"syringes": 0.25}))
    assert Fusion.from_json(json.loads(json.dumps(one.to_json()))).categories == one.categories
    old = one.to_json()
    del old["categories"]  # as models learnt before
    assert Fusion.from_json(old).categories == Categories()
