"""The bytes of an upload: unpacked where they are gzip, and never more than the limit."""

import gzip
import io
import zlib
from typing import TYPE_CHECKING, BinaryIO

from aparella.errors import InputError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_GZIP_MAGIC = b"\x1f\x8b"
_BUFFER = 1 << 16


def is_gzip(head: bytes) -> bool:
    """Tell whether a file that begins with `head` is gzip."""
    return head.startswith(_GZIP_MAGIC)


def open_source(file: BinaryIO, *, filename: str, label: str, max_bytes: int) -> io.BufferedReader:
    """Open an uploaded file at its beginning, unpacked.

    Args:
        file: seekable; stays open, whatever becomes of the reader.
        filename: what the user called it.
        label: how messages call it.
        max_bytes: bytes that it may hold once unpacked.

    Raises:
        InputError: `not_gzip`, here; `truncated_gzip`, `not_gzip` and `too_large` while reading.
    """
    file.seek(0)
    packed = is_gzip(file.read(len(_GZIP_MAGIC)))
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if size and not packed and filename.lower().endswith(".gz"):
        raise InputError(
            f"{label}: the file is named .gz but is not gzip. Rename it, or compress it again.",
            code="not_gzip",
        )
    plain: BinaryIO | gzip.GzipFile = gzip.GzipFile(fileobj=file, mode="rb") if packed else file
    return io.BufferedReader(_Source(plain, label, max_bytes), _BUFFER)


def too_large(label: str, max_bytes: int) -> InputError:
    """Make the error for a file that holds more than an upload may."""
    return InputError(
        f"{label}: the file is over {max_bytes:,} bytes once unpacked, the most that one upload "
        "may hold. Split it and upload the parts in merge mode.",
        code="too_large",
    )


def too_many_rows(label: str, most: int) -> InputError:
    """Make the error for a file of more rows than an upload may have."""
    return InputError(
        f"{label}: the file has over {most:,} rows, the most that one upload may hold. Split it "
        "and upload the parts in merge mode.",
        code="too_many_rows",
    )


class _Source(io.RawIOBase):
    """Counts what is read, and turns the errors of gzip into sentences."""

    def __init__(self, plain: BinaryIO | gzip.GzipFile, label: str, max_bytes: int) -> None:
        super().__init__()
        self._plain = plain
        self._label = label
        self._max_bytes = max_bytes
        self._read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer)
        try:
            data = self._plain.read(len(view))
        except EOFError as error:
            raise InputError(
                f"{self._label}: the gzip ends in its midst: it was cut short. Upload it again.",
                code="truncated_gzip",
            ) from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise InputError(
                f"{self._label}: the gzip is damaged ({error}). Compress the file again.",
                code="not_gzip",
            ) from error
        self._read += len(data)
        if self._read > self._max_bytes:
            raise too_large(self._label, self._max_bytes)
        view[: len(data)] = data
        return len(data)
