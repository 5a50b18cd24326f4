"""Rows of a query in cells, and in CSV and Parquet files."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from aparella.client import outfile
from aparella.errors import ConfigurationError
from aparella.spreadsheet import safe

FORMATS = {".csv": "csv", ".parquet": "parquet"}


class Column(Protocol):
    """A column: its kind is boolean, integer, number, moment, date or text."""

    @property
    def name(self) -> str:
        """Its heading."""

    @property
    def kind(self) -> str:
        """What its values are."""


Blocks = Iterator[list[tuple[Any, ...]]]


def check(path: Path) -> None:
    """Find out whether the file can be written, before the query runs.

    Raises:
        InputError: it cannot.
        ConfigurationError: Parquet needs pyarrow, which is not installed.
    """
    outfile.check(path, FORMATS)
    if outfile.format_of(path, FORMATS) == "parquet":
        _arrow()


def write(
    file: BinaryIO, path: Path, columns: Sequence[Column], blocks: Blocks, *, raw: bool = False
) -> int:
    """Write all rows in the format that the path's suffix names; returns how many.

    Args:
        file: to write to.
        path: its name.
        columns: of the rows.
        blocks: the rows.
        raw: leave texts that a spreadsheet would take for formulas as they are.
    """
    if outfile.format_of(path, FORMATS) == "csv":
        return _write_csv(file, [column.name for column in columns], blocks, str if raw else safe)
    return _write_parquet(file, columns, blocks)


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value


def cell(value: Any) -> str | None:
    """A value as a cell of a table or a CSV file; None where there is none."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _write_csv(
    file: BinaryIO, columns: Sequence[str], blocks: Blocks, shown: Callable[[str], str]
) -> int:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow([shown(name) for name in columns])
    rows = 0
    for block in blocks:
        # Figures in full here: only a screen is short of room.
        writer.writerows([_csv_cell(value, shown) for value in row] for row in block)
        rows += len(block)
    text.flush()
    text.detach()
    return rows


def _csv_cell(value: Any, shown: Callable[[str], str]) -> str | None:
    if isinstance(value, float):
        return repr(value)
    text = cell(value)
    return shown(text) if isinstance(value, str) and text else text


def _write_parquet(file: BinaryIO, columns: Sequence[Column], blocks: Blocks) -> int:
    arrow, parquet = _arrow()
    types = {
        "boolean": arrow.bool_(),
        "integer": arrow.int64(),
        "number": arrow.float64(),
        "moment": arrow.timestamp("us", tz="UTC"),
        "date": arrow.date32(),
    }
    schema = arrow.schema([(c.name, types.get(c.kind, arrow.string())) for c in columns])
    rows = 0
    with parquet.ParquetWriter(file, schema) as writer:
        for block in blocks:
            arrays = [
                arrow.array(
                    [_stored(row[place], column.kind) for row in block], schema.types[place]
                )
                for place, column in enumerate(columns)
            ]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))
            rows += len(block)
    return rows


def _stored(value: Any, kind: str) -> Any:
    if value is None or kind in {"boolean", "integer", "moment", "date"}:
        return value
    return float(value) if kind == "number" else cell(value)


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "Parquet files need pyarrow, which is not installed: write a .csv file, or run "
            "`pip install pyarrow`."
        ) from error
    return pyarrow, parquet
