"""Model numbers and reference codes: `DSC-W120`, `MDR-EX85LP`, `AB1234-5`, `08301`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from aparella.workers.features.measures import Measure, measures

_TOKEN = re.compile(r"[^\W_]+(?:[-_][^\W_]+)*")
_LETTER = re.compile(r"[^\W\d]")
_ORDINAL_OR_COUNT = re.compile(
    r"\d+(?:ST|ND|RD|TH)|\d{1,3}-?[^\W\d]{3,}|\d+(?:-\d{1,3})+|\d+(?:X\d+)+|\d{1,3}[^\W\d]"
)
"""`20TH`, `3TAPS`, `8-PORT`, `10-20`, `592X592`, `120C`: numbers beside words, not codes."""
_KNOWN = frozenset({"SPO2", "ETCO2", "PACO2", "MPEG2", "MPEG4", "WIN98", "PM10", "HBA1C"})
_SHORTEST_PART = 4


@dataclass(frozen=True, slots=True)
class CodeComparison:
    """The codes of two texts, side by side.

    Attributes:
        shared: codes of both.
        parts: pairs (of the first text, of the second), one the beginning or a part of the other.
        only_first: codes of the first text that stand in no pair.
        only_second: the same of the second.
    """

    shared: frozenset[str] = frozenset()
    parts: tuple[tuple[str, str], ...] = ()
    only_first: frozenset[str] = frozenset()
    only_second: frozenset[str] = frozenset()

    @property
    def contradicting(self) -> bool:
        """Both have codes and nothing in common: weak evidence, a text may name another's code."""
        return bool(self.only_first and self.only_second) and not (self.shared or self.parts)


def codes(text: str, found: Sequence[Measure] | None = None) -> frozenset[str]:
    """The codes of a text, in upper case and without punctuation.

    A code mixes letters and digits and has at least four characters, or three with a hyphen; or
    it is a number of at least four digits. What is part of a measure is none.

    Args:
        text: any text.
        found: the measures of this text, if the caller has them.
    """
    spans = [(m.start, m.end) for m in (measures(text) if found is None else found)]
    result = set()
    for match in _TOKEN.finditer(text):
        written = match[0]
        if written.isalpha() or len(written) < 3 or not any(map(str.isdecimal, written)):
            continue
        start, end = match.span()
        if any(start < stop and begin < end for begin, stop in spans):
            continue
        upper = written.upper()
        plain = upper.replace("-", "").replace("_", "")
        if plain.isdecimal() and plain == upper:
            if len(plain) >= 4 and not _in_decimal(text, start, end):
                result.add(plain)
        elif _is_code(plain, upper):
            result.add(plain)
    return frozenset(result)


def _is_code(plain: str, upper: str) -> bool:
    if _ORDINAL_OR_COUNT.fullmatch(upper) or plain in _KNOWN:
        return False
    return len(plain) >= 4 or (len(plain) == 3 and plain != upper and bool(_LETTER.search(plain)))


def _in_decimal(text: str, start: int, end: int) -> bool:
    """Whether digits are a part of a longer number: `0,0001`, `12.3456`."""
    return (text[start - 1 : start] in {".", ","} and text[start - 2 : start - 1].isdecimal()) or (
        text[end : end + 1] in {".", ","} and text[end + 1 : end + 2].isdecimal()
    )


def comparison(first: frozenset[str], second: frozenset[str]) -> CodeComparison:
    """Compare the codes of two texts. Symmetric.

    A code is part of another if it has at least four characters, a digit among them, and at least
    half the other's length.
    """
    if not first or not second:
        return CodeComparison(only_first=first, only_second=second)
    shared = first & second
    left, right = first - shared, second - shared
    if not left or not right:
        return CodeComparison(shared, (), left, right)
    parts = tuple((a, b) for a in sorted(left) for b in sorted(right) if _is_part(a, b))
    return CodeComparison(
        shared,
        parts,
        left - {a for a, _ in parts} if parts else left,
        right - {b for _, b in parts} if parts else right,
    )


def _is_part(a: str, b: str) -> bool:
    if len(a) > len(b):
        a, b = b, a
    return (
        len(a) >= _SHORTEST_PART
        and 2 * len(a) >= len(b)
        and a in b
        and not a.isalpha()
        and not (a.isdecimal() and b.isdecimal())
    )
