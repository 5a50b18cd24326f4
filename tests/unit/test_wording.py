"""Which words two texts share, as the review colours them."""

import pytest

from aparella.client.wording import plain, shared


def agreeing(text: str, *others: str) -> list[str]:
    return [text[begin:end] for begin, end in shared(text, *others)]


@pytest.mark.parametrize(
    ("text", "others", "found"),
    [
        ("XERINGA ESTERIL", ["xeringa estèril"], ["XERINGA", "ESTERIL"]),
        ("20ML LUER", ["capacitat 20 ml"], ["20", "ML"]),
        ("10,5 CM", ["10.5 cm"], ["10,5", "CM"]),
        ("XERINGA", ["XERINGUES"], []),
        ("1 2 3", ["3", "1"], ["1", "3"]),
        ("CEL·LULOSA", ["cel·lulosa"], ["CEL", "LULOSA"]),
        ("GROẞ", ["gross"], ["GROẞ"]),
        ("", ["a"], []),
        ("a", [], []),
    ],
)
def test_words_that_agree(text: str, others: list[str], found: list[str]) -> None:
    assert agreeing(text, *others) == found


def test_plain_words_have_neither_accents_nor_case() -> None:
    assert plain("ESTÈRIL") == plain("esteril") == "esteril"
    assert plain("Ç") == "c"
