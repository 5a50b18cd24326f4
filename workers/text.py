"""Cleaning of item descriptions: what is certainly wrong is repaired, nothing else is touched.

Lists travel through spreadsheets that read UTF-8 as Mac Roman, CP1252 or Latin-1: `ESTÈRIL`
arrives as `EST√àRIL` or `ESTÃˆRIL`. Which sequences that gives is known beforehand, because few
characters are expected in the first place: those of Catalan, Spanish, Portuguese, French and
English, and common units. So the repair is a dictionary from each expected character's misreading
back to the character. Any other sequence, however well it decodes, stays as it is: `√9` and `10±2`
are in no dictionary, and half a sequence at the end of a truncated text is not either.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

CLEANER_VERSION = 1
"""Rises with every change that gives a text another result; models remember theirs."""

_LETTERS = "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜŒŸàáâãäåæçèéêëìíîïñòóôõöøùúûüÿœß"
_PUNCTUATION = "\u00a0\u00ad¡¿«»·–—‘’‚“”„†•…‹›€£©®™§ªº´"
_UNITS = "°±×÷¹²³¼½¾µμΩΔαβγ‰−√∞≈≠≤≥⌀"
_EXPECTED = _LETTERS + _PUNCTUATION + _UNITS

_CODECS = ("mac_roman", "cp1252", "latin_1")

_ALSO_RIGHT_AFTER_A_WORD = "\u00a0\u00ad©®™ªº°·´¹²³•…–›»”"
"""Marks that also stand for a byte of a misread letter, and rightly follow a word."""

_REMOVED = {
    code: None
    for code in range(0x110000)
    if unicodedata.category(chr(code)) in {"Cc", "Cf", "Cs"} and not chr(code).isspace()
} | dict.fromkeys(range(0xFE00, 0xFE10))
"""Control, format (zero-width, soft hyphen, byte order mark) and surrogate characters, and the
variation selectors. Controls that are white space become a space instead."""


@dataclass(frozen=True)
class Cleaned:
    """A cleaned text.

    Attributes:
        text: the text, in Unicode's composed form (NFC), without control and zero-width
            characters, words set apart by one space. Empty if nothing is left.
        repaired: how its encoding had been misread (`mac_roman`, `cp1252`, `latin_1`, or `mixed`
            if no single one explains it), None if there was nothing to repair.
    """

    text: str
    repaired: str | None


def _misread(text: str, codec: str) -> str:
    """What becomes of a text when its UTF-8 is read as `codec`.

    The five bytes that CP1252 leaves undefined are read as the control characters of the same
    number: so do web browsers and Windows (WHATWG Encoding Standard, index windows-1252).
    """
    return "".join(bytes([b]).decode(codec, "ignore") or chr(b) for b in text.encode())


def _misreadings() -> Iterator[tuple[str, str, str]]:
    """Every (misreading, character, codec), misread once or twice over by the same codec."""
    for codec in _CODECS:
        for char in _EXPECTED:
            once = _misread(char, codec)
            yield once, char, codec
            yield _misread(once, codec), char, codec


_REPAIRS: dict[str, str] = {}
_EXPLAINED_BY: dict[str, frozenset[str]] = {}
for _wrong, _char, _codec in _misreadings():
    _REPAIRS[_wrong] = _char
    _EXPLAINED_BY[_wrong] = _EXPLAINED_BY.get(_wrong, frozenset()) | {_codec}


@cache
def _wrong_pattern() -> re.Pattern[str]:
    """Every misreading, compiled when it is first wanted: a tenth of a second of a process's start.

    Longest first: what was misread twice contains something that looks misread once.
    """
    return re.compile("|".join(map(re.escape, sorted(_REPAIRS, key=len, reverse=True))))


def _is_doubtful(match: re.Match[str]) -> bool:
    """Whether a sequence that looks misread may be right after all.

    `Ã` is a letter too: Portuguese words end in it. In an upper-case text `MAÇÃ®` and `MAÇÃ…` are
    right. A closing `’` and a long dash are not counted among the marks that may follow: `PERÃ’`
    and `CMÃ—5`, that is `PERÒ` and `CM×5`, are far likelier here.
    """
    wrong, text, start, end = match[0], match.string, match.start(), match.end()
    before, after = text[max(start - 1, 0) : start], text[end : end + 1]
    return (
        len(wrong) == 2
        and wrong[0] == "Ã"
        and wrong[1] in _ALSO_RIGHT_AFTER_A_WORD
        and before.isupper()
        and (not after.isalpha() or wrong[1] in "\u00a0\u00ad")
        and not any("a" <= c <= "z" for c in text)
    )


def _pass(text: str, explanations: list[frozenset[str]]) -> str:
    """Clean once over; adds to `explanations` the codecs that explain each sequence repaired."""

    def repair(match: re.Match[str]) -> str:
        if _is_doubtful(match):
            return match[0]
        explanations.append(_EXPLAINED_BY[match[0]])
        return _REPAIRS[match[0]]

    text = _wrong_pattern().sub(repair, unicodedata.normalize("NFC", text))
    # After the repair: in a misread text no-break spaces and controls are halves of letters.
    return " ".join(text.translate(_REMOVED).split())


def clean(text: str) -> Cleaned:
    """Clean a text and repair its encoding where that is certain.

    Never raises, and cleaning a cleaned text changes nothing.
    """
    explanations: list[frozenset[str]] = []
    before = None
    while text != before:  # to a standstill: what is removed may have stood between two halves
        before, text = text, _pass(text, explanations)
    if not explanations:
        return Cleaned(text, None)
    common = frozenset.intersection(*explanations)
    return Cleaned(text, next((codec for codec in _CODECS if codec in common), "mixed"))


def text_hash(text: str) -> bytes:
    """BLAKE2b digest (16 bytes) of a cleaned text: the same text is encoded and stored once."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
