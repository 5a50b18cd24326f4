"""A file on its way to the server, read block by block."""

import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from aparella.errors import InputError

OnBytes = Callable[[int, int | None], None]
"""Called with the bytes sent so far and their total, None if that is unknown."""

BLOCK = 256 * 1024
FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
}


def format_of(path: Path) -> str | None:
    """The format that the name tells, `.gz` aside; None leaves it to the server."""
    name = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return FORMATS.get(name.suffix.lower())


def size_of(path: Path) -> int | None:
    """The file's size in bytes; None for a pipe, whose end is not known.

    Raises:
        InputError: there is no such file.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.", field="file") from None
    except OSError as error:
        raise _unreadable(path, error) from None
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"{path} is a directory: give the file to import.", field="file")
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def blocks(path: Path, size: int | None, on_bytes: OnBytes | None = None) -> Iterator[bytes]:
    """The file's bytes, `size` of them if that was announced.

    Raises:
        InputError: the file cannot be read, or became shorter.
    """
    sent = 0
    try:
        with path.open("rb") as file:
            while size is None or sent < size:
                block = file.read(BLOCK if size is None else min(BLOCK, size - sent))
                if not block:
                    break
                yield block
                sent += len(block)
                if on_bytes is not None:
                    on_bytes(sent, size)
    except OSError as error:
        raise _unreadable(path, error) from None
    if size is not None and sent < size:
        raise InputError(f"{path} became shorter while it was read: import it again.", field="file")


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path} cannot be read: {error.strerror or error}.", field="file")
