"""Folders that are written whole or not at all, and disks that are full."""

import contextlib
import errno
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from aparella.errors import ResourceExhaustedError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SPARE = 1 << 20
"""A disk with less free than this is full: libraries that write do not all say why they failed."""


def is_full(error: BaseException) -> bool:
    """Whether an error, or one that it came from, says that a disk is full."""
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, OSError) and chain.errno in _FULL:
            return True
        chain = chain.__cause__ or chain.__context__
    return False


@contextlib.contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A new folder that takes its name once it is written; an old one of that name is replaced.

    Raises:
        ResourceExhaustedError: the disk is full; nothing half-written is left.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        yield part
        part.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        part.rename(folder)
    except Exception as error:
        if is_full(error) or shutil.disk_usage(folder.parent).free < _SPARE:
            raise ResourceExhaustedError(
                f"The disk is full: {folder} cannot be written. Make room and try again."
            ) from error
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
