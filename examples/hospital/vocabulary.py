"""The vocabulary of the sample: families of articles, their attributes and how values are spelt."""

import itertools
import random
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

HERE = Path(__file__).parent
PLACEHOLDER = re.compile(r"\{(\w+)\}")

_FUNCTION_WORDS = {"DE", "DEL", "PER", "A", "AL", "AMB", "I", "O", "LA", "EL", "X"}
_AREA = re.compile(r"([\d,]+)(CM|MM)?X([\d,]+)(CM|MM|M)")
_SIZE = re.compile(r"([\d,]+)(ML|MM|CM|CH|F|G|L|KG|H|G/M2)")
_UNIT_SYNONYMS = {"ML": ("CC",), "CH": ("FR", "F"), "F": ("FR",), "H": ("HORES",)}


class Dice:
    """Seeded choices.

    Built on `random()` alone: it is the one method whose sequence Python promises to keep from
    version to version, so that the sample is the same bytes everywhere.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def seed(self) -> int:
        """A seed for other dice."""
        return int(self._random() * 2**32)

    def chance(self, probability: float) -> bool:
        """Whether something of that probability happens."""
        return self._random() < probability

    def choice(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[int(self._random() * len(items))]

    def shuffled(self, items: Iterable[T]) -> list[T]:
        """The items in another order."""
        return sorted(items, key=lambda _: self._random())


def unaccented(text: str) -> str:
    """The text as a program without accents has it: `COL·LAGEN ESTÈRIL` is `COL.LAGEN ESTERIL`."""
    letters = unicodedata.normalize("NFD", text.replace("·", "."))
    return "".join(c for c in letters if unicodedata.category(c) != "Mn")


@dataclass(frozen=True)
class Value:
    """One value of an attribute: the catalogue's wording and the buyers' wordings."""

    official: str
    colloquial: tuple[str, ...]

    @classmethod
    def parse(cls, spec: str) -> "Value":
        """From `official|colloquial|colloquial`; without a bar all write it the same way."""
        official, *colloquial = spec.split("|")
        return cls(official, tuple(colloquial) or (unaccented(official),))

    def spellings(self) -> list[str]:
        """The buyers' ways to write it, the usual one first."""
        return [spelling for form in self.colloquial for spelling in _sizes(form)]

    def understood(self) -> set[str]:
        """Every way to write it that a reader meets, without accents."""
        return {unaccented(spelling) for spelling in (self.official, *self.spellings())}


def _sizes(form: str) -> Iterator[str]:
    """The ways to write a size: `10X8CM`, `10 X 8`; `14CH`, `14 CH`, `14FR`; any other as it is."""
    yield form
    if area := _AREA.fullmatch(form):
        a, a_unit, b, unit = area.groups(default="")
        yield f"{a}{a_unit} X {b}{unit}"
        yield f"{a} X {b}"
        yield f"{a}X{b}"
    elif size := _SIZE.fullmatch(form):
        number, unit = size.groups()
        yield f"{number} {unit}"
        for synonym in _UNIT_SYNONYMS.get(unit, ()):
            yield f"{number}{synonym}"
        if "," in number:
            yield f"{number.replace(',', '.')}{unit}"


@dataclass(frozen=True)
class Item:
    """An article that comes in many variants.

    Attributes:
        text: its line in the catalogue, with attributes in braces and `[a|b]` for a free choice.
        ask: how buyers write it. What an underscore joins stays together.
        unit: what is ordered: a piece, a box.
        marks: what its lines end with.
        of: each attribute's values.
        derived: attributes that follow from another one: name -> (that one, values in its order).
        never: pairs of official wordings that do not go together.
    """

    family: str
    subfamily: str
    text: str
    ask: tuple[str, ...]
    unit: str
    marks: tuple[str, ...]
    of: Mapping[str, tuple[Value, ...]]
    derived: Mapping[str, tuple[str, tuple[Value, ...]]] = field(default_factory=dict)
    never: tuple[frozenset[str], ...] = ()

    def variants(self) -> Iterator[dict[str, int]]:
        """Every combination of values that makes sense: the number of each attribute's value."""
        for numbers in itertools.product(*(range(len(values)) for values in self.of.values())):
            variant = dict(zip(self.of, numbers, strict=True))
            official = {self.of[name][n].official for name, n in variant.items()}
            if not any(pair <= official for pair in self.never):
                yield variant

    def value(self, variant: Mapping[str, int], name: str) -> Value:
        """The value that an attribute, derived or not, has in a variant."""
        if name in self.derived:
            source, values = self.derived[name]
            return values[variant[source]]
        return self.of[name][variant[name]]

    def plain(self, words: int = 3) -> str:
        """How one asks for it in the catalogue's own words: the first ones and all attributes."""
        head: list[str] = []
        for word in self.text.split(",")[0].replace("D'", "").split():
            if placeholder := PLACEHOLDER.search(word):
                head.append(placeholder[0])
            elif word not in _FUNCTION_WORDS and sum("{" not in w for w in head) < words:
                head.append(unaccented(word))
        rest = (f"{{{name}}}" for name in PLACEHOLDER.findall(self.text) if name in self.of)
        return " ".join(dict.fromkeys((*head, *rest))).replace(" NO {", " {")

    def values(self) -> Iterator[tuple[str, Value]]:
        """Every (attribute, value), those of derived attributes too."""
        for name, values in self.of.items():
            yield from ((name, value) for value in values)
        for name, (_, values) in self.derived.items():
            yield from ((name, value) for value in values)

    def words(self) -> frozenset[str]:
        """The stems of all words that buyers use for any of its variants."""
        spellings = (spelling for _, value in self.values() for spelling in value.understood())
        return stems(" ".join((*self.ask, self.plain(), *spellings)))

    def identity(
        self, variant: Mapping[str, int], names: Iterable[str]
    ) -> frozenset[tuple[str, str]]:
        """What these attributes say about a variant: equal for variants they cannot tell apart."""
        return frozenset((name, self.value(variant, name).official) for name in names)


def _item(family: str, spec: dict[str, Any]) -> Item:
    derived = {
        name: (source, tuple(map(Value.parse, values)))
        for name, sources in spec.get("derived", {}).items()
        for source, values in sources.items()
    }
    return Item(
        family=family,
        subfamily=spec["subfamily"],
        text=spec["text"],
        ask=tuple(spec["ask"]),
        unit=spec["unit"],
        marks=tuple(re.findall(r"NO ESTÈRIL|\S+", spec["marks"])),
        of={name: tuple(map(Value.parse, values)) for name, values in spec["of"].items()},
        derived=derived,
        never=tuple(map(frozenset, spec.get("never", ()))),
    )


def families() -> list[list[Item]]:
    """The items of `families.toml`, family by family."""
    with (HERE / "families.toml").open("rb") as file:
        specs = tomllib.load(file)["family"]
    return [[_item(spec["name"], item) for item in spec["item"]] for spec in specs]


def elsewhere() -> list[tuple[str, str]]:
    """The (description, unit) of what only other departments know, from `elsewhere.toml`."""
    with (HERE / "elsewhere.toml").open("rb") as file:
        departments = tomllib.load(file)["departments"]
    return [(text, unit) for lines in departments.values() for text, unit in lines]


def stems(text: str) -> frozenset[str]:
    """The words of a text, cut as short as buyers cut them."""
    words = PLACEHOLDER.sub(" ", text.replace("_", " ")).split()
    return frozenset(unaccented(word).rstrip(".")[:5] for word in words)


def overlaps(item: Item) -> Iterator[str]:
    """The spellings that two values of an item share: with them a line could mean either."""
    meant: dict[str, str] = {}
    for name, value in item.values():
        meaning = f"{name} {value.official}"
        for spelling in {spelling.replace(" ", "") for spelling in value.understood()}:
            if (other := meant.setdefault(spelling, meaning)) != meaning:
                yield f"{item.subfamily}: {spelling} is {other} and {meaning}"
