"""Exports: what is written reads back the same, starts at once and is never held whole."""

import csv
import io
import json
import tracemalloc
from collections.abc import Callable, Iterable, Iterator

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aparella.api.exports import (
    COLUMNS,
    ROW_GROUP,
    MatchRow,
    csv_chunks,
    ndjson_chunks,
    parquet_chunks,
)
from aparella.spreadsheet import safe

Writer = Callable[[Iterable[MatchRow]], Iterator[bytes]]
WRITERS = [csv_chunks, ndjson_chunks, parquet_chunks]

FOUND: MatchRow = (
    *("7", 'XERINGA "150ML", È', 1, "A-1", "XERINGUES\nPER A", 0.8123456789, 0.5),
    *(True, "agrees: 150ML"),
)
UNSURE: MatchRow = ("7", "XERINGA", 2, "A-2", "XERINGUES", 1.0, None, None, None)
LONELY: MatchRow = ("8", "BOSSA", *[None] * 7)


def many(count: int, asked: list[int] | None = None) -> Iterator[MatchRow]:
    for number in range(count):
        if asked is not None:
            asked.append(number)
        record = (f"A-{number}", f"XERINGUES {number}")
        yield str(number), f"XERINGA {number}", 1, *record, 0.5, None, None, None


def test_csv() -> None:
    assert b"".join(csv_chunks([FOUND, UNSURE, LONELY])).decode() == (
        "source_key,source_text,rank,target_key,target_text,score,confidence,accepted,why\n"
        '7,"XERINGA ""150ML"", È",1,A-1,"XERINGUES\nPER A",0.812346,0.500000,yes,agrees: 150ML\n'
        "7,XERINGA,2,A-2,XERINGUES,1.000000,,,\n"
        "8,BOSSA,,,,,,,\n"
    )


FORMULAS = [
    *("=1+1", "+A1", "-A1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "=", "-"),
    "-5+cmd|' /C calc'!A0",
]
HARMLESS = ["-5", "+34600111222", "-1.234,5", "1e-5", "5-6", "A=1", "'=1", "", "È", "XERINGA -5%"]


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("text", [*FORMULAS, *HARMLESS])
def test_a_csv_runs_no_formula(text: str, raw: bool) -> None:
    row: MatchRow = (text, f"{text}", 1, text, text, -0.5, None, False, text)
    lines = csv.reader(io.StringIO(b"".join(csv_chunks([row], raw=raw)).decode(), newline=""))
    _, cells = lines
    shown = f"'{text}" if text in FORMULAS and not raw else text
    assert cells == [shown, shown, "1", shown, shown, "-0.500000", "", "no", shown]
    # The formats for programs have it as it is.
    assert json.loads(b"".join(ndjson_chunks([row])))["source_text"] == text
    table = pq.read_table(io.BytesIO(b"".join(parquet_chunks([row]))))
    assert table.column("target_key").to_pylist() == [text]


@given(st.text(min_size=1))
def test_no_cell_begins_a_formula(text: str) -> None:
    shown = safe(text)
    assert shown in (text, f"'{text}")
    if shown[0] in "=@\t\r＝" or (shown[0] in "+-" and not any(c.isdecimal() for c in shown)):
        pytest.fail(f"{shown!r} begins a formula")


def test_ndjson() -> None:
    lines = b"".join(ndjson_chunks([FOUND, UNSURE, LONELY])).decode().splitlines()
    assert "È" in lines[0]
    assert [tuple(json.loads(line).items()) for line in lines] == [
        tuple(zip(COLUMNS, (*FOUND[:5], 0.812346, 0.5, *FOUND[7:]), strict=True)),
        tuple(zip(COLUMNS, UNSURE, strict=True)),
        tuple(zip(COLUMNS, LONELY, strict=True)),
    ]


def test_parquet() -> None:
    table = pq.read_table(io.BytesIO(b"".join(parquet_chunks([FOUND, UNSURE, LONELY]))))
    assert table.column_names == list(COLUMNS)
    assert [tuple(row.values()) for row in table.to_pylist()] == [FOUND, UNSURE, LONELY]
    assert [str(field.type) for field in table.schema] == [
        *("string", "string", "int32", "string", "string", "double", "double", "bool", "string")
    ]


def test_parquet_row_groups() -> None:
    data = b"".join(parquet_chunks(many(2 * ROW_GROUP + 1)))
    metadata = pq.ParquetFile(io.BytesIO(data)).metadata
    groups = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
    assert groups == [ROW_GROUP, ROW_GROUP, 1]


def test_no_rows() -> None:
    assert b"".join(csv_chunks([])).decode().strip() == ",".join(COLUMNS)
    assert b"".join(ndjson_chunks([])) == b""
    assert pq.read_table(io.BytesIO(b"".join(parquet_chunks([])))).num_rows == 0


@pytest.mark.parametrize("writer", WRITERS)
def test_the_first_chunk_comes_after_at_most_one_row(writer: Writer) -> None:
    asked: list[int] = []
    chunks = writer(many(100_000, asked))
    assert next(chunks)
    assert len(asked) <= 1
    next(chunks)
    assert len(asked) <= ROW_GROUP


@pytest.mark.parametrize("writer", [csv_chunks, ndjson_chunks])
def test_chunks_grow_and_stay_bounded(writer: Writer) -> None:
    sizes = [len(chunk) for chunk in writer(many(20_000))]
    assert 1_000 < sizes[1] < 2_000
    assert 60_000 < max(sizes) < 70_000


@pytest.mark.parametrize("writer", WRITERS)
def test_memory_does_not_grow_with_the_rows(writer: Writer) -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        for _ in writer(many(count)):
            pass
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held

    peak(1)  # imports and caches
    assert peak(50_000) < 1.2 * peak(ROW_GROUP) + 100_000


@pytest.mark.parametrize("writer", WRITERS)
def test_an_error_among_the_rows_cuts_the_file(writer: Writer) -> None:
    def failing() -> Iterator[MatchRow]:
        yield from many(ROW_GROUP)
        raise ConnectionError

    chunks: list[bytes] = []
    with pytest.raises(ConnectionError):
        chunks.extend(writer(failing()))
    assert chunks
    assert not b"".join(chunks[1:]).endswith(b"PAR1")


@pytest.mark.parametrize("writer", WRITERS)
def test_a_reader_who_leaves_ends_the_rows(writer: Writer) -> None:
    closed = []

    def rows() -> Iterator[MatchRow]:
        try:
            yield from many(100_000)
        finally:
            closed.append(True)

    chunks = writer(rows())
    next(chunks)
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]
    del chunks
    assert closed == [True]


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
scores = st.floats(-1, 1)
ROWS = st.tuples(
    *(texts, texts, st.integers(1, 100), texts, texts, scores, scores, st.booleans(), texts)
)


@given(st.lists(ROWS))
def test_whatever_is_written_reads_back(rows: list[MatchRow]) -> None:
    table = pq.read_table(io.BytesIO(b"".join(parquet_chunks(rows))))
    assert [tuple(row.values()) for row in table.to_pylist()] == rows

    lines = b"".join(ndjson_chunks(rows)).decode().split("\n")[:-1]
    assert [tuple(json.loads(line).values())[:5] for line in lines] == [row[:5] for row in rows]

    text = b"".join(csv_chunks(rows, raw=True)).decode()
    read = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [tuple(row.values())[:5] for row in read] == [
        tuple(str(cell) for cell in row[:5]) for row in rows
    ]
    assert [float(row["score"]) for row in read] == pytest.approx(
        [row[5] for row in rows], abs=5.1e-7
    )
