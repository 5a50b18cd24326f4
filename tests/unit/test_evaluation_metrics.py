import json
from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aparella.workers.evaluation.metrics import (
    METRICS,
    OTHER,
    Figures,
    Report,
    figures,
    outcomes,
    report,
    resample,
)
from aparella.workers.evaluation.ranks import Ranked


def first(rank: int) -> Ranked:
    return Ranked((rank,), 1)


@pytest.mark.parametrize(
    ("ranked", "expected"),
    [
        (None, (0, 0, 0, 0, 0)),
        (first(1), (1, 1, 1, 1, 1)),
        (first(2), (0, 1, 1, 1 / 2, 1 / log2(3))),
        (first(5), (0, 1, 1, 1 / 5, 1 / log2(6))),
        (first(6), (0, 0, 1, 1 / 6, 1 / log2(7))),
        (first(10), (0, 0, 1, 1 / 10, 1 / log2(11))),
        (first(11), (0, 0, 0, 0, 0)),
        (Ranked((1, 2), 2), (1, 1, 1, 1, 1)),
        (Ranked((1, 3, 40), 4), (1, 1, 1, 1, 1.5 / (1 + 1 / log2(3) + 1 / 2 + 1 / log2(5)))),
        (Ranked(tuple(range(1, 31)), 30), (1, 1, 1, 1, 1)),
    ],
)
def test_what_a_query_contributes(ranked: Ranked | None, expected: tuple[float, ...]) -> None:
    assert outcomes([ranked])[0] == pytest.approx(expected)


@given(st.lists(st.none() | st.builds(first, st.integers(1, 30)), min_size=1, max_size=50))
def test_intervals_hold_the_mean(ranks: list[Ranked | None]) -> None:
    found = figures(ranks, 100)
    for name, value in found.items():
        assert 0 <= value.low <= value.value <= value.high <= 1 + 1e-12, name
    assert [name for name, _ in found.items()] == list(METRICS)
    assert (found.queries, found.records) == (len(ranks), 100)
    assert found == figures(ranks, 100)


def test_the_interval_is_as_wide_as_theory_says() -> None:
    found = figures([first(1)] * 320 + [first(2)] * 80, 1_000).acc_1
    half = 1.96 * (0.8 * 0.2 / 400) ** 0.5
    assert (found.value, found.low, found.high) == pytest.approx(
        (0.8, 0.8 - half, 0.8 + half), abs=0.006
    )


def test_resamples_do_not_hang_on_how_they_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).random((30, 2))
    whole = resample(values)
    assert whole.shape == (1_000, 2)
    monkeypatch.setattr("aparella.workers.evaluation.metrics._COUNTS", 100)
    np.testing.assert_allclose(resample(values), whole)


def test_small_categories_are_pooled_and_it_says_so() -> None:
    ranks = [first(1)] * 25 + [first(2)] * 20 + [first(3)] * 6
    names = ["B"] * 25 + ["A"] * 20 + ["C", "C", "D", None, None, OTHER]
    found = report(ranks, 9, names)
    assert [(name, f.queries) for name, f in found.by_category.items()] == [
        ("A", 20),
        ("B", 25),
        (OTHER, 6),
    ]
    assert found.by_category["A"].acc_1.value == 0
    assert found.note is not None
    assert "6 lines" in found.note
    assert "2 categories with fewer than 20" in found.note


def test_no_category_is_large_enough() -> None:
    found = report([first(1)] * 3, 9, ["A", "B", None])
    assert found.by_category == {}
    assert found.note is not None
    assert report([first(1)] * 3, 9).note is None


def test_a_report_survives_json() -> None:
    found = report([first(1), first(7), None] * 20, 9, ["A", "B", "C"] * 20)
    assert Report.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert Figures.from_json(found.overall.to_json()) == found.overall
    assert str(found.overall.acc_1).startswith("0.333 [")


def test_there_must_be_queries() -> None:
    with pytest.raises(ValueError, match="no query"):
        figures([], 5)
    with pytest.raises(ValueError, match="1 queries, categories of 2"):
        report([None], 5, ["A", "B"])
