import pytest
from hypothesis import given
from hypothesis import strategies as st

from aparella.workers.features.agreement import MeasureComparison, agreement
from aparella.workers.features.measures import measures
from tests.unit.test_features_measures import TEXTS

VALUES = st.one_of(
    st.builds(
        "{}{}".format,
        st.sampled_from(["1", "2", "5", "5,1", "10", "20", "100", "1.500", "10-20", "5+/-1"]),
        st.sampled_from(["ML", "L", "CM", "MM", "G", " g", "F", "CH", "UD", "'", '"']),
    ),
    st.sampled_from(["10X8CM", "10X10CM", "10X8", "8x10", "20G X 40MM", "3/0", "T.6,5", "CX 50"]),
)
STATEMENTS = st.lists(VALUES, max_size=6).map(", ".join)


def compared(first: str, second: str) -> MeasureComparison:
    return agreement(measures(first), measures(second))


def counts(first: str, second: str) -> tuple[int, int]:
    result = compared(first, second)
    return len(result.agreeing), len(result.contradicting)


@pytest.mark.parametrize(
    ("first", "second", "agreeing"),
    [
        ("10X8CM", "10 x 8 cm", 2),
        ("10X8CM", "100 × 80 mm", 2),
        ("10X8CM", "8 x 10 cm", 2),
        ("10X8", "10CMX8CM", 2),
        ("20G", "AGULLA 20G X 40MM", 1),
        ("20G", "PES 20(+/-2)G", 1),
        ("5F", "CH 5", 1),
        ("5,0F", "5FR", 1),
        ("0.5 L", "500ML", 1),
        ("19 G", "20(+/-2)G", 1),
        ("150CM", "120 A 180CM", 1),
        ("0,89 MM", '0,035"', 1),
        ("1.500 ML", "1500 ML", 1),
        ("1.500 ML", "1,5 ML", 1),
        ("10,1CM", "100MM", 1),
        ("U-100", "100 UI/ML", 1),
        ("100 unidades", "100 unitats", 1),
        ("40' LCD", '40" LCD', 1),
        ("AGULLA 21G 19M", "CALIBRE 21G, 19MM", 2),
        ("2,5X9", "2,5CMX9M", 2),
        ("1TB", "1024GB", 1),
    ],
)
def test_agreeing(first: str, second: str, agreeing: int) -> None:
    assert counts(first, second) == (agreeing, 0)


@pytest.mark.parametrize(
    ("first", "second", "contradicting"),
    [
        ("14G", "20G", 1),
        ("AGULLA BIOPS 20G 100MM", "DE 14G (2,1MM) X 11CM+/-0,5CM, 13,5G (2,2MM) X 6CM", 2),
        ("XERINGA 150ML", "XERINGA DE 20ML", 1),
        ("BOSSA 1ML", "BOSSA 1L", 1),
        ("10X8CM", "10X10CM", 1),
        ("10X8CM", "60X90CM", 2),
        ("10X8", "10X20CM", 1),
        ("5F", "6 CH", 1),
        ("CX 50", "CAIXA DE 51", 1),
        ("29G", "29,5G X 8MM", 1),
        ("30-150 ML", "150-300 ML", 1),
        ("200CM", "120 A 180CM", 1),
        ("24 G", "20(+/-2)G", 1),
        ("SUTURA 3/0", "SUTURA 4/0", 1),
        ("guant T.6,5", "TALLA 7", 1),
        ("500GB", "1TB", 1),
    ],
)
def test_contradicting(first: str, second: str, contradicting: int) -> None:
    assert len(compared(first, second).contradicting) == contradicting


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("TUB 3M", "XERINGA 20ML"),  # of another kind
        ("3 capes", "10 unitats"),  # counts of different things
        ("FILTRE 0,2 MICRES", "DIÀMETRE 33MM"),  # more than a thousand times apart
        ("10X8", "CABLE DE 3M"),  # sides of unknown unit against what is no side
        ("10CM", "10X8CM"),  # the other side is not mentioned
        ("", "20G"),
    ],
)
def test_what_one_does_not_mention_is_no_contradiction(first: str, second: str) -> None:
    assert compared(first, second).contradicting == ()


def test_what_is_left_over_is_told_apart() -> None:
    result = compared("20ML 5 UD", "20ML 30CM 1ÚS")
    assert [a.text for a, _ in result.agreeing] == ["20ML"]
    assert [m.text for m in result.only_first] == ["5 UD"]
    assert [m.text for m in result.only_second] == ["30CM", "1ÚS"]


def test_a_contradiction_names_the_nearest_value() -> None:
    ((a, b),) = compared("LLARG 100MM", "2MM, 11CM, 60CM").contradicting
    assert (a.text, b.text) == ("100MM", "11CM")


@given(STATEMENTS | TEXTS, STATEMENTS | TEXTS)
def test_comparing_is_symmetric(first: str, second: str) -> None:
    one, other = compared(first, second), compared(second, first)
    assert sorted(one.agreeing, key=repr) == sorted(((a, b) for b, a in other.agreeing), key=repr)
    assert sorted(one.contradicting, key=repr) == sorted(
        ((a, b) for b, a in other.contradicting), key=repr
    )
    assert (one.only_first, one.only_second) == (other.only_second, other.only_first)


@given(STATEMENTS | TEXTS)
def test_a_text_agrees_with_itself_and_never_contradicts_itself(text: str) -> None:
    found = measures(text)
    result = agreement(found, found)
    assert result.agreeing == tuple((m, m) for m in found)
    assert result.contradicting == result.only_first == result.only_second == ()


@given(STATEMENTS, STATEMENTS)
def test_each_measure_is_accounted_for_once(first: str, second: str) -> None:
    one, other = measures(first), measures(second)
    result = agreement(one, other)
    pairs = result.agreeing + result.contradicting
    assert sorted([a for a, _ in pairs] + list(result.only_first), key=repr) == sorted(
        one, key=repr
    )
    assert sorted([b for _, b in pairs] + list(result.only_second), key=repr) == sorted(
        other, key=repr
    )


@given(STATEMENTS, STATEMENTS)
def test_a_text_does_not_contradict_one_that_says_more(first: str, more: str) -> None:
    found = measures(first)
    result = agreement(found, measures(f"{first}; {more}"))
    assert not result.only_first
