import pytest
from hypothesis import given
from hypothesis import strategies as st

from aparella.workers.features.words import fold, joined, marked, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("XERINGA 0,5 ML P/INJECTOR", ("xeringa", "0.5", "ml", "p", "injector")),
        ("Pel·lícula ESTÈRIL", ("pellicula", "esteril")),
        ("APÓSITO niño ½", ("aposito", "nino", "1", "2")),
        ("DSC-W120/B", ("dsc", "w120", "b")),
        ("a,b.c", ("a", "b", "c")),
        ("v1.2.3", ("v1", "2.3")),
        ("", ()),
    ],
)
def test_words(text: str, expected: tuple[str, ...]) -> None:
    assert words(text) == expected


def test_joined_forms() -> None:
    assert joined("Sony DSC-W120 Luer-Lock 0,5 METAL.LICA p/injector") == (
        "dscw120",
        "luerlock",
        "metallica",
        "pinjector",
    )


def test_a_slash_is_kept_after_one_or_two_letters() -> None:
    assert marked("AGULLA P/INJ S/ LÀTEX W/O PVC/DEHP A/B 1/2") == (
        *("agulla", "p/", "inj", "s/", "latex", "w/o", "pvc", "dehp", "a/", "b", "1", "2"),
    )


@given(st.text(max_size=60))
def test_folding_a_folded_text_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(st.text(max_size=60))
def test_words_have_no_case(text: str) -> None:
    assert all(word == fold(word) and " " not in word for word in words(text))
