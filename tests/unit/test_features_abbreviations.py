import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aparella.workers.features.abbreviations import (
    Abbreviations,
    is_short_for,
    learn,
    likelihood_ratio,
)
from aparella.workers.features.words import marked, words

OTHERS = [("GUANT NITRIL", "guants d'examen de nitril"), ("GASA 10X10", "gasa de cotó hidròfil")]


def meanings(learnt: Abbreviations, token: str) -> dict[str, int]:
    return {" ".join(e.words): e.support for e in learnt.table.get(token, ())}


def test_a_beginning_is_learnt_from_pairs() -> None:
    pairs = [(f"XER {n}ML", f"xeringa de {n} ml") for n in (1, 2, 5)] + OTHERS * 10
    assert meanings(learn(pairs), "xer") == {"xeringa": 3}


def test_a_slash_form_learnt_stands_before_the_table() -> None:
    pairs = [(f"AGULLA A/ALETES {n}G", f"agulla amb aletes {n}G") for n in range(20, 25)]
    learnt = learn(pairs + OTHERS * 10)
    assert next(iter(meanings(learnt, "a/").items()))[1] == 5
    assert "amb" in meanings(learnt, "a/")


def test_initials_and_skeletons_are_learnt() -> None:
    pairs = [("CVC 3 LLUMS", "catèter venós central de 3 llums")] * 4
    pairs += [("CBL USB", "cable usb")] * 4 + OTHERS * 10
    learnt = learn(pairs)
    assert meanings(learnt, "cvc") == {"cateter venos central": 4}
    assert meanings(learnt, "cbl") == {"cable": 4}


def test_two_pairs_are_too_few() -> None:
    pairs = [("XER 1ML", "xeringa de 1 ml")] * 2 + OTHERS * 10
    assert meanings(learn(pairs), "xer") == {}


def test_what_chance_explains_is_not_learnt() -> None:
    # Every long text has the word, with the token or without.
    pairs = [("GUANT EXA", "guant d'examen")] * 10 + [("GUANT", "guant d'examen")] * 10
    assert meanings(learn(pairs), "exa") == {}


def test_a_token_that_the_long_text_has_itself_is_no_abbreviation() -> None:
    pairs = [("TUB GEL", "tub gel gelificant")] * 10 + OTHERS * 10
    assert meanings(learn(pairs), "gel") == {}


@pytest.mark.parametrize(
    ("token", "word", "expected"),
    [
        ("xer", "xeringa", True),
        ("p/", "per", True),
        ("p/", "p", False),
        ("cbl", "cable", True),
        ("xeringu", "xeringa", False),
        ("est", "esta", False),
        ("sil", "xilicona", False),
        ("agl", "agulla", True),
        ("aula", "agulla", False),
        ("ea", "esterila", False),
    ],
)
def test_what_may_be_short_for_what(token: str, word: str, expected: bool) -> None:
    assert is_short_for(token, word) is expected


def test_expanding() -> None:
    common = Abbreviations()
    tokens = marked("AGULLA P/INJECTOR S/LATEX")
    catalan = frozenset(words("agulla per a injector sense làtex"))
    assert common.expand(tokens, catalan) == words("agulla per a injector sense latex")
    spanish = frozenset(words("aguja para inyector sin látex"))
    assert common.expand(tokens, spanish) == words("agulla para injector sin latex")
    assert common.expand(("s/",)) == ("sense",)
    assert common.expand(("cap", "xyz"), frozenset({"cap"})) == ("cap", "xyz")


def test_stored_and_read_again_it_is_the_same() -> None:
    learnt = learn([(f"XER {n}ML", f"xeringa de {n} ml") for n in (1, 2, 5)] + OTHERS * 10)
    stored = json.loads(json.dumps(learnt.to_json()))
    assert Abbreviations.from_json(stored) == learnt


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"version": 2, "table": {}},
        {"version": 1, "table": {"x": []}},
        {"version": 1, "table": 3},
    ],
)
def test_what_is_not_in_the_form_is_refused(stored: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="stored abbreviations"):
        Abbreviations.from_json(stored)


def test_the_likelihood_ratio_is_zero_at_chance_and_grows() -> None:
    assert likelihood_ratio(5, 10, 50, 100) == 0
    assert likelihood_ratio(2, 10, 50, 100) == 0
    # Always together and never apart: 2 n H(p), the entropy of their share in nats.
    entropy = -(0.1 * math.log(0.1) + 0.9 * math.log(0.9))
    assert likelihood_ratio(10, 10, 10, 100) == pytest.approx(2 * 100 * entropy)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.integers(1, 50))
def test_the_likelihood_ratio_is_symmetric_and_never_negative(
    both: int, only_first: int, only_second: int, neither: int
) -> None:
    total = both + only_first + only_second + neither
    one = likelihood_ratio(both, both + only_first, both + only_second, total)
    assert one == pytest.approx(
        likelihood_ratio(both, both + only_second, both + only_first, total), abs=1e-9
    )
    assert one >= -1e-9


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=40)), max_size=8))
def test_any_pairs_can_be_learnt_from(pairs: list[tuple[str, str]]) -> None:
    learnt = learn(pairs * 3)
    assert Abbreviations.from_json(learnt.to_json()) == learnt
