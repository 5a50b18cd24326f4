"""Numbers in a text with what stands at them: unit, tolerance, a word before. Not yet understood.

One pass over the text; `measures` decides what the quantities mean.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from aparella.workers.features.units import Unit, meanings
from aparella.workers.features.words import fold

_DIGIT = re.compile(r"[\d¼½¾]")
_NUMBER = re.compile(
    r"""(?P<suture>(?<![\w/.,-])\d{1,2}[/-]0(?![\w.,/]))
    |(?P<fraction>(?:(?<![\w/.,])\d{1,3}[ -])?(?<![\d/.,])\d{1,2}/\d{1,2}
      (?=[ -]?(?:["”″']|(?:c|in|l|kg|lb|hp)(?![^\W_])|inch|polz|pulg|litr|pound|c[ei]rc)))
    |(?P<vulgar>\d{0,6}[¼½¾])
    |(?P<plain>\d+(?:[.,]\d+)*|(?<![\w.,])[.,]\d+)""",
    re.VERBOSE | re.IGNORECASE,
)
_NAME = re.compile(
    r"""(?:[ \t]{0,2}|-)(?P<name>
      ''|’’|′′|["”″'’′%‰]|[°º][ ]?[cf](?![^\W_])|[°º](?![^\W\d_])|[cm]m[ ]?h(?:2[o0]|g)(?![^\W_])
      |[^\W\d_]++(?:[·.•]l[^\W\d_]++)?)""",
    re.VERBOSE | re.IGNORECASE,
)
_BELOW = re.compile(r"/[^\W\d_]++[23]?(?![^\W_])")
_POWER = re.compile(r"[23](?!\w|[.,]\d)")
_TOLERANCE = re.compile(
    r"""\s{0,2}(?:(?P<open>\()\s?)?(?:\+\s?/?\s?-|\+/|±)\s?(?P<number>\d+(?:[.,]\d+)?)
    \s?(?P<name>%|[^\W\d_]++(?!\d))?(?(open)\s?\))""",
    re.VERBOSE,
)
_BEFORE = re.compile(r"(?<![^\W\d_])([^\W\d_]+°?)([ .:=/-]{0,2})(?:(?:de|of|d) )?$", re.IGNORECASE)
_LONGEST = 15
_VULGAR = {"¼": 0.25, "½": 0.5, "¾": 0.75}
_NUMERO = frozenset({"nº", "Nº", "n°", "N°", "№"})
_INCHES = dict.fromkeys(("''", "’’", "′′", "”", "″"), '"') | {"’": "'", "′": "'"}
_GLUED_BEFORE = frozenset({"ch", "fr", "u"})
_ONLY_GLUED = frozenset({"in", "c", "x", "p", "i", "s"})
"""Names of units that are also words or letters of their own: `3 in 1`, `2 S/LATEX`."""


@dataclass(slots=True)
class Quantity:
    """A number and what stands at it.

    Attributes:
        start: where it begins.
        end: where it ends, unit and tolerance included.
        values: what the number may be: `1.500` is 1500 or 1.5.
        name: its unit as written, empty if there is none.
        units: what that may mean.
        glued: nothing stands between number and unit.
        tolerance: plus or minus this; in `tolerance_unit`, its own unit if that is empty.
        tolerance_unit: the unit written at the tolerance.
        form: `plain`, `fraction`, `suture` or `vulgar`.
    """

    start: int
    end: int
    values: tuple[float, ...]
    name: str = ""
    units: tuple[Unit, ...] = ()
    glued: bool = True
    tolerance: float = 0.0
    tolerance_unit: str = ""
    form: str = "plain"


@lru_cache(maxsize=4096)
def values(number: str) -> tuple[float, ...]:
    """What digits with points and commas may be worth.

    Empty for versions such as `1.2.3` and for numbers too long to be exact.
    """
    if len(number) > _LONGEST:
        return ()
    marks = [c for c in number if c in ".,"]
    if not marks:
        return (float(number),)
    if number[0] in ".,":
        return (float("0." + number[1:]),)
    whole, *rest = re.split("[.,]", number)
    thousands = len(whole) <= 3 and whole[0] != "0" and all(len(part) == 3 for part in rest)
    if len(marks) == 1:
        decimal = float(f"{whole}.{rest[0]}")
        return (decimal, float(whole + rest[0])) if thousands else (decimal,)
    if len(set(marks)) == 1:
        return (float(number.replace(marks[0], "")),) if thousands else ()
    if marks.count(marks[-1]) == 1:
        return (float("".join((whole, *rest[:-1])) + "." + rest[-1]),)
    return ()


def _worth(form: str, written: str) -> tuple[float, ...]:
    if form == "plain":
        return values(written)
    if form == "suture":
        return (-float(re.split("[/-]", written)[0]),)
    if form == "vulgar":
        return (float(written[:-1] or 0) + _VULGAR[written[-1]],)
    *whole, part = re.split("[ -]", written)
    above, below = map(int, part.split("/"))
    return (float(whole[0] if whole else 0) + above / below,) if 0 < above < below else ()


def before(text: str, start: int) -> tuple[str, str]:
    """The folded word before a position, and the marks between: `("ch", " ")` of `CH 12`."""
    match = _BEFORE.search(text[max(0, start - 18) : start])
    if match is None:
        return "", ""
    return ("nº" if match[1] in _NUMERO else fold(match[1])), match[2]


def _named(text: str, end: int) -> tuple[str, tuple[Unit, ...], int]:
    """The unit that follows a number: as written, its meanings, its end. Empty if none does."""
    match = _NAME.match(text, end)
    if match is None:
        return "", (), end
    name, stop = match["name"], match.end()
    glued, after = match.start("name") == end, text[stop : stop + 1]
    if after.isdecimal() and name[0].isalpha():
        if name[-1] in "xX" and len(name) > 1:  # 10CMX8CM
            name, stop = name[:-1], stop - 1
        elif name.lower() in {"m", "cm", "mm", "dm"} and _POWER.match(text, stop):
            name, stop = name + after, stop + 1
        else:
            return "", (), end
    elif after == "/" and (below := _BELOW.match(text, stop)) and meanings(name + below[0]):
        name, stop = name + below[0], below.end()
    low = name.lower()
    if (low in _ONLY_GLUED and (not glued or (low == "s" and after == "/"))) or (
        len(low) == 1
        and low in "lsdm"
        and after in {"'", "’"}
        and text[stop + 1 : stop + 2].isalpha()
    ):
        return "", (), end
    if low == "f" and not glued and name != "F":
        return "", (), end
    name = _INCHES.get(name, name)
    found = meanings(name)
    if not found and low not in {"c", "x", "p", "i"} and "." in name:
        name, _, _ = name.partition(".")
        stop, found = match.start("name") + len(name), meanings(name)
    if not found and low not in {"c", "x", "p", "i"}:
        return "", (), end
    return name, found, stop


def quantities(text: str) -> Iterator[Quantity]:
    """The numbers of a text in their order, those inside codes left out (`DSC-W120`, `A4`)."""
    position = 0
    while (digit := _DIGIT.search(text, position)) is not None:
        start = digit.start()
        ahead = text[start - 1 : start]
        if start > position and ahead in ".," and (start == 1 or not text[start - 2].isalnum()):
            start, ahead = start - 1, text[start - 2 : start - 1]
        match = _NUMBER.match(text, start)
        if match is None or ahead == "±" or text[max(0, start - 2) : start] in {"/-", "+-"}:
            position = digit.end() if match is None else match.end()
            continue
        form, end = match.lastgroup or "plain", match.end()
        name, units, stop = _named(text, end)
        if not name and text[end : end + 1].isalpha() and text[end].lower() != "x":
            # 40RV525U: letters that are no unit, glued: the rest of the word is no quantity.
            position = _word_end(text, end)
            continue
        if (
            ahead.isalpha()
            and text[position:start] not in {"", "x", "X"}
            and not _stands_apart(text, start, name, stop)
        ):
            position = _word_end(text, stop)
            continue
        if ahead == "-" and len(name) == 1 and text[start - 2 : start - 1].isalpha():
            position = stop
            continue
        position = stop
        worth = _worth(form, match[0])
        quantity = Quantity(start, stop, worth, name, units, stop - end == len(name), form=form)
        if text[stop : stop + 3].strip(" \t")[:1] in {"(", "+", "±"}:
            position = _tolerate(text, quantity)
        yield quantity


def _stands_apart(text: str, start: int, name: str, stop: int) -> bool:
    """Whether a number right after a letter is a quantity all the same and no part of a code."""
    if text[start - 1] in "xXøØ" and not text[start - 2 : start - 1].isalpha():
        return True
    word, _ = before(text, start)
    if name:  # words run together: PUNCIÓ21GX40, LLARG10CM
        return len(word) >= 4 and (len(name) > 1 or text[stop : stop + 1] in {"x", "X"})
    return word in _GLUED_BEFORE


def _word_end(text: str, position: int) -> int:
    while position < len(text) and text[position].isalnum():
        position += 1
    return position


def _tolerate(text: str, quantity: Quantity) -> int:
    """Add the tolerance that follows, `20(+/-2)G` or `11CM+/-0,5CM`; gives the end."""
    match = _TOLERANCE.match(text, quantity.end)
    if match is None:
        return quantity.end
    worth = values(match["number"])
    quantity.tolerance, end = worth[0] if worth else 0.0, match.end()
    written = match["name"] or ""
    known = written == "%" or bool(meanings(written))
    if quantity.name:
        if known:
            quantity.tolerance_unit = written
        elif written:  # 11CM+/-1 X 6CM: the word is the text's, not the tolerance's
            end = match.start("name")
    else:
        # 20(+/-2)G, 20+/-2G: one unit for both, unless the tolerance has brackets and its own.
        if known and match["open"]:
            quantity.tolerance_unit = written
        elif written:
            end = match.start("name")
        quantity.name, quantity.units, end = _named(text, end)
    quantity.end = end
    return end
