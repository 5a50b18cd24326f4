"""The file that results are written to: checked beforehand, and there whole or not at all."""

import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from aparella.errors import InputError, ResourceExhaustedError

FORMATS = {".csv": "csv", ".ndjson": "ndjson", ".parquet": "parquet"}


def format_of(path: Path, formats: Mapping[str, str] = FORMATS) -> str:
    """The export format that the file's suffix names.

    Raises:
        InputError: it names none.
    """
    try:
        return formats[path.suffix.lower()]
    except KeyError:
        raise InputError(
            f"{path} must end in {', '.join(list(formats)[:-1])} or {list(formats)[-1]}, "
            "which names the format.",
            field="out",
        ) from None


def check(path: Path, formats: Mapping[str, str] = FORMATS) -> None:
    """Find out whether the file could be written, before hours of work are spent on it.

    Raises:
        InputError: the suffix is unknown, or the directory is not there or not writable.
    """
    format_of(path, formats)
    if path.is_dir():
        raise InputError(f"{path} is a directory: give a file's name.", field="out")
    if not path.parent.is_dir():
        raise InputError(f"The directory {path.parent} does not exist.", field="out")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise InputError(
            f"The directory {path.parent} cannot be written: {error.strerror or error}.",
            field="out",
        ) from None


@contextmanager
def replacing(path: Path, formats: Mapping[str, str] = FORMATS) -> Iterator[BinaryIO]:
    """A temporary file beside `path` that takes its place when the block ends well.

    Raises:
        InputError: as `check`.
        ResourceExhaustedError: the file cannot be written to its end.
    """
    check(path, formats)
    # Opened plainly, not by mkstemp, so the file gets the permissions that the user's umask gives.
    part = path.parent / f".aparella-{secrets.token_hex(6)}.part"
    try:
        try:
            with part.open("xb") as file:
                yield file
            part.replace(path)
        except OSError as error:
            raise ResourceExhaustedError(
                f"{path} could not be written: {error.strerror or error}. Nothing is left of it."
            ) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise
