"""Reading Parquet, a batch of rows at a time."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aparella.api.uploads.columns import Columns, check_header
from aparella.api.uploads.rows import BadRow, Limits, Row, RowBuilder
from aparella.api.uploads.source import is_gzip, open_source, too_large, too_many_rows
from aparella.api.uploads.values import as_attribute, as_text
from aparella.api.uploads.wording import quoted
from aparella.errors import InputError

MAGIC = b"PAR1"
"""The first and the last bytes of every Parquet file."""

_BATCH_ROWS = 4_096
_READ_AHEAD = 1 << 20


def read_parquet(
    file: BinaryIO, *, filename: str, columns: Columns, limits: Limits, label: str
) -> Iterator[Row | BadRow]:
    """Yield the rows of a Parquet file; only the named columns are read.

    Args:
        file: seekable; stays open.
        filename: what the user called it.
        columns: what of it makes a record.
        limits: see `Limits`.
        label: how messages call the file.

    Raises:
        InputError: `not_parquet`, `nested_column`, `unreadable_column`, `empty_file`,
            `too_large`, and as `check_header` and (under gzip) `open_source` do.
        OSError: the server's own disk fails.
    """
    with _unpacked(file, filename=filename, limits=limits, label=label) as plain:
        try:
            table = _open(plain)
            _check(table, columns, limits=limits, label=label)
            yield from _rows(table, columns, limits=limits, label=label)
        except (pa.ArrowException, OSError, UnicodeError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise InputError(
                f"{label}: the file is not a Parquet file that can be read: it is another format, "
                "damaged, cut short or encrypted. Write it again, or pass --format.",
                code="not_parquet",
            ) from error


def _open(plain: BinaryIO | Any) -> pq.ParquetFile:
    """Open the file so that a text which many rows share is held once, not once for each row.

    A few kilobytes of Parquet can say a text of a megabyte for each of a million rows.
    """
    texts = [field.name for field in pq.read_schema(plain) if _is_text(field.type)]
    plain.seek(0)
    return pq.ParquetFile(plain, buffer_size=_READ_AHEAD, read_dictionary=texts)


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


@contextmanager
def _unpacked(
    file: BinaryIO, *, filename: str, limits: Limits, label: str
) -> Iterator[BinaryIO | Any]:
    """Give a seekable file of plain Parquet: the upload itself, or what its gzip unpacks to."""
    file.seek(0)
    packed = is_gzip(file.read(2))
    file.seek(0)
    if not packed:
        yield file
        return
    source = open_source(file, filename=filename, label=label, max_bytes=limits.max_bytes)
    with tempfile.TemporaryFile() as plain:
        shutil.copyfileobj(source, plain)
        plain.seek(0)
        yield plain


def _check(table: pq.ParquetFile, columns: Columns, *, limits: Limits, label: str) -> None:
    schema, metadata = table.schema_arrow, table.metadata
    check_header(schema.names, columns, file=label, limit=limits.max_columns)
    for parameter, column in columns.named():
        if column not in schema.names:
            continue  # an optional one
        kind = schema.field(column).type
        if pa.types.is_nested(kind):
            raise InputError(
                f"{label}: column {quoted(column)} is nested ({quoted(str(kind))}). "
                f"Pass a column of texts or numbers as --{parameter.replace('_', '-')}.",
                field=parameter,
                code="nested_column",
            )
    if metadata.num_rows > limits.max_rows:
        raise too_many_rows(label, limits.max_rows)
    groups = (metadata.row_group(index) for index in range(metadata.num_row_groups))
    if sum(group.total_byte_size for group in groups) > limits.max_bytes:
        raise too_large(label, limits.max_bytes)


def _rows(
    table: pq.ParquetFile, columns: Columns, *, limits: Limits, label: str
) -> Iterator[Row | BadRow]:
    builder = RowBuilder(columns, limits, "utf-8")
    kept = columns.kept_of(table.schema_arrow.names)
    names = list(dict.fromkeys([columns.key, *columns.texts, *kept]))
    number, size = 0, 0
    for batch in table.iter_batches(_BATCH_ROWS, columns=names, use_threads=False):
        # What the file says of its own size is not proof.
        size += sum(_size(column) for column in batch.columns)
        if size > limits.max_bytes:
            raise too_large(label, limits.max_bytes)
        values = {name: _values(batch.column(name), name, label) for name in names}
        keys = [as_text(value) for value in values[columns.key]]
        texts = [[as_text(value) for value in values[name]] for name in columns.texts]
        extras = [[as_attribute(value) for value in values[name]] for name in kept]
        for at, key in enumerate(keys):
            number += 1
            attributes = {name: column[at] for name, column in zip(kept, extras, strict=True)}
            yield builder.build(number, key, [column[at] for column in texts], attributes)
    if not number:
        raise InputError(
            f"{label}: the file has columns and no row. Upload one that has rows.",
            code="empty_file",
        )


def _size(array: pa.Array) -> int:
    """Bytes that the values take, each as often as it stands there."""
    if not pa.types.is_dictionary(array.type) or not _is_text(array.type.value_type):
        return int(array.nbytes)
    lengths = pc.binary_length(array.dictionary)
    return int(pc.sum(pc.take(lengths, array.indices).cast(pa.int64())).as_py() or 0)


def _values(array: pa.Array, name: str, label: str) -> list[Any]:
    """Return an array's values; a text that is not UTF-8 as its bytes."""
    if pa.types.is_dictionary(array.type):
        words = _values(array.dictionary, name, label)
        return [None if place is None else words[place] for place in array.indices.to_pylist()]
    if pa.types.is_timestamp(array.type) and array.type.unit == "ns":
        # pyarrow gives pandas' moments where pandas is installed, and refuses where it is not.
        array = array.cast(pa.timestamp("us", array.type.tz)) if _whole(array) else _texts(array)
    try:
        return array.to_pylist()  # type: ignore[no-any-return]
    except UnicodeDecodeError:
        return array.cast(pa.large_binary()).to_pylist()  # type: ignore[no-any-return]
    except (ValueError, OverflowError, LookupError):
        # A moment finer than microseconds, out of Python's years, or of a zone unknown here.
        try:
            return _texts(array).to_pylist()  # type: ignore[no-any-return]
        except pa.ArrowException as error:
            raise InputError(
                f"{label}: column {quoted(name)} holds values of type {quoted(str(array.type))} "
                "that cannot be read. Write it as texts.",
                field=name,
                code="unreadable_column",
            ) from error


def _whole(array: pa.Array) -> bool:
    """Whether nanoseconds can be told in microseconds without a loss."""
    try:
        array.cast(pa.timestamp("us", array.type.tz))
    except pa.ArrowInvalid:
        return False
    return True


def _texts(array: pa.Array) -> pa.Array:
    return array.cast(pa.string())
