"""The commands of docs/pairs.md work as shown, and a wrong file of pairs gets its sentence."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.acceptance.conftest import ROOT, Stack

PAGE = (ROOT / "docs" / "pairs.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ aparella (.*)$", PAGE, re.MULTILINE)
COLLECT = shlex.split(
    re.search(r"`aparella (pairs collect [^`]+)`", PAGE)[1]  # type: ignore[index]
)


@pytest.fixture(scope="module")
def folder(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the files that the page names, and the two collections in the stack."""
    folder = tmp_path_factory.mktemp("pairs")
    numbers = range(40)
    for name, letter, text in (
        ("buyers", "L", "XERINGA {} ML"),
        ("catalogue", "C", "XERINGUES {}"),
    ):
        lines = [f"{letter}{i},{text.format(i)}" for i in numbers]
        (folder / f"{name}.csv").write_text("\n".join(["id,name", *lines]) + "\n")
        stack.run("import", name, str(folder / f"{name}.csv"), "--key", "id", "--text", "name")
    pairs = [f"L{i},C{i}" for i in numbers]
    (folder / "pairs.csv").write_text("\n".join(["source_key,target_key", *pairs]) + "\n")
    (folder / "texts.csv").write_text("source_text,target_text\nAGULLA,AGULLES\n")
    yield folder
    # Other pages use the same name for other pairs, on the same stack.
    stack.run("pairs", "delete", "known")


def test_the_commands_of_the_page(stack: Stack, folder: Path) -> None:
    assert len(COMMANDS) == 5
    said = {command: stack.run(*shlex.split(command), cwd=folder).stdout for command in COMMANDS}
    assert "40 rows, 40 new" in said[COMMANDS[0]]
    assert "buyers → catalogue" in said[COMMANDS[1]]
    assert re.search(r"pairs +40\n", said[COMMANDS[2]])
    assert "test" in said[COMMANDS[2]]
    (known,) = [stack.json("pairs", "list")]
    assert (known["name"], known["pairs"]) == ("known", 40)
    assert stack.json("pairs", "show", "known")["stale"] == 0


def test_collecting_decisions(stack: Stack, folder: Path) -> None:
    assert "Nobody has decided yet" in stack.run(*COLLECT, code=2).stderr
    engine = stack.database()
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO decision (source_id, target_id, catalogue_id, source_hash, "
                "target_hash, verdict, decided_by) SELECT s.id, t.id, t.collection_id, "
                "s.text_hash, t.text_hash, 'reject', 'anna' FROM record s, record t "
                "WHERE s.key = 'L0' AND t.key IN ('C0', 'C1')"
            )
        )
    engine.dispose()
    stack.run("pairs", "import", "known", str(folder / "pairs.csv"), *COLLECT[3:])
    said = stack.run(*COLLECT).stdout
    assert "Collected 2 decisions into known: 1 new, 1 changed, 0 unchanged, 2 rejected" in said
    assert "L0 → C0: rejected by a person, while the file says the opposite" in said
    assert stack.json(*COLLECT)["unchanged"] == 2
    result = stack.run("pairs", "import", "known", str(folder / "pairs.csv"), *COLLECT[3:], code=3)
    assert "a person has rejected this pair, and that stands" in result.stdout


def test_wrong_files_of_pairs(stack: Stack, folder: Path) -> None:
    both = ("--source", "buyers", "--target", "catalogue")
    swapped = folder / "swapped.csv"
    swapped.write_text("source_key,target_key\nC1,L1\nC2,L2\n")
    result = stack.run("pairs", "import", "wrong", str(swapped), *both, code=1)
    assert "--source-column target_key --target-column source_key" in result.stderr
    bad = folder / "bad.csv"
    bad.write_text("source_key,target_key,label\nl1,C1,1\nL2,C2,yes\nL3,C3,1\nL3,C3,0\n")
    result = stack.run("pairs", "import", "wrong", str(bad), *both, code=1)
    assert "All 4 rows of bad.csv are refused: nothing was changed." in result.stderr
    for words in ("did you mean 'L1'?", "give 1 or true", "keep the one that is right"):
        assert words in result.stdout
    for words, sentence in {
        ("import", "wrong", str(bad), "--source", "nowhere", "--target", "catalogue"): (
            "There is no collection 'nowhere'"
        ),
        ("import", "wrong", str(bad), "--source", "buyers"): "Give --target too",
        ("import", "wrong", str(bad)): "give the two collections",
        ("show", "nobody"): "There is no pair set 'nobody'",
        ("delete", "nobody"): "There is no pair set 'nobody'",
        ("collect", "nobody", "--source", "nowhere", "--target", "buyers"): "'nowhere'",
    }.items():
        assert sentence in stack.run("pairs", *words, code=2).stderr, words
