from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aparella.errors import InputError
from aparella.workers.evaluation.split import (
    FOLDS,
    TEST_FOLDS,
    PairKey,
    assign,
    digest,
    placed,
    protocol,
)


def pair(
    id_: int, source: str, target: str, positive: bool = True, fold: int | None = None
) -> PairKey:
    return PairKey(id_, source.encode(), target.encode(), positive, fold)


def lines(n: int, first: int = 0) -> list[PairKey]:
    """Pairs that share no text."""
    return [pair(i, f"s{i}", f"t{i}") for i in range(first, first + n)]


@st.composite
def pair_sets(draw: st.DrawFn) -> list[PairKey]:
    """Pairs over few texts, so that they share many; some texts are both source and target."""
    texts = st.integers(0, draw(st.sampled_from([4, 12, 60])))
    drawn = draw(
        st.lists(st.tuples(texts, texts, st.sampled_from([True, True, True, False])), max_size=60)
    )
    other = draw(st.booleans())
    return [
        pair(i, f"a{s}", f"{'b' if other else 'a'}{t}", positive)
        for i, (s, t, positive) in enumerate(drawn)
    ]


def check_no_leak(pairs: list[PairKey]) -> None:
    texts: dict[str, set[bytes]] = defaultdict(set)
    folds: dict[bytes, set[int | None]] = defaultdict(set)
    for one in pairs:
        if one.side is not None:
            texts[one.side].add(one.source)
            folds[one.source].add(one.fold)
        if one.side is not None and one.positive:
            texts[one.side].add(one.target)
            folds[one.target].add(one.fold)
    assert not texts["test"] & texts["train"]
    # Stronger, for cross-validation: no text is in two folds.
    assert all(len(found) == 1 for found in folds.values())


@given(pair_sets())
def test_no_text_is_in_both_parts(pairs: list[PairKey]) -> None:
    result = placed(pairs)
    check_no_leak(result)
    # Nothing is stored yet, so nothing need be left out.
    assert all(one.fold is not None for one in result)


@given(pair_sets(), st.data())
def test_what_is_stored_stays_when_pairs_are_added(
    pairs: list[PairKey], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(pairs)), min_size=1, max_size=3)))
    stored: list[PairKey] = []
    for cut in [*cuts, len(pairs)]:
        result = placed([*stored, *pairs[len(stored) : cut]])
        check_no_leak(result)
        for before, after in zip(stored, result, strict=False):
            if before.side is not None:
                assert after.side == before.side
        stored = result
    assert placed(stored) == stored


@given(pair_sets(), st.data())
def test_the_order_of_rows_does_not_matter(pairs: list[PairKey], data: st.DataObject) -> None:
    stored = data.draw(st.integers(0, len(pairs)))
    pairs = [*placed(pairs[:stored]), *pairs[stored:]]
    shuffled = data.draw(st.permutations(pairs))
    assert assign(shuffled) == assign(pairs)
    assert digest(shuffled) == digest(pairs)


@given(pair_sets(), st.data())
def test_no_leak_whatever_is_stored(pairs: list[PairKey], data: st.DataObject) -> None:
    # Texts change after a pair was placed, so stored folds may contradict each other.
    fold = st.none() | st.integers(0, FOLDS - 1)
    stored = [replace(one, fold=data.draw(fold)) for one in pairs]
    result = placed(stored)
    check_no_leak(result)
    assert placed(list(reversed(stored))) == list(reversed(result))
    kept = [a.side for b, a in zip(stored, result, strict=True) if b.positive and b.side == "test"]
    assert kept == ["test"] * len(kept)


def test_folds_are_balanced_and_a_fifth_is_held_out() -> None:
    folds = Counter(assign(lines(400)).values())
    assert set(folds.values()) == {40}
    assert set(folds) == set(range(FOLDS))


def test_new_pairs_fill_the_emptiest_folds() -> None:
    stored = placed(lines(100))
    emptied = [one for one in stored if one.fold != 0]
    result = assign([*emptied, *lines(10, first=100)])
    assert {result[i] for i in range(100, 110)} == {0}


def test_a_popular_record_is_trained_on_not_tested_on() -> None:
    popular = [pair(i, f"s{i}", "popular") for i in range(1_000, 1_090)]
    result = assign([*popular, *lines(100)])
    assert result[1_000] not in TEST_FOLDS


def test_a_pair_between_test_and_train_is_left_out() -> None:
    stored = [pair(1, "a", "A", fold=0), pair(2, "b", "B", fold=7)]
    assert assign([*stored, pair(3, "a", "B")]) == {1: 0, 2: 7, 3: None}


def test_a_pair_between_train_folds_joins_them_in_the_bigger() -> None:
    stored = [pair(1, "a", "A", fold=2), pair(2, "b", "B", fold=7), pair(3, "c", "B", fold=7)]
    assert assign([*stored, pair(4, "a", "B")]) == {1: 7, 2: 7, 3: 7, 4: 7}


def test_a_rejection_follows_its_source_and_connects_nothing() -> None:
    stored = [pair(1, "a", "A", fold=0), pair(2, "b", "B", fold=7)]
    assert assign([*stored, pair(3, "a", "B", positive=False)])[3] == 0
    assert assign([*stored, pair(3, "b", "A", positive=False)])[3] == 7


def test_a_train_pair_whose_text_became_a_test_text_is_left_out() -> None:
    stored = [pair(1, "a", "A", fold=0), pair(2, "b", "A", fold=7)]
    assert assign(stored) == {1: 0, 2: None}


def test_the_digest_tells_every_part_of_a_pair() -> None:
    one = pair(1, "a", "b", fold=3)
    others = [
        pair(1, "ab", "", fold=3),
        pair(1, "a", "c", fold=3),
        pair(1, "a", "b", positive=False, fold=3),
        pair(1, "a", "b", fold=4),
        pair(1, "a", "b"),
    ]
    assert len({digest([one]), *(digest([other]) for other in others)}) == 6
    assert digest([one]) == digest([replace(one, id=9)])


def test_enough_queries_are_held_out() -> None:
    how = protocol(placed(lines(400)))
    assert (how.kind, how.queries, len(how.rounds)) == ("holdout", 80, 1)
    assert how.rounds[0].test == TEST_FOLDS
    assert "80 held-out lines" in how.sentence


def test_few_queries_are_cross_validated() -> None:
    how = protocol(placed(lines(100)))
    assert (how.kind, how.queries, len(how.rounds)) == ("cross_validation", 100, 5)
    assert set().union(*(part.test for part in how.rounds)) == set(range(FOLDS))
    assert all(part.train == set(range(FOLDS)) - part.test for part in how.rounds)
    assert "20 lines, too few" in how.sentence


@pytest.mark.parametrize(
    ("pairs", "code", "words"),
    [
        ([], "too_few_pairs", "0 known pairs"),
        (lines(19), "too_few_pairs", "at least 20"),
        ([replace(one, positive=False) for one in lines(50)], "too_few_pairs", "0 known pairs"),
        ([pair(i, f"s{i}", "t") for i in range(30)], "one_target", "same target"),
        ([pair(i, "s", f"t{i}") for i in range(30)], "one_component", "hang together"),
    ],
)
def test_what_cannot_be_evaluated_says_why(pairs: list[PairKey], code: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        protocol(placed(pairs))
    assert caught.value.code == code
