import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aparella.workers.ranking import Ranking, merge

scored = st.dictionaries(
    st.integers(0, 50), st.sampled_from([-0.5, 0.0, 0.25, 0.999999, 1.0]), max_size=12
)


def ranked(best: dict[int, float], k: int) -> list[tuple[int, float]]:
    """The k best by brute force: by score, equal scores by record id."""
    return sorted(best.items(), key=lambda pair: (-pair[1], pair[0]))[:k]


def ranking(rows: list[dict[int, float]], k: int) -> Ranking:
    """The k best of each row, padded as `matching.top_k` does."""
    ids = np.full((len(rows), k), -1, dtype=np.int64)
    scores = np.full((len(rows), k), np.nan, dtype=np.float32)
    for row, candidates in enumerate(rows):
        for place, (record, score) in enumerate(ranked(candidates, k)):
            ids[row, place], scores[row, place] = record, score
    return ids, scores


@given(st.lists(scored, min_size=1, max_size=4), st.integers(1, 8), st.data())
def test_merging_parts_ranks_as_the_whole(
    rows: list[dict[int, float]], k: int, data: st.DataObject
) -> None:
    in_first = data.draw(st.sets(st.integers(0, 50)))
    first = [{i: s for i, s in row.items() if i in in_first} for row in rows]
    second = [{i: s for i, s in row.items() if i not in in_first} for row in rows]

    ids, scores = merge(ranking(first, k), ranking(second, k), k)

    whole_ids, whole_scores = ranking(rows, k)
    np.testing.assert_array_equal(ids, whole_ids)
    np.testing.assert_array_equal(scores, whole_scores)


def test_merging_with_nothing_changes_nothing() -> None:
    one = ranking([{7: 0.5, 3: 0.5, 9: 0.75}], 4)
    for ids, scores in (merge(one, ranking([{}], 4), 4), merge(ranking([{}], 4), one, 4)):
        assert ids.tolist() == [[9, 3, 7, -1]]
        np.testing.assert_array_equal(scores, one[1])
