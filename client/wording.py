"""Which words two texts share, accents and case aside, and where they stand."""

import re
import unicodedata
from collections.abc import Iterator

_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+")
"""A number or a word: `20ML` is two, so that it agrees with `20 ML`."""


def plain(word: str) -> str:
    """The word without accents and case; a number with a point for its comma."""
    parts = unicodedata.normalize("NFKD", word)
    return "".join(c for c in parts if not unicodedata.combining(c)).casefold().replace(",", ".")


def words(text: str) -> Iterator[tuple[int, int, str]]:
    """Begin, end and plain form of each word of a text."""
    for found in _WORD.finditer(text):
        yield *found.span(), plain(found[0])


def shared(text: str, *others: str) -> list[tuple[int, int]]:
    """Begin and end of the text's words that one of the others has too."""
    known = {word for other in others for _, _, word in words(other)}
    return [(begin, end) for begin, end, word in words(text) if word in known]
