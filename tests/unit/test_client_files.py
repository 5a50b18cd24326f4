import os
import sys
from pathlib import Path

import pytest

from aparella.client import outfile, uploads
from aparella.errors import InputError


@pytest.mark.parametrize(
    ("name", "format_"),
    [
        ("lines.csv", "csv"),
        ("lines.CSV.gz", "csv"),
        ("lines.tsv", "csv"),
        ("lines.jsonl", "ndjson"),
        ("lines.ndjson.gz", "ndjson"),
        ("lines.parquet", "parquet"),
        ("lines.gz", None),
        ("lines", None),
        ("lines.xlsx", None),
    ],
)
def test_a_name_tells_the_format_of_an_upload(name: str, format_: str | None) -> None:
    assert uploads.format_of(Path(name)) == format_


def test_a_file_is_read_block_by_block(tmp_path: Path) -> None:
    file = tmp_path / "lines.csv"
    content = os.urandom(2 * uploads.BLOCK + 100)
    file.write_bytes(content)
    seen: list[tuple[int, int | None]] = []
    blocks = uploads.blocks(
        file, uploads.size_of(file), lambda sent, total: seen.append((sent, total))
    )
    first = next(blocks)
    assert len(first) == uploads.BLOCK
    assert seen == []
    assert first + b"".join(blocks) == content
    assert seen == [
        (n, len(content)) for n in (uploads.BLOCK, 2 * uploads.BLOCK, 2 * uploads.BLOCK + 100)
    ]


def test_a_file_that_grows_is_sent_as_announced(tmp_path: Path) -> None:
    file = tmp_path / "lines.csv"
    file.write_bytes(b"0123456789")
    assert b"".join(uploads.blocks(file, 4)) == b"0123"


def test_a_file_that_shrinks_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "lines.csv"
    file.write_bytes(b"0123")
    with pytest.raises(InputError, match="became shorter"):
        list(uploads.blocks(file, 10))


def test_what_cannot_be_uploaded_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv does not exist"):
        uploads.size_of(tmp_path / "none.csv")
    with pytest.raises(InputError, match="is a directory"):
        uploads.size_of(tmp_path)
    with pytest.raises(InputError, match="cannot be read: Not a directory"):
        uploads.size_of(Path("/dev/null/lines.csv"))


def test_a_pipe_has_no_size() -> None:
    assert uploads.size_of(Path("/dev/null")) is None


@pytest.mark.parametrize("name", ["out", "out.txt", "out.csv.gz", ".csv"])
def test_an_unknown_suffix_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"must end in \.csv, \.ndjson or \.parquet"):
        outfile.check(tmp_path / name)


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(InputError, match="is a directory"):
        outfile.check(tmp_path / "d.csv")
    with pytest.raises(InputError, match="does not exist"):
        outfile.check(tmp_path / "none" / "out.csv")


@pytest.mark.skipif(sys.platform != "linux", reason="needs a directory closed even to root")
def test_a_closed_directory_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be written"):
        outfile.check(Path("/proc/self/out.csv"))


def test_a_result_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_bytes(b"old")
    with outfile.replacing(target) as file:
        file.write(b"new")
        file.flush()
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("end", [RuntimeError, KeyboardInterrupt])
def test_half_a_result_never_appears(tmp_path: Path, end: type[BaseException]) -> None:
    target = tmp_path / "out.csv"

    def write_half() -> None:
        with outfile.replacing(target) as file:
            file.write(b"half")
            raise end

    with pytest.raises(end):
        write_half()
    assert list(tmp_path.iterdir()) == []
