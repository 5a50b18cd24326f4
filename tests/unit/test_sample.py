"""The sample under examples/hospital: what its README promises, and that it is generated."""

import csv
import importlib
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

HOSPITAL = Path(__file__).parents[2] / "examples" / "hospital"
FILES = ("catalogue.csv", "list.csv", "pairs.csv")


def rows(name: str) -> list[dict[str, str]]:
    with (HOSPITAL / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def repaired(text: str) -> str:
    """The text before its UTF-8 was misread, if it was."""
    for codec in ("mac_roman", "cp1252"):
        try:
            return text.encode(codec).decode()
        except UnicodeError:
            continue
    return text


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The generator's module, which imports its neighbours as a script does."""
    monkeypatch.syspath_prepend(str(HOSPITAL))
    yield importlib.import_module("generate")
    for name in ("generate", "vocabulary", "wording"):
        sys.modules.pop(name)


def test_generating_again_gives_the_committed_bytes(tmp_path: Path) -> None:
    command = [sys.executable, str(HOSPITAL / "generate.py"), str(tmp_path)]
    subprocess.run(command, check=True, cwd=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (HOSPITAL / name).read_bytes(), name


def test_catalogue() -> None:
    catalogue = rows("catalogue.csv")
    assert list(catalogue[0]) == ["code", "family", "subfamily", "description"]
    assert len(catalogue) >= 3000
    assert len({row["family"] for row in catalogue}) == 60
    assert len({row["code"] for row in catalogue}) == len(catalogue)
    assert len({row["description"] for row in catalogue}) == len(catalogue)
    for row in catalogue:
        text = row["description"]
        assert 100 <= len(text) <= 400, text
        assert text == text.upper()
        assert text.startswith(f"{row['family']}, {row['subfamily']}, ")
        assert not re.search(r"[{}\[\]|]|  ", text), text
        assert re.fullmatch(r"\d{8}", row["code"])


def test_list() -> None:
    lines = rows("list.csv")
    assert list(lines[0]) == ["line", "description", "unit"]
    assert [row["line"] for row in lines] == [str(n) for n in range(1, 1001)]
    descriptions = [row["description"] for row in lines]
    assert len(set(descriptions)) == 1000
    assert all(row["unit"] for row in lines)
    for text in descriptions:
        assert 15 <= len(repaired(text)) <= 45, text
        assert "  " not in text


def test_some_lines_are_misread_and_some_cut_off() -> None:
    descriptions = [row["description"] for row in rows("list.csv")]
    broken = [text for text in descriptions if repaired(text) != text]
    assert len(broken) == 50
    assert sum("√" in text for text in broken) == 40
    assert any("Ã" in text for text in broken)
    assert all(text == text.upper() for text in map(repaired, broken))
    assert sum(len(text) == 30 and text[-1].isalpha() for text in descriptions) >= 80


def test_pairs() -> None:
    pairs = rows("pairs.csv")
    assert list(pairs[0]) == ["line", "code", "known"]
    assert len(pairs) == 900
    assert Counter(pair["known"] for pair in pairs) == {"true": 389, "false": 511}
    lines = {row["line"] for row in rows("list.csv")}
    assert {pair["line"] for pair in pairs} <= lines
    assert len(lines - {pair["line"] for pair in pairs}) == 100
    assert {pair["code"] for pair in pairs} <= {row["code"] for row in rows("catalogue.csv")}
    assert len({pair["line"] for pair in pairs}) == len({pair["code"] for pair in pairs}) == 900


def test_every_family_is_asked_for() -> None:
    families = {row["code"]: row["family"] for row in rows("catalogue.csv")}
    asked = Counter(families[pair["code"]] for pair in rows("pairs.csv"))
    assert asked == dict.fromkeys(families.values(), 15)


def test_no_spelling_has_two_meanings_within_an_article(generator: Any) -> None:
    items = [item for items in generator.families() for item in items]
    assert [overlap for item in items for overlap in generator.overlaps(item)] == []
    values = items[0].of["vol"]
    assert list(generator.overlaps(replace(items[0], of={"vol": values, "dose": values})))


def parted(text: str) -> str:
    """`20GX15CM` as `20G X 15CM`: what is next to a multiplication sign is a size of its own."""
    return re.sub(r'(?<=[A-Z"])X(?=\d)', " X ", text)


def mentioned(item: Any, line: str) -> dict[str, set[str]]:
    """Attributes that a line mentions, each with the values that the words found may stand for."""
    found = []
    for name, value in item.values():
        for form in value.understood():
            pattern = rf"(?<![A-Z0-9])(?<!\d[.,]){re.escape(parted(form))}(?![A-Z0-9])(?![.,]\d)"
            for match in re.finditer(pattern, parted(line)):
                found.append((match.span(), name, value.official))
    told: dict[str, set[str]] = {}
    for (start, end), name, official in found:
        longer = any(s <= start and end <= e and (s, e) != (start, end) for (s, e), *_ in found)
        if not longer:
            told.setdefault(name, set()).add(official)
    return told


def test_what_a_line_says_fits_its_counterpart_alone(generator: Any) -> None:
    """The sizes, materials and so on that are written in a line select one line of its article.

    Lines cut off at thirty characters may have lost some and are left out.
    """
    entries = [e for group in generator.catalogue(generator.Dice(generator.SEED)) for e in group]
    lines = {row["line"]: repaired(row["description"]) for row in rows("list.csv")}
    for pair in rows("pairs.csv"):
        line = generator.unaccented(lines[pair["line"]])
        if len(line) == 30:
            continue
        item = next(entry.item for entry in entries if entry.code == pair["code"])
        told = mentioned(item, line)
        fitting = [
            entry.code
            for entry in entries
            if entry.item == item
            and all(item.value(entry.variant, name).official in told[name] for name in told)
        ]
        assert fitting == [pair["code"]], (line, told)
