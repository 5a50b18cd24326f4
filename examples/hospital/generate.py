"""Writes the sample: a catalogue of medical supplies, a buyer's list and the true pairs.

`python examples/hospital/generate.py` writes the three files beside itself, `... DIRECTORY` into
another directory. The same bytes every time: every choice is drawn from one seed.
"""

import csv
import itertools
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vocabulary import (
    HERE,
    PLACEHOLDER,
    Dice,
    Item,
    elsewhere,
    families,
    overlaps,
    stems,
    unaccented,
)
from wording import MAX_LENGTH, Buyers, official_line

SEED = 20
FAMILY_SIZE = 51
MAIN_SIZE = 40
"""Lines of a family, and those at most of its main article: the one with most variants."""
ASKED, ASKED_MAIN = 15, 5
"""Lines of the buyer's list for one family, and those for its main article, as a rule."""
PLAIN = 0.85
"""Share of lines in the catalogue's own words; the others are in the wards' jargon."""
SPARING = 0.1
"""Share of lines without attributes that are not needed, even where there is room for them."""
ATTEMPTS = 120
KNOWN = 389
MIN_LENGTH = 15
TRUNCATED, TRUNCATED_TO = 83, 30
MISREAD = {"mac_roman": 40, "cp1252": 10}
"""How many lines have their UTF-8 read as another encoding."""


@dataclass(frozen=True)
class Entry:
    """A line of the catalogue: which variant of which item it is, and how it reads."""

    code: str
    item: Item
    variant: dict[str, int]
    description: str


@dataclass(frozen=True)
class Request:
    """A line of the buyer's list; `code` is its counterpart's, None if there is none."""

    description: str
    unit: str
    code: str | None


def _code(family: int, item: int, serial: int) -> str:
    """Eight digits: family, article, serial number and a check digit (ISO/IEC 7812, Luhn)."""
    digits = f"{family + 11}{item}{serial:04d}"
    doubled = [int(d) * (2 - i % 2) for i, d in enumerate(reversed(digits))]
    return f"{digits}{-sum(n // 10 + n % 10 for n in doubled) % 10}"


def _shares(possible: Sequence[int]) -> list[int]:
    """How many lines each of a family's two articles gets."""
    main = min(max(possible), MAIN_SIZE)
    other = FAMILY_SIZE - main
    return [main, other] if possible[0] >= possible[1] else [other, main]


def _spread(variants: list[dict[str, int]], count: int) -> list[dict[str, int]]:
    """Some of the variants, each the least like those chosen before it.

    An article is not on sale in every combination of its attributes.
    """
    chosen: list[dict[str, int]] = []
    nearness = [0.0] * len(variants)
    while len(chosen) < count:
        best = min(range(len(variants)), key=nearness.__getitem__)
        chosen.append(variants[best])
        for i, variant in enumerate(variants):
            shared = sum(variant[name] == n for name, n in chosen[-1].items())
            # One that shares two attributes is nearer than two that share one each.
            nearness[i] += 4.0**shared if shared < len(variant) else float("inf")
    return chosen


def catalogue(dice: Dice) -> list[list[Entry]]:
    """The catalogue, family by family."""
    groups = []
    for family, items in enumerate(families()):
        group = []
        counts = _shares([len(list(item.variants())) for item in items])
        for number, (item, count) in enumerate(zip(items, counts, strict=True), 1):
            serial = 0
            habits = dice.seed()
            for variant in _spread(dice.shuffled(item.variants()), count):
                serial += dice.choice((1, 2, 3, 7))
                line = official_line(item, variant, Dice(habits))
                group.append(Entry(_code(family, number, serial), item, variant, line))
        groups.append(group)
    return groups


class Clerk:
    """Writes requests for entries that a careful reader finds again, without a doubt which."""

    def __init__(self, entries: Sequence[Entry], dice: Dice) -> None:
        self._dice = dice
        self._buyers = Buyers((entry.description for entry in entries), dice)
        self._variants: dict[str, list[dict[str, int]]] = {}
        self._words: dict[str, frozenset[str]] = {}
        for entry in entries:
            self._variants.setdefault(entry.item.subfamily, []).append(entry.variant)
            self._words[entry.item.subfamily] = entry.item.words()

    def identifies(self, entry: Entry, ask: str) -> bool:
        """Whether the attributes in a wording fit this entry alone among those of its item."""
        item, names = entry.item, PLACEHOLDER.findall(ask)
        told = item.identity(entry.variant, names)
        variants = self._variants[item.subfamily]
        return sum(item.identity(variant, names) == told for variant in variants) == 1

    def _sparing(self, entry: Entry, ask: str) -> str:
        """The wording without some of the attributes that it does not need."""
        parts = ask.split()
        for part in self._dice.shuffled(p for p in parts if PLACEHOLDER.fullmatch(p)):
            without = [p for p in parts if p != part]
            if self._dice.chance(0.4) and self.identifies(entry, " ".join(without)):
                parts = without
        return " ".join(parts)

    def request(self, entry: Entry) -> Request | None:
        """A request for an entry, accents and all; None if no line of that length identifies it."""
        item = entry.item
        jargon = [ask for ask in item.ask if self.identifies(entry, ask)]
        place = list(self._words).index(item.subfamily)
        others = [words for name, words in self._words.items() if name != item.subfamily]
        plain = item.plain() if self._dice.chance(PLAIN) else None
        for attempt in range(ATTEMPTS):
            # A line too long is tried with fewer words, and only then with fewer attributes.
            patience = 3 * attempt // ATTEMPTS
            if plain is None and jargon:
                ask = self._dice.choice(jargon)
            else:
                ask = item.plain(2 if patience else 3)
            if patience == 2 or self._dice.chance(SPARING):
                ask = self._sparing(entry, ask)
            short = self._buyers.shortened(ask)
            line = self._buyers.words(item, short, entry.variant, 0.3 if patience else 0.8)
            meaning = stems(ask) | (stems(line) - stems(short))
            if len(line) > MAX_LENGTH or any(meaning <= words for words in others):
                continue
            for extra in self._buyers.extras(item, place):
                if extra not in line and len(line) + 1 + len(extra) <= MAX_LENGTH:
                    line = f"{line} {extra}"
            if len(line) >= MIN_LENGTH:
                return Request(self._buyers.accented(line), item.unit, entry.code)
        return None


def _misread(text: str, codec: str) -> str | None:
    """What becomes of a text whose UTF-8 is read as another encoding; None if it cannot be."""
    try:
        misread = text.encode().decode(codec)
    except UnicodeDecodeError:
        return None
    return misread if misread != text else None


def worn(requests: Sequence[Request], dice: Dice) -> list[Request]:
    """The list as it arrives: accents gone, some lines cut off, some with broken encoding."""
    cuts, misreadings = TRUNCATED, dict(MISREAD)
    seen: set[str] = set()

    def wear(accented: str) -> str:
        nonlocal cuts
        plain = unaccented(accented)
        cut, at_cut = plain[:TRUNCATED_TO], plain[TRUNCATED_TO - 1 : TRUNCATED_TO + 1]
        if cuts and len(at_cut) == 2 and at_cut.isalpha() and cut not in seen:
            cuts -= 1
            return cut
        for codec, left in misreadings.items():
            misread = _misread(accented, codec)
            if left and misread is not None:
                misreadings[codec] -= 1
                return misread
        return plain if dice.chance(0.9) else accented

    worn_requests = []
    for request in requests:
        description = wear(request.description)
        seen.add(description)
        worn_requests.append(replace(request, description=description))
    return worn_requests


def _side_first(entries: Sequence[Entry]) -> list[Entry]:
    """A family's entries, but those of its main article after the first few come last.

    In the order given, buyers would ask for the main article four times out of five.
    """
    sizes = Counter(entry.item.subfamily for entry in entries)
    main, _ = max(sizes.items(), key=lambda pair: pair[1])
    mains = [entry for entry in entries if entry.item.subfamily == main]
    sides = [entry for entry in entries if entry.item.subfamily != main]
    return mains[:ASKED_MAIN] + sides + mains[ASKED_MAIN:]


def buyers_list(groups: Sequence[Sequence[Entry]], dice: Dice) -> list[Request]:
    """The buyer's list: requests for a part of every family, and what is not in the catalogue."""
    clerk = Clerk([entry for group in groups for entry in group], dice)
    requests: dict[str, Request] = {}
    for group in groups:
        asked = filter(None, map(clerk.request, _side_first(dice.shuffled(group))))
        for request in itertools.islice(asked, ASKED):
            requests[unaccented(request.description)] = request
    for description, unit in elsewhere():
        requests[unaccented(description)] = Request(description, unit, None)
    return dice.shuffled(worn(dice.shuffled(requests.values()), dice))


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def main(directory: Path) -> None:
    """Write the three files into a directory."""
    for item in (item for items in families() for item in items):
        for overlap in overlaps(item):
            raise ValueError(overlap)
    groups = catalogue(Dice(SEED))
    requests = buyers_list(groups, Dice(SEED + 1))
    paired = [str(n) for n, request in enumerate(requests, 1) if request.code]
    known = set(Dice(SEED + 2).shuffled(paired)[:KNOWN])
    _write(
        directory / "catalogue.csv",
        ("code", "family", "subfamily", "description"),
        (
            (entry.code, entry.item.family, entry.item.subfamily, entry.description)
            for group in groups
            for entry in group
        ),
    )
    _write(
        directory / "list.csv",
        ("line", "description", "unit"),
        ((str(n), r.description, r.unit) for n, r in enumerate(requests, 1)),
    )
    _write(
        directory / "pairs.csv",
        ("line", "code", "known"),
        (
            (str(n), request.code, str(str(n) in known).lower())
            for n, request in enumerate(requests, 1)
            if request.code
        ),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
