"""One-to-one assignment: nothing twice, and never worth less than what greed makes of it."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aparella.workers.assignment import assign

CANDIDATES = st.dictionaries(
    st.tuples(st.integers(0, 12), st.integers(100, 112)),
    st.integers(1, 1_000_000).map(lambda n: n / 1_000_000),
    max_size=80,
)


def arrays(
    found: dict[tuple[int, int], float],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    pairs = np.array(list(found), dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1], np.array(list(found.values()))


def greedy(found: dict[tuple[int, int], float]) -> float:
    lines, targets, total = set(), set(), 0.0
    for (line, target), worth in sorted(found.items(), key=lambda one: -one[1]):
        if line not in lines and target not in targets:
            lines.add(line)
            targets.add(target)
            total += worth
    return total


@given(CANDIDATES)
@settings(deadline=None, max_examples=80)
def test_nothing_twice_and_never_below_greed(found: dict[tuple[int, int], float]) -> None:
    lines, targets, weights = arrays(found)
    chosen = assign(lines, targets, weights)
    assert len(set(lines[chosen].tolist())) == chosen.sum()
    assert len(set(targets[chosen].tolist())) == chosen.sum()
    assert weights[chosen].sum() >= greedy(found) - 1e-9
    # A line is left without only where all its candidates are taken.
    left = ~np.isin(lines, lines[chosen])
    assert np.isin(targets[left], targets[chosen]).all()


@given(CANDIDATES, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=30)
def test_the_order_of_candidates_is_nothing(
    found: dict[tuple[int, int], float], luck: st.DataObject
) -> None:
    mixed = list(found.items())
    luck.shuffle(mixed)  # type: ignore[attr-defined]
    results = []
    for some in (found, dict(mixed)):
        lines, targets, weights = arrays(some)
        chosen = assign(lines, targets, weights)
        results.append(set(zip(lines[chosen].tolist(), targets[chosen].tolist(), strict=True)))
    assert results[0] == results[1]


def test_a_line_gives_way_where_it_has_another() -> None:
    # Greed: (0, 7) and nothing for line 1. Together: 0.8 + 0.85.
    lines, targets = np.array([0, 0, 1]), np.array([7, 8, 7])
    assert assign(lines, targets, np.array([0.9, 0.8, 0.85])).tolist() == [False, True, True]
