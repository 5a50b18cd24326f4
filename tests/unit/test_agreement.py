"""Agreement between people, against figures worked out by hand."""

import pytest

from aparella.workers.evaluation.agreement import between, pairwise


def test_kappa_of_the_textbook() -> None:
    """Cohen's kappa of 20 yes-yes, 15 no-no, 5 yes-no, 10 no-yes: 0.7 observed, 0.5 by chance."""
    pairs = [("y", "y")] * 20 + [("n", "n")] * 15 + [("y", "n")] * 5 + [("n", "y")] * 10
    found = between("a", "b", pairs)
    assert (found.lines, found.agreed, found.share) == (50, 35, 0.7)
    assert found.kappa == pytest.approx(0.4)


def test_one_answer_throughout_has_no_kappa() -> None:
    assert between("a", "b", [("1", "1")] * 3).kappa is None
    assert between("a", "b", [("1", "2")] * 3).kappa == 0


def test_agreement_worse_than_chance_is_negative() -> None:
    assert between("a", "b", [("1", "2"), ("2", "1")]).kappa == pytest.approx(-1)


def test_each_two_people_are_compared_on_their_common_lines() -> None:
    answers = [
        *((1, "anna", "1"), (1, "jordi", "1"), (1, "pau", "2")),
        *((2, "pau", "none"), (2, "anna", "none")),
        (3, "jordi", "1"),
    ]
    assert [(a.first, a.second, a.lines, a.agreed) for a in pairwise(answers)] == [
        ("anna", "jordi", 1, 1),
        ("anna", "pau", 2, 1),
        ("jordi", "pau", 1, 0),
    ]
    assert pairwise([]) == []
