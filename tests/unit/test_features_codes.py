import pytest
from hypothesis import given
from hypothesis import strategies as st

from aparella.workers.features.codes import CodeComparison, codes, comparison
from aparella.workers.features.measures import measures
from aparella.workers.features.numbers import numbers, shared_share

CODES = st.frozensets(
    st.sampled_from(
        ["DSCW120", "DSCW150", "W120", "WMAV", "KDL40V4100", "40V4100", "08301", "2007"]
    )
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sony Cyber-shot - DSC-W120", {"DSCW120"}),
        ("dsc-w120", {"DSCW120"}),
        ("MDR-EX85LP headphones", {"MDREX85LP"}),
        ("KDL40V4100 40' LCD", {"KDL40V4100"}),
        ("ref. AB1234-5", {"AB12345"}),
        ("XM-6 antenna", {"XM6"}),
        ("DSCW150/B", {"DSCW150"}),
        ("remote 97076", {"97076"}),
        ("windows server 2003", {"2003"}),
        ("WVC-54GCA", {"WVC54GCA"}),
        ("PALMSAT 2500/2500A, MODEL 7500", {"2500", "2500A", "7500"}),
        ("10X8CM, 150ML, 20G X 40MM, 1080p, 1US", set()),
        ("3TAPS 20TH 8-PORT 120 A4 H2O 592X592", set()),
        ("SPO2 LUER-LOCK MASCLE-MASCLE", set()),
        ("0,0001 12.3456", set()),
        ("", set()),
    ],
)
def test_codes(text: str, expected: set[str]) -> None:
    assert codes(text) == expected
    assert codes(text, measures(text)) == expected


def test_shared_codes_and_parts() -> None:
    result = comparison(frozenset({"DSCW120", "9706"}), frozenset({"W120", "9706", "ABC1"}))
    assert result == CodeComparison(
        frozenset({"9706"}), (("DSCW120", "W120"),), frozenset(), frozenset({"ABC1"})
    )
    assert not result.contradicting


def test_short_or_distant_parts_do_not_count() -> None:
    assert comparison(frozenset({"W12"}), frozenset({"DSCW12"})).parts == ()
    assert comparison(frozenset({"A123"}), frozenset({"XXXXXA123YYYYY"})).parts == ()
    assert comparison(frozenset({"2007"}), frozenset({"200712"})).parts == ()


def test_codes_contradict_only_where_both_have_some_and_share_nothing() -> None:
    assert comparison(frozenset({"DSCW120"}), frozenset({"DSCW150"})).contradicting
    assert not comparison(frozenset({"DSCW120"}), frozenset()).contradicting
    assert not comparison(frozenset({"DSCW120", "X1234"}), frozenset({"DSCW120"})).contradicting


@given(CODES, CODES)
def test_comparing_codes_is_symmetric(first: frozenset[str], second: frozenset[str]) -> None:
    one, other = comparison(first, second), comparison(second, first)
    assert one.shared == other.shared
    assert sorted(one.parts) == sorted((a, b) for b, a in other.parts)
    assert (one.only_first, one.only_second) == (other.only_second, other.only_first)
    assert not comparison(first, first).contradicting


@given(st.text(max_size=60))
def test_any_text_has_codes_and_numbers(text: str) -> None:
    assert all(code == code.upper() and "-" not in code for code in codes(text))
    numbers(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FULLA BISTURI 22", {22}),
        ("mediapro 2.5", {2.5}),
        ("PORUS 0,2 i 5", {0.2, 5}),
        ("XERINGA 20ML 10X8CM DSC-W120", set()),
        ("1.500", {1.5, 1500}),
        ("v1.2.3 and 1.2.3", {1.2}),
        ("3rd", set()),
    ],
)
def test_numbers_without_a_unit(text: str, expected: set[float]) -> None:
    assert numbers(text) == expected
    assert numbers(text, measures(text)) == expected


def test_the_share_of_numbers() -> None:
    assert shared_share(frozenset({1, 2}), frozenset({2, 3, 4})) == 0.5
    assert shared_share(frozenset(), frozenset({2})) == 0
