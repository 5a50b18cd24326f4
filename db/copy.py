"""Binary COPY in both directions, as numpy structured arrays.

The format is PostgreSQL's (documentation of COPY, "Binary Format"): a header, then tuples of a
16-bit field count and, for each field, a 32-bit length and the value in network byte order. All
fields here have a fixed width, so a table of rows is one structured array and its bytes are the
stream: no Python code runs per row.
"""

import io
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TRAILER = b"\xff\xff"
_SLICE = 8_192
"""Rows turned into bytes at a time: about 13 MB of vectors, whatever the table's length."""

Array = NDArray[Any]

INT2, INT8, FLOAT4, HASH = np.dtype(">i2"), np.dtype(">i8"), np.dtype(">f4"), np.dtype("V16")


def vector(dim: int) -> np.dtype[np.void]:
    """Pgvector's binary form: dimensions, an unused 16-bit zero, and float32 components."""
    return np.dtype([("dim", ">i2"), ("unused", ">i2"), ("x", ">f4", (dim,))])


def _layout(fields: dict[str, np.dtype[Any]]) -> np.dtype[np.void]:
    parts: list[tuple[str, Any]] = [("fields", ">i2")]
    for name, kind in fields.items():
        parts += [(f"{name} length", ">i4"), (name, kind)]
    return np.dtype(parts)


def write(
    connection: sa.Connection,
    table: str,
    fields: dict[str, np.dtype[Any]],
    columns: dict[str, Array | int],
    rows: int,
) -> None:
    """COPY rows into a table.

    Args:
        connection: inside a transaction.
        table: the table's name, already quoted if it needs to be.
        fields: for each column its fixed-width type; `vector(dim)` for a vector.
        columns: for each column an array of `rows` values, or one value for all rows; a vector
            column takes float32 of shape (rows, dim).
        rows: how many.
    """
    layout = _layout(fields)

    def slices() -> Iterator[bytes]:
        yield _HEADER
        for start in range(0, rows, _SLICE):
            stop = min(start + _SLICE, rows)
            block = np.zeros(stop - start, dtype=layout)
            block["fields"] = len(fields)
            for name, kind in fields.items():
                value = columns[name]
                part = value if isinstance(value, int) else value[start:stop]
                block[f"{name} length"] = kind.itemsize
                if kind.names:
                    block[name]["dim"] = kind["x"].shape[0]
                    block[name]["x"] = part
                else:
                    block[name] = part
            yield block.tobytes()
        yield _TRAILER

    names = ", ".join(f'"{name}"' for name in fields)
    with _cursor(connection) as cursor:
        cursor.copy_expert(f"COPY {table} ({names}) FROM STDIN (FORMAT binary)", _Source(slices()))


def read(
    connection: sa.Connection,
    query: str,
    fields: dict[str, np.dtype[Any]],
    take: Callable[[Array], None],
) -> None:
    """COPY a query's rows out, handing them on in blocks; memory is that of one block.

    Args:
        connection: inside a transaction.
        query: SQL whose columns are NOT NULL and have the types of `fields`, in order.
        fields: the columns' fixed-width types.
        take: called with structured arrays whose fields bear the columns' names.
    """
    sink = _Sink(_layout(fields), take)
    with _cursor(connection) as cursor:
        cursor.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT binary)", sink)
    sink.close()


def hashes(values: list[bytes]) -> Array:
    """16-byte hashes as an array, without numpy's dropping of trailing zero bytes."""
    return np.frombuffer(b"".join(values), dtype=HASH)


def _cursor(connection: sa.Connection) -> Any:
    driver = connection.connection.driver_connection
    return cast("Any", driver).cursor()


class _Source(io.RawIOBase):
    """The file-like object that COPY FROM reads."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = memoryview(b"")

    def read(self, size: int = -1) -> bytes:
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return b""
            self._rest = memoryview(block)
        cut = len(self._rest) if size < 0 else size
        part, self._rest = self._rest[:cut], self._rest[cut:]
        return bytes(part)


class _Sink(io.RawIOBase):
    """The file-like object that COPY TO writes into; whole rows go on in blocks."""

    def __init__(self, layout: np.dtype[np.void], take: Callable[[Array], None]) -> None:
        self._layout = layout
        self._take = take
        self._buffer = bytearray()
        self._skip = len(_HEADER)

    def write(self, data: Any) -> int:
        view = bytes(data)
        size = len(view)
        if self._skip:
            skipped = min(self._skip, size)
            view, self._skip = view[skipped:], self._skip - skipped
        self._buffer += view
        if len(self._buffer) >= _SLICE * self._layout.itemsize:
            self._flush()
        return size

    def _flush(self) -> None:
        rows = len(self._buffer) // self._layout.itemsize
        cut = rows * self._layout.itemsize
        if rows:
            self._take(np.frombuffer(bytes(self._buffer[:cut]), dtype=self._layout))
            del self._buffer[:cut]

    def close(self) -> None:
        if not self.closed:
            self._flush()
            if bytes(self._buffer) not in (b"", _TRAILER):
                raise ValueError("a column of the query was NULL or not of the fixed width named")
        super().close()
