"""Words of a text as the features compare them: without case, accents or punctuation."""

import re
import unicodedata

_WORD = re.compile(r"\d+(?:[.,]\d+)+|[^\W_]+")
_PIECE = re.compile(r"[^\s,;:()\[\]{}]+")
_MARKED = re.compile(r"\d+(?:[.,]\d+)+|w/o(?![^\W_])|[^\W\d_]{1,2}/(?=[^\W_]|\s|$)|[^\W_]+")
_DROPPED = frozenset("·•‧")
"""The Catalan l·l is written with any of these; without it the two spellings of a word meet."""


class _Folding(dict[int, str]):
    """What each code point folds to, worked out when first met."""

    def __missing__(self, code: int) -> str:
        char = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", chr(code)).casefold())
        folded = "".join(c for c in char if c not in _DROPPED and not unicodedata.combining(c))
        self[code] = folded
        return folded


_FOLDING = _Folding()


def fold(text: str) -> str:
    """Case, accents and middle dots taken away; compatibility forms (`²`, `ﬁ`) made plain.

    The length may change. Folding a folded text changes nothing.
    """
    return text.lower() if text.isascii() else text.translate(_FOLDING)


def words(text: str) -> tuple[str, ...]:
    """The folded words in order, split at punctuation; decimals stay whole (`0,5` → `0.5`)."""
    return tuple(w.replace(",", ".") for w in _WORD.findall(fold(text)))


def joined(text: str) -> tuple[str, ...]:
    """What punctuation splits inside a word, written as one: `DSC-W120` → `dscw120`.

    Only pieces that `words` splits; whole words and decimal numbers are not repeated here.
    """
    found = []
    for piece in _PIECE.findall(fold(text)):
        parts = _WORD.findall(piece)
        if len(parts) > 1:
            found.append("".join(parts))
    return tuple(found)


def marked(text: str) -> tuple[str, ...]:
    """Words as `words` gives them, where one or two letters before a slash keep it (`p/`, `s/`)."""
    return tuple(w.replace(",", ".") for w in _MARKED.findall(fold(text)))
