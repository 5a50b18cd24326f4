"""Match rows as a CSV, NDJSON or Parquet file that is streamed while the rows are still read.

The first bytes come before the first row is asked for or soon after, and memory holds one chunk
(Parquet: one row group), however many rows there are.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from aparella.spreadsheet import safe

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MatchRow = tuple[
    *tuple[str, str, int | None, str | None, str | None, float | None, float | None],
    *tuple[bool | None, str | None],
]
"""source key and text, rank (1 = best), target key and text, score, confidence, accepted, why.

All from rank on is None for a source record that has no candidate. Confidence is also None where
the evidence was not weighed; whether it was accepted unseen, and why it is the best, are known of
first candidates only.
"""

COLUMNS = (
    "source_key",
    "source_text",
    "rank",
    "target_key",
    "target_text",
    "score",
    "confidence",
    "accepted",
    "why",
)

DECIMALS = 6
"""Of scores and confidences in text; a float32 cosine has no more that mean anything."""

_ACCEPTED = {None: None, False: "no", True: "yes"}

ROW_GROUP = 10_000
"""Rows of a Parquet row group."""

_FIRST_CHUNK = 1 << 10
_LARGEST_CHUNK = 1 << 16

_SCHEMA = pa.schema(
    [
        pa.field("source_key", pa.string(), nullable=False),
        pa.field("source_text", pa.string(), nullable=False),
        pa.field("rank", pa.int32()),
        pa.field("target_key", pa.string()),
        pa.field("target_text", pa.string()),
        pa.field("score", pa.float64()),
        pa.field("confidence", pa.float64()),
        pa.field("accepted", pa.bool_()),
        pa.field("why", pa.string()),
    ]
)


def csv_chunks(rows: Iterable[MatchRow], *, raw: bool = False) -> Iterator[bytes]:
    """Yield a CSV file: UTF-8, with a header, None as an empty cell.

    Args:
        rows: to write.
        raw: leave texts that a spreadsheet would take for formulas as they are.
    """
    return _chunks(_csv_lines(rows, safe if not raw else str))


def ndjson_chunks(rows: Iterable[MatchRow]) -> Iterator[bytes]:
    """Yield an NDJSON file: UTF-8, an object a row, None as null."""
    return _chunks(_ndjson_lines(rows))


def parquet_chunks(rows: Iterable[MatchRow]) -> Iterator[bytes]:
    """Yield a Parquet file in row groups of `ROW_GROUP` rows."""
    rows = iter(rows)
    sink = _Sink()
    with pq.ParquetWriter(sink, _SCHEMA) as writer:
        yield sink.take()  # the magic bytes: the client knows at once that the export runs
        while group := _row_group(rows):
            writer.write_table(group)
            yield sink.take()
    yield sink.take()


def _row_group(rows: Iterator[MatchRow]) -> pa.Table | None:
    group = list(islice(rows, ROW_GROUP))
    if not group:
        return None
    arrays = [
        pa.array(values, field.type)
        for values, field in zip(zip(*group, strict=True), _SCHEMA, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=_SCHEMA)


def _csv_lines(rows: Iterable[MatchRow], shown: Callable[[str], str]) -> Iterator[str]:
    buffer = io.StringIO()
    # The writer quotes a cell for the characters of its line end: both must be in it.
    writer = csv.writer(buffer, lineterminator="\r\n")
    yield ",".join(COLUMNS) + "\n"
    for *cells, score, confidence, accepted, why in rows:
        buffer.seek(0)
        buffer.truncate()
        texts = [shown(cell) if isinstance(cell, str) else cell for cell in cells]
        said = (_ACCEPTED[accepted], None if why is None else shown(why))
        writer.writerow([*texts, _decimal(score), _decimal(confidence), *said])
        yield buffer.getvalue()[:-2] + "\n"


def _decimal(value: float | None) -> str:
    return "" if value is None else f"{value:.{DECIMALS}f}"


def _ndjson_lines(rows: Iterable[MatchRow]) -> Iterator[str]:
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
    for *cells, score, confidence, accepted, why in rows:
        values = (*cells, _rounded(score), _rounded(confidence), accepted, why)
        yield encode(dict(zip(COLUMNS, values, strict=True))) + "\n"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DECIMALS)


def _chunks(lines: Iterable[str]) -> Iterator[bytes]:
    """Join lines into chunks: small ones at first, to start at once, then larger ones."""
    pending: list[str] = []
    size, enough = 0, 0
    for line in lines:
        pending.append(line)
        size += len(line)
        if size >= enough:
            yield "".join(pending).encode()
            pending.clear()
            size, enough = 0, min(max(2 * enough, _FIRST_CHUNK), _LARGEST_CHUNK)
    if pending:
        yield "".join(pending).encode()


class _Sink(io.RawIOBase):
    """A file to write to, whose bytes are taken away as they come."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, data: "ReadableBuffer") -> int:
        part = bytes(data)
        self._parts.append(part)
        self._position += len(part)
        return len(part)

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken
