"""What records say beside their texts: what agrees, what contradicts, and what says nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aparella.workers.features.attributes import AttributeComparison, comparison


@pytest.mark.parametrize(
    ("first", "second", "agreeing", "contradicting"),
    [
        ({"price": "38.99"}, {"price": "39.95"}, 1, 0),
        ({"price": "38.99"}, {"Price": 39}, 1, 0),
        ({"price": "$38.99"}, {"price": "38,99 €"}, 1, 0),
        ({"price": "1.500"}, {"price": "1500 EUR"}, 1, 0),
        ({"price": "10"}, {"price": "14"}, 0, 0),  # neither near nor far
        ({"price": "10"}, {"price": "20"}, 0, 1),
        ({"price": "0.0"}, {"price": "20"}, 0, 0),
        ({"price": "-5"}, {"price": "5"}, 0, 0),  # the first is no number that is looked at
        ({"price": ""}, {"price": "20"}, 0, 0),
        ({"price": "20"}, {"price": "call for it"}, 0, 0),  # says nothing of what it costs
        ({"ean": "8412345678901"}, {"ean": "none"}, 0, 0),
        ({"price": "10"}, {"brand": "10"}, 0, 0),
        ({"brand": "Intuit Inc."}, {"brand": "intuit"}, 1, 0),
        ({"brand": "BECTON DICKINSON"}, {"brand": "Braun"}, 0, 1),
        ({"ean": "8412345678901"}, {"ean": "8412345678901"}, 1, 0),
        ({"ean": "8412345678901"}, {"ean": "8412345678902"}, 0, 1),
        ({"price": "5", "brand": "Sony"}, {"price": "50", "brand": "SONY"}, 1, 1),
        ({}, {"price": "5"}, 0, 0),
    ],
)
def test_attributes_side_by_side(
    first: dict[str, object], second: dict[str, object], agreeing: int, contradicting: int
) -> None:
    assert comparison(first, second) == AttributeComparison(agreeing, contradicting)
    assert comparison(second, first) == AttributeComparison(agreeing, contradicting)


anything = st.dictionaries(
    st.sampled_from(["price", "brand", "family"]),
    st.one_of(st.text(max_size=20), st.floats(), st.integers(), st.none(), st.booleans()),
)


@given(anything, anything)
def test_any_attributes_are_compared_both_ways(
    first: dict[str, object], second: dict[str, object]
) -> None:
    found = comparison(first, second)
    assert found == comparison(second, first)
    assert found.agreeing + found.contradicting <= len(first.keys() & second.keys())
    assert comparison(first, first).contradicting == 0
