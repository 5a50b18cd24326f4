"""The one way into this package: tells a file's format and hands it to that format's reader."""

from collections.abc import Iterator
from itertools import chain
from pathlib import PurePath
from typing import BinaryIO

from aparella.api.uploads.columns import Columns, check_columns
from aparella.api.uploads.delimited import choose_delimiter, read_delimited
from aparella.api.uploads.lines import Lines, choose_encoding
from aparella.api.uploads.ndjson import read_ndjson
from aparella.api.uploads.parquet import MAGIC, read_parquet
from aparella.api.uploads.rows import BadRow, Limits, Row
from aparella.api.uploads.source import is_gzip, open_source, too_many_rows
from aparella.api.uploads.wording import file_label, quoted
from aparella.errors import InputError

_BY_SUFFIX = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
}
_HEAD = 512
_ZIP_MAGIC = b"PK\x03\x04"


def read_rows(
    file: BinaryIO,
    *,
    filename: str,
    columns: Columns,
    format: str | None = None,  # noqa: A002  (the parameter's name in the API)
    delimiter: str | None = None,
    encoding: str | None = None,
    limits: Limits,
) -> Iterator[Row | BadRow]:
    """Read an uploaded file, in constant memory.

    The header and the first row are read before this returns, so most of what can be wrong with a
    file as a whole is raised at once.

    Args:
        file: the bytes, seekable, plain or gzip; read from its beginning, and left open.
        filename: what the user called it; used for its suffix and in messages.
        columns: what of it makes a record.
        format: `csv`, `ndjson` or `parquet`; None to tell by the first bytes and the name.
        delimiter: of CSV: one character or `tab`; None for a comma (`.tsv`: a tab).
        encoding: of CSV and NDJSON: a codec's name; None for UTF-8, unless a byte order mark
            says UTF-16 or UTF-32.
        limits: see `Limits`.

    Returns:
        The rows in the file's order, those refused among them.

    Raises:
        InputError: the file is wrong as a whole. The iterator raises it too, even after the last
            row: a gzip cut short shows only there.
    """
    check_columns(columns)
    label = file_label(filename)
    head = open_source(file, filename=filename, label=label, max_bytes=limits.max_bytes).read(_HEAD)
    if not head:
        raise InputError(f"{label}: the file is empty. Upload one with rows.", code="empty_file")
    suffix = PurePath(filename.lower().removesuffix(".gz")).suffix
    chosen = _choose_format(format, head, suffix)
    if chosen == "parquet":
        rows = read_parquet(file, filename=filename, columns=columns, limits=limits, label=label)
    else:
        _check_text(head, label)
        encoding = choose_encoding(encoding, head)
        source = open_source(file, filename=filename, label=label, max_bytes=limits.max_bytes)
        lines = Lines(source, encoding=encoding, label=label)
        if chosen == "ndjson":
            rows = read_ndjson(
                lines, columns=columns, encoding=encoding, limits=limits, label=label
            )
        else:
            rows = read_delimited(
                lines,
                columns=columns,
                delimiter=choose_delimiter(delimiter, tabbed=suffix == ".tsv"),
                encoding=encoding,
                limits=limits,
                label=label,
            )
    rows = _counted(rows, label, limits.max_rows)
    return chain([next(rows)], rows)


def _counted(rows: Iterator[Row | BadRow], label: str, most: int) -> Iterator[Row | BadRow]:
    for count, row in enumerate(rows, 1):
        if count > most:
            raise too_many_rows(label, most)
        yield row


def _choose_format(wanted: str | None, head: bytes, suffix: str) -> str:
    if wanted is not None:
        if wanted not in _BY_SUFFIX.values():
            raise InputError(
                f"The format {quoted(wanted)} is not known. Pass csv, ndjson or parquet.",
                field="format",
                code="unknown_format",
            )
        return wanted
    if head.startswith(MAGIC):
        return "parquet"
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    return "ndjson" if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") else "csv"


def _check_text(head: bytes, label: str) -> None:
    """Refuse what is certainly no text, before its bytes are called a missing column."""
    if head.startswith((_ZIP_MAGIC, MAGIC)) or is_gzip(head):
        raise InputError(
            f"{label}: the file is a spreadsheet, an archive or a Parquet file, not text. "
            "Save it as CSV, or pass --format parquet.",
            code="not_text_file",
        )
