import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aparella.workers.text import Cleaned, clean, text_hash

SYMBOLS = " 0123456789,.;:/+-±×°ºª·½µØ²'()€®"
UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZÀÇÈÉÍÏÑÒÓÚÜ" + SYMBOLS
LOWER = "abcdefghijklmnopqrstuvwxyzàçèéíïñòóúü" + SYMBOLS


def misread(text: str, codec: str) -> str:
    """What a program makes of UTF-8 that it takes for `codec` (as the WHATWG reads CP1252)."""
    return "".join(bytes([b]).decode(codec, "ignore") or chr(b) for b in text.encode())


def right(alphabet: str) -> st.SearchStrategy[str]:
    return st.text(alphabet, min_size=1, max_size=60).map(lambda t: " ".join(t.split()))


# A lower-case word to go with the lower case, as a text in mixed case has.
texts = st.one_of(right(UPPER), right(LOWER).map(lambda t: f"de {t}".strip()))
codecs = st.sampled_from(["mac_roman", "cp1252", "latin_1"])


@pytest.mark.parametrize(
    ("broken", "repaired"),
    [
        ("EST√àRIL", "ESTÈRIL"),
        ("S/L√ÄTEX,EST√àRIL,1√öS", "S/LÀTEX,ESTÈRIL,1ÚS"),
        ("400 CM AMPLADA ¬±2CM,LATERAL", "400 CM AMPLADA ±2CM,LATERAL"),
        ('RADIOOPAC,√ò4,5F, GUIA NITINOL "J"√ò0,46', 'RADIOOPAC,Ø4,5F, GUIA NITINOL "J"Ø0,46'),
        ("BAIXA RESIST√àNCIA.PL√ÄSTIC, APORTACI√ì", "BAIXA RESISTÈNCIA.PLÀSTIC, APORTACIÓ"),
        (
            "CAP√áAL, M√çNIM, DIAGN√íSTIC, BU√èT, FRANC√âS",
            "CAPÇAL, MÍNIM, DIAGNÒSTIC, BUÏT, FRANCÉS",
        ),
        ("COL¬∑LECTOR 37 ¬∞C ‚Ç¨ ‚â§ 5", "COL·LECTOR 37 °C € ≤ 5"),
    ],
)
def test_utf8_read_as_mac_roman_is_repaired(broken: str, repaired: str) -> None:
    assert clean(broken) == Cleaned(repaired, "mac_roman")


@pytest.mark.parametrize(
    ("broken", "cleaned"),
    [
        ("ESTÃˆRIL 1ÃšS PERÃ’ APORTACIÃ“", Cleaned("ESTÈRIL 1ÚS PERÒ APORTACIÓ", "cp1252")),
        ("MÃ\x8dNIM PLÃ€STIC", Cleaned("MÍNIM PLÀSTIC", "cp1252")),
        ("M\u00c3\u008dNIM EST\u00c3\u0088RIL", Cleaned("MÍNIM ESTÈRIL", "latin_1")),
        ("agulla de 5Âµm, NÂº 2, Ã\xa0rea", Cleaned("agulla de 5µm, Nº 2, àrea", "cp1252")),
        ("Dâ€™ACER, COLÂ·LECTOR", Cleaned("D’ACER, COL·LECTOR", "cp1252")),
        ("EST√àRIL PLÃ€STIC", Cleaned("ESTÈRIL PLÀSTIC", "mixed")),
        ("EST‚àö√†RIL", Cleaned("ESTÈRIL", "mac_roman")),
        ("ESTÃƒË†RIL", Cleaned("ESTÈRIL", "cp1252")),
    ],
    ids=lambda value: value.repaired if isinstance(value, Cleaned) else ascii(value),
)
def test_other_misreadings_are_repaired(broken: str, cleaned: Cleaned) -> None:
    assert clean(broken) == cleaned


def test_a_right_accent_beside_a_broken_one_stays() -> None:
    assert clean("CATÈTER EST√àRIL Ø4 √ò5 À√Ä").text == "CATÈTER ESTÈRIL Ø4 Ø5 ÀÀ"


@pytest.mark.parametrize(
    "text",
    [
        "√9", "√", "Ø4,5F", "±2CM", "À", "ÇA", "50µM", "37°C", "1ª", "½", "L'ÀPAT", "COL·LECTOR",
        "EST√", "APORTACI√", "PLÃ", "‚Ä", "10±2", "5€/U", "MAÇÃ", "MAÇÃ®", "“MAÇÔ", "IRMÃ…", "NÃO",
        "LOTIÓN 5 % Nº 3", "ŒDÈME", "≈ 5 CM", "¬5", "Ãx", "日本語", "Ω 5", "Â",
    ],
)  # fmt: skip
def test_right_and_truncated_texts_stay_as_they_are(text: str) -> None:
    assert clean(text) == Cleaned(text, None)


def test_a_no_break_space_after_a_portuguese_word_is_no_half_letter() -> None:
    assert clean("MAÇÃ\xa0VERDE") == Cleaned("MAÇÃ VERDE", None)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  A \t B\r\nC\u00a0D\u2003E  ", "A B C D E"),
        ("A\x00B\u200bC\ufeffD\u00adE\x1b", "ABCDE"),
        ("E\u0300", "È"),
        ("A\ud800B", "AB"),
        ("©\ufe0f", "©"),
        ("\u200b \x00", ""),
        ("", ""),
    ],
)
def test_white_space_controls_and_invisible_characters(text: str, cleaned: str) -> None:
    assert clean(text) == Cleaned(cleaned, None)


def test_halves_parted_by_a_zero_width_character_are_joined_and_repaired() -> None:
    assert clean("EST√\u200bàRIL").text == "ESTÈRIL"


@given(texts)
def test_right_text_stays(text: str) -> None:
    assert clean(text) == Cleaned(text, None)


@given(texts, codecs)
def test_what_a_codec_broke_is_restored(text: str, codec: str) -> None:
    cleaned = clean(misread(text, codec))
    assert cleaned.text == text
    assert (cleaned.repaired is None) == text.isascii()


@given(st.lists(st.tuples(right(UPPER), codecs | st.none()), min_size=1, max_size=5))
def test_broken_parts_are_restored_among_right_ones(parts: list[tuple[str, str | None]]) -> None:
    broken = " ".join(misread(text, codec) if codec else text for text, codec in parts)
    assert clean(broken).text == " ".join(" ".join(text for text, _ in parts).split())


halves = st.text("√àÃˆÂ±¬‚Äö∂†°AÉ\u0300\u00a0\u00ad\u0088\u200b \x00e®", max_size=30)


@given(st.text() | st.text(st.characters(codec=None)) | halves)
def test_any_text_comes_out_clean_and_stays_so(text: str) -> None:
    cleaned = clean(text).text
    assert clean(cleaned) == Cleaned(cleaned, None)
    assert unicodedata.is_normalized("NFC", cleaned)
    assert cleaned == " ".join(cleaned.split())
    assert not any(unicodedata.category(c) in {"Cc", "Cf", "Cs"} for c in cleaned)
    assert len(text_hash(cleaned)) == 16


def test_text_hash_is_that_of_the_utf8_bytes() -> None:
    assert text_hash("ESTÈRIL").hex() == "ab3400ebb1b24b5cefdb91c3c377a130"
