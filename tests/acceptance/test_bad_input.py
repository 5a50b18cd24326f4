"""A user's mistake gets a sentence that says what, where and what to do, and leaves nothing."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.acceptance.conftest import Stack

GOOD = "".join(f"{i},XERINGA {i} ML,4.5\n" for i in range(50))
HEADER = "id,name,price\n"


def parquet(_: Path) -> bytes:
    return b"PAR1 this is no Parquet file PAR1"


def cut_short(_: Path) -> bytes:
    return gzip.compress((HEADER + GOOD * 200).encode())[:-40]


REFUSED_FILES: list[tuple[str, bytes | Callable[[Path], bytes], list[str]]] = [
    ("missing.csv", b"code,name\n1,A\n", ["missing.csv", "'id'", "code"]),
    ("twice.csv", b"id,id,name\n1,2,A\n", ["twice.csv", "'id'"]),
    ("cut.csv", HEADER.replace(",", ";").encode() + b"1;A;2\n", ["--delimiter ';'"]),
    ("empty.csv", b"", ["empty.csv", "empty"]),
    ("header.csv", HEADER.encode(), ["header.csv"]),
    ("none.parquet", parquet, ["none.parquet", "Parquet"]),
    ("short.csv.gz", cut_short, ["short.csv.gz", "cut short"]),
]


@pytest.mark.parametrize(("name", "content", "words"), REFUSED_FILES, ids=lambda v: str(v)[:12])
def test_a_file_that_is_wrong_as_a_whole(
    stack: Stack,
    tmp_path: Path,
    name: str,
    content: bytes | Callable[[Path], bytes],
    words: list[str],
) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content(tmp_path))
    result = stack.run("import", "refused", str(path), "--key", "id", "--text", "name", code=2)
    for word in words:
        assert word in result.stderr, result.stderr
    assert "refused" not in stack.run("collections").stdout


def test_bad_rows_are_listed_and_the_others_imported(stack: Stack, tmp_path: Path) -> None:
    bad = [
        b"1,XERINGA REPETIDA,2\n",  # line 52
        b"100,,2\n",
        b"101,A\n",
        b"102,AGULLA \xc9STERIL,2\n",
        b"103,A\x00B,2\n",
        b"104," + b"X" * 10_000_000 + b",2\n",
    ]
    path = tmp_path / "rows.csv"
    path.write_bytes(HEADER.encode() + GOOD.encode() + b"".join(bad))
    result = stack.run("import", "rows", str(path), "--key", "id", "--text", "name", code=3)
    assert "50 new" in result.stdout
    assert "6 refused" in result.stdout
    job = stack.json("jobs", "--limit", "1")
    listed = stack.run("job", "errors", str(job["id"])).stdout
    codes = ("duplicate_key", "empty_text", "ragged_row", "undecodable", "nul_character")
    for number, _ in enumerate([*codes, "cell_too_long"], 52):
        assert f"row {number}" in listed, listed
    engine = stack.database()
    with engine.connect() as connection:
        found = connection.execute(
            sa.text("SELECT row, code FROM job_error WHERE job_id = :id ORDER BY row"),
            {"id": job["id"]},
        ).all()
    engine.dispose()
    assert [tuple(row) for row in found] == list(enumerate([*codes, "cell_too_long"], 52))


def test_a_strict_import_refuses_the_file(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "strict.csv"
    path.write_text(HEADER + GOOD + "1,X,2\n")
    words = ("import", "strict", str(path), "--key", "id", "--text", "name", "--strict")
    result = stack.run(*words, code=1)
    assert "nothing was changed" in result.stderr
    with stack.client() as client:
        assert {c.name: c.records for c in client.collections()}["strict"] == 0


def test_requests_that_cannot_be(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "known.csv"
    path.write_text(HEADER + GOOD)
    stack.run("import", "known", str(path), "--key", "id", "--text", "name")
    for words, sentence in {
        ("match", "nowhere", "known"): "There is no collection 'nowhere'",
        ("match", "known", "nowhere"): "There is no collection 'nowhere'",
        ("match", "known", "known", "--model", "nobody"): "There is no model 'nobody'",
        ("match", "known", "known", "-k", "0"): "from 1 to 1,000",
        ("match", "known", "known", "-k", "-1"): "from 1 to 1,000",
        ("match", "known", "known", "-k", "1000000000"): "from 1 to 1,000",
        ("match", "known", "known", "--out", "matches.doc"): ".csv",
        ("job", "show", "999999"): "There is no job 999999",
        ("import", "known", "/nowhere.csv", "--key", "id", "--text", "name"): "/nowhere.csv",
    }.items():
        assert sentence in stack.run(*words, code=2).stderr, words


def test_without_a_server_the_command_says_how_to_start_one(stack: Stack, tmp_path: Path) -> None:
    result = stack.run("--data", str(tmp_path / "none"), "jobs", code=1)
    assert "aparella up" in result.stderr
    result = stack.run("--url", "http://127.0.0.1:9", "jobs", code=1)
    assert "http://127.0.0.1:9" in result.stderr


def test_a_stack_that_runs_is_not_started_twice(stack: Stack) -> None:
    assert "runs already" in stack.run("up", "--detach", code=1).stderr
