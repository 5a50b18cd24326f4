"""Measures that a text states: numbers with units, ranges, tolerances and dimensions.

`10X8CM`, `10 x 8 cm` and `100 × 80 mm` give the same two lengths, `120 A 180CM` a range,
`20(+/-2)G` an interval, `20G` a gauge or grams: what is ambiguous keeps all its readings.
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from aparella.workers.features.quantities import Quantity, before, quantities
from aparella.workers.features.units import Unit, meanings

Reading: TypeAlias = tuple[str, float, float]
"""(kind, low, high) in the base unit of the kind, see `units`; low = high for a single value."""

_LINK = re.compile(
    r"\s*(?:(?P<by>[xX×*⨯✕]|per|por|by)|(?P<to>-|–|—|a|al|to|fins(?:\s+a)?|hasta)|(?P<or>/|o|ó|or))\s*",
    re.IGNORECASE,
)
_CONNECTOR = re.compile(
    r"(?<![\w,.])(?:15|22|30)[MF](?:[-/](?:15|22|30)[MF])*(?!\w)", re.IGNORECASE
)
"""Conical connectors of breathing systems (ISO 5356-1), male and female: not metres, not French."""
_PAIRED = re.compile(r"[MF][-/]\d|iso\W{1,2}$", re.IGNORECASE)

_NEEDLE_LENGTH = re.compile(r"\s?\(?[øØ]?\s?\d+(?:[.,]\d+)?\s?mm", re.IGNORECASE)
_GAUGES = (6.0, 34.0)
_MASS_WORDS = frozenset({"pes", "peso", "weight", "pesa", "net", "neto", "gramatge"})
_GAUGE_WORDS = frozenset({"calibre", "gauge", "ga", "agulla", "aguja", "needle", "galga"})
_SIZE_WORDS = frozenset({"talla", "mida", "size", "numero", "num", "number", "nº", "n°", "calibre"})
_BOX_WORDS = frozenset(
    {"cx", "caixa", "caja", "box", "paquet", "paquete", "pack", "pq", "bossa", "bolsa", "bag"}
)
_PREFIXES = {"ch": "french", "fr": "french", "charriere": "french"}
_CUT_OFF = (Unit("length", 1_000), Unit("length", 1), Unit("volume", 1))
"""`M` as the last letter of a text: a field may have cut off what follows, so metres, MM or ML."""
_NEVER_THOUSANDS = frozenset({"percent", "gauge", "french"})
_FEWEST_LINES = 240
"""`1080p` is a picture's height; of smaller numbers the letter means something else."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure in a text.

    Attributes:
        kind: what it measures in its likeliest reading, as `units` names it.
        low: the least it may be, in the base unit of the kind.
        high: the most it may be; equals `low` for a single value.
        start: where it begins in the text.
        end: where it ends.
        text: as written.
        group: measures joined by ×, a range or a slash share one number; unique in its text.
        readings: all it may mean, the likeliest first.
        side: it is one side of a dimension, joined to the next by ×.
        assumed: its unit is written nowhere, or may be cut off at the end of the text.
    """

    kind: str
    low: float
    high: float
    start: int
    end: int
    text: str
    group: int
    readings: tuple[Reading, ...]
    side: bool = False
    assumed: bool = False


def measures(text: str) -> tuple[Measure, ...]:
    """The measures of a text in their order; one stated again elsewhere is listed once.

    Sides that are equal (`10X10CM`) belong to one group and are both listed.
    """
    if "15" in text or "22" in text or "30" in text:
        text = _CONNECTOR.sub(_without_connector, text)
    found: list[Measure] = []
    chain: list[Quantity] = []
    links: list[str] = []
    for quantity in quantities(text):
        link = _link(text, chain[-1], quantity) if chain else ""
        if not link:
            _understand(text, chain, links, found)
            chain, links = [], []
        else:
            links.append(link)
        chain.append(quantity)
    _understand(text, chain, links, found)
    return _once(found)


def _without_connector(match: re.Match[str]) -> str:
    text, start = match.string, match.start()
    if "-" in match[0] or "/" in match[0] or _PAIRED.search(text[max(0, start - 6) : start]):
        return "_" * len(match[0])
    return match[0]


def _link(text: str, left: Quantity, right: Quantity) -> str:
    """How two neighbours hang together: `by` (10 x 8), `to` (a range), `or` (a list), or not."""
    between = text[left.end : right.start]
    if left.name in {"x", "X"}:
        return "by" if not between.strip() else ""
    if not between and text[left.end - 1 : left.end] in {"x", "X"}:
        return "by"
    if len(between) > 10:
        return ""
    match = _LINK.fullmatch(between)
    if match is None:
        return ""
    kind = match.lastgroup or ""
    if kind != "by" and between.isalpha():  # 120A180: a letter of a code
        return ""
    return kind


def _understand(text: str, chain: list[Quantity], links: list[str], found: list[Measure]) -> None:
    """Add the measures of quantities that hang together."""
    if not chain:
        return
    _share_units(chain, links)
    group = found[-1].group + 1 if found else 0
    bare_sides = "by" in links and not any(q.units or q.name for q in chain[1:])
    skip = False
    for i, quantity in enumerate(chain):
        if skip:
            skip = False
            continue
        beside = links[i] if i < len(links) else ""
        side = beside == "by" or (i > 0 and links[i - 1] == "by")
        readings = _readings(text, quantity, side)
        assumed = _is_cut_off(text, quantity)
        if not readings and bare_sides and side:
            readings, assumed = _sides(chain, quantity), True
        if not readings:
            continue
        start, end = quantity.start, quantity.end
        if beside == "to":
            other = _readings(text, chain[i + 1], False)
            if merged := _range(readings, other):
                readings, end, skip = merged, chain[i + 1].end, True
        kind, low, high = readings[0]
        found.append(
            Measure(kind, low, high, start, end, text[start:end], group, readings, side, assumed)
        )


def _share_units(chain: list[Quantity], links: list[str]) -> None:
    """The unit of the last, with its tolerance, applies to those before that have none.

    A side without a unit takes that of the side before.

    Across × only lengths are shared: in `2 x 500 ml` the first number counts.
    """
    for i in range(len(links) - 1, -1, -1):
        left, right = chain[i], chain[i + 1]
        if (not left.units and left.name in {"", "x", "X"} and right.units) and (
            links[i] != "by" or right.units[0].kind == "length"
        ):
            left.units, left.name, left.glued = right.units, right.name, right.glued
            if links[i] != "or" and right.tolerance and not left.tolerance:
                left.tolerance, left.tolerance_unit = right.tolerance, right.tolerance_unit
    for (left, right), link in zip(pairwise(chain), links, strict=True):
        if link == "by" and not right.units and left.units and left.units[0].kind == "length":
            right.units, right.name = left.units, left.name


def _readings(text: str, quantity: Quantity, side: bool) -> tuple[Reading, ...]:
    """What a quantity may measure; empty if it has neither a unit nor a word that tells."""
    worth = quantity.values
    units = _meant(text, quantity, side) if worth else ()
    if not units:
        return ()
    kind = units[0].kind
    if kind in _NEVER_THOUSANDS:
        worth = worth[:1]
    elif kind == "temperature" and _is_below_zero(text, quantity.start):
        worth = tuple(-value for value in worth)
    return tuple(_interval(value, unit, quantity) for unit in units for value in worth)


def _meant(text: str, quantity: Quantity, side: bool) -> tuple[Unit, ...]:
    """What the unit means beside this number and these words."""
    if quantity.form == "suture":
        return (Unit("usp", 1),)
    name = quantity.name.lower()
    if name == "g":
        return _gauge_or_mass(text, quantity, side)
    if name == "c":
        return (Unit("arc", 1),) if quantity.form in {"fraction", "vulgar"} else ()
    if name in {"p", "i"}:
        return (Unit("lines", 1),) if quantity.values[0] >= _FEWEST_LINES else ()
    if name == "x":
        return (Unit("magnification", 1),)
    if _is_cut_off(text, quantity):
        return _CUT_OFF
    return quantity.units or _by_word_before(text, quantity)


def _is_cut_off(text: str, quantity: Quantity) -> bool:
    return quantity.name in {"m", "M"} and quantity.glued and quantity.end == len(text)


def _is_below_zero(text: str, start: int) -> bool:
    return text[start - 1 : start] in {"-", "−"} and not text[max(0, start - 2)].isalnum()


def _interval(value: float, unit: Unit, quantity: Quantity) -> Reading:
    middle, half = value * unit.factor + unit.offset, 0.0
    if quantity.tolerance:
        if quantity.tolerance_unit == "%" and unit.kind != "percent":
            half = abs(middle) * quantity.tolerance / 100
        else:
            own = meanings(quantity.tolerance_unit) if quantity.tolerance_unit else ()
            factor = own[0].factor if own and own[0].kind == unit.kind else unit.factor
            half = quantity.tolerance * factor
    return unit.kind, round(middle - half, 9), round(middle + half, 9)


def _gauge_or_mass(text: str, quantity: Quantity, side: bool) -> tuple[Unit, ...]:
    """`20G` is a needle's gauge or a weight: both, unless something near it tells."""
    gauge, mass = Unit("gauge", 1), Unit("mass", 1)
    value = quantity.values[0]
    possible = _GAUGES[0] <= value <= _GAUGES[1] and value % 0.5 == 0
    if not possible or quantity.tolerance or not (quantity.glued or quantity.name == "G"):
        return (mass,)
    word, _ = before(text, quantity.start)
    if word in _MASS_WORDS:
        return (mass,)
    if side or word in _GAUGE_WORDS or _NEEDLE_LENGTH.match(text, quantity.end):
        return (gauge,)
    return (gauge, mass)


def _by_word_before(text: str, quantity: Quantity) -> tuple[Unit, ...]:
    """What a number without a unit measures, by the word before: `CH 12`, `TALLA 7`, `CX 50`."""
    if quantity.name:
        return ()
    word, marks = before(text, quantity.start)
    if word in _PREFIXES:
        return (Unit(_PREFIXES[word], 1),)
    if word == "u" and marks in {"/", "-", ""} and quantity.values[0] in {40, 100, 200, 300, 500}:
        return (Unit("activity/volume", 1),)
    if word in _SIZE_WORDS or (word in {"no", "t"} and "." in marks) or word == "n":
        return (Unit("size", 1),)
    if word in _BOX_WORDS and quantity.values[0] >= 1:
        return (Unit("count:piece", 1),)
    return ()


def _sides(chain: list[Quantity], quantity: Quantity) -> tuple[Reading, ...]:
    """`10X8` without a unit: centimetres, millimetres, inches or metres.

    Pixels (`1920x1080`) and single digits that count (`4 x 2`) are no dimensions of a thing.
    """
    if any(q.form != "plain" or not q.values or not 1 <= q.values[0] < 1000 for q in chain):
        return ()
    if len(chain) < 2 or min(q.values[0] for q in chain) >= 300 or quantity.name:
        return ()
    value = quantity.values[0]
    return tuple(("length", value * factor, value * factor) for factor in (10.0, 1.0, 25.4, 1000.0))


def _range(low: tuple[Reading, ...], high: tuple[Reading, ...]) -> tuple[Reading, ...]:
    """From the one to the other, where both may be of one kind and the first is the less."""
    return tuple(
        (kind, least, most)
        for kind, least, below in low
        for other, above, most in high
        if kind == other and below < above
    )


def _once(found: list[Measure]) -> tuple[Measure, ...]:
    """Without measures that an earlier group states as often."""
    if len({m.readings for m in found}) == len(found):
        return tuple(found)
    stated: dict[tuple[Reading, ...], int] = {}
    kept: list[Measure] = []
    in_group: dict[tuple[int, tuple[Reading, ...]], int] = {}
    for measure in found:
        key = (measure.group, measure.readings)
        in_group[key] = in_group.get(key, 0) + 1
        if in_group[key] > stated.get(measure.readings, 0):
            stated[measure.readings] = in_group[key]
            kept.append(measure)
    return tuple(kept)
