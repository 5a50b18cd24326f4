"""The files of a catalogue: its three arrays, written as its records come, and mapped."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from aparella.workers.matching import Catalogue, Ids, Rows

Take = Callable[[Ids, NDArray[Any], NDArray[np.float32]], None]
"""Takes some records: ids (n,), hashes of their texts (n,), and vectors (n, dim)."""

MATRIX = "vectors.npy"
"""The file that is locked, shared by who has it mapped."""
_IDS, _STARTS = "ids.npy", "starts.npy"


class Writer:
    """Writes a catalogue's files as its records come: of the matrix it holds one part at a time.

    By plain writing, not through a map: where a map's page finds no room on the disk, the process
    is killed (SIGBUS), while a write raises.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows = Rows()
        self._dim = 0
        self._file: IO[bytes] = (folder / MATRIX).open("wb")

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._file.close()

    @property
    def rows(self) -> int:
        """Rows of the matrix so far."""
        return len(self._rows)

    def take(self, ids: Ids, hashes: NDArray[Any], vectors: NDArray[np.float32]) -> None:
        """As `Take`."""
        if not self._dim:
            self._dim = vectors.shape[1]
            self._head()
        firsts = self._rows.add(ids, hashes)
        self._file.write(np.ascontiguousarray(vectors[firsts], dtype="<f4").data)

    def end(self) -> None:
        """Write what is left, once all records have come; of no records there is nothing."""
        if not self.rows:
            return
        # A header of numpy's has room for any number of rows.
        self._file.seek(0)
        self._head()
        _settle(self._file)
        for name, array in zip((_IDS, _STARTS), self._rows.layout(), strict=True):
            with (self._folder / name).open("wb") as file:
                np.save(file, array)
                _settle(file)

    def _head(self) -> None:
        shape = (self.rows, self._dim)
        head = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, head)


def mapped(folder: Path) -> Catalogue:
    """The arrays of a folder, which stays for as long as they do.

    Raises:
        FileNotFoundError: there is no such folder.
        BlockingIOError: somebody has it locked, to take it away.
        ValueError: the files are not what they should be.
        EOFError: likewise.
    """
    with (folder / MATRIX).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        (folder / MATRIX).stat()  # still there, now that it is locked
        np.lib.format.read_magic(file)
        shape, _, kind = np.lib.format.read_array_header_1_0(file)
        if kind != np.float32 or len(shape) != 2:
            raise ValueError(f"a matrix of {kind} {shape}")
        # Copy on write ("c"), and never written: the pages are those of the file, in the memory
        # of the machine once. A map for reading only is refused by torch. The map has a duplicate
        # of the open file, and with it the lock, until nobody refers to the array any more.
        vectors = np.memmap(file, np.float32, "c", file.tell(), shape)
    ids, starts = (np.load(folder / name, mmap_mode="c") for name in (_IDS, _STARTS))
    if starts.shape != (len(vectors) + 1,) or ids.shape != (starts[-1],):
        raise ValueError(f"{ids.shape} ids and {starts.shape} starts for {shape}")
    return Catalogue(np.asarray(vectors), np.asarray(ids), np.asarray(starts), mapped=True)


def _settle(file: IO[bytes]) -> None:
    """Have a file on the disk: after a crash of the machine a name is not to stand for zeros."""
    file.flush()
    os.fsync(file.fileno())
