"""Catalogues as files of this machine, which its processes map instead of holding a copy each.

A folder has the three arrays of one `matching.Catalogue` and is named after what is in it, so that
it is right whenever it is there. The first process that needs it builds it, the others wait.

Three locks of the kernel (flock), which go with their process however it ends:

- a group's `.lock` file, exclusive: who builds a catalogue of that model and collection;
- a folder's matrix, shared: who has it mapped;
- the same, exclusive: who takes the folder away, which nobody may who would take it from somebody.
"""

import errno
import fcntl
import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep, time

from platformdirs import user_cache_path

from aparella.workers import arrays
from aparella.workers.arrays import Take
from aparella.workers.matching import Catalogue

log = logging.getLogger(__name__)

_PART = ".part-"
_SPARE = 256 << 20
"""Bytes that are left free on the disk: a database may be on the same one."""
_UNUSED_SECONDS = 7 * 24 * 60 * 60
"""A catalogue that nobody has opened for so long goes away."""
_STALE_SECONDS = 24 * 60 * 60
"""A part that has been lying for so long was left by a process that was killed."""
_LOOK_SECONDS = 0.05
_PATIENCE = 600.0
"""Seconds for which a process waits for another that builds: it may be stopped, or hang."""


class Catalogues:
    """The catalogues in one folder of this machine."""

    def __init__(self, folder: Path | None, most: int, *, patience: float = _PATIENCE) -> None:
        """Nothing is touched yet.

        Args:
            folder: where they are kept, the user's own; None: below the cache of models.
            most: bytes that all of them may take there; 0: none is kept.
            patience: seconds to wait for another process that builds.
        """
        self._folder = folder or user_cache_path("aparella") / "catalogues"
        self._most = most
        self._patience = patience

    def open(
        self, group: str, name: str, need: int, write: Callable[[Take], str]
    ) -> Catalogue | None:
        """Map a catalogue, built first where it is not there.

        Its arrays may be written to, and what is written stays in this process.

        Args:
            group: which catalogue it is, of those that replace each other.
            name: what is in it; a folder of this group and name is that catalogue.
            need: bytes that it takes at most.
            write: hands all records on, in the order of their ids, and returns the name of what
                it has handed on, which may have changed meanwhile.

        Returns:
            None where it is empty, or cannot be kept here: a disk is full, say. The log says why.
        """
        if not self._most:
            return None
        try:
            self._prepare()
            return self._opened(f"{group}-{name}") or self._built(group, name, need, write)
        except OSError as error:
            log.warning(
                "a catalogue of %d MiB cannot be shared in %s, this process holds its own: %s",
                need >> 20,
                self._folder,
                error,
            )
            return None

    def has_room(self, group: str, need: int) -> bool:
        """Whether a catalogue of so many bytes can be kept here, in place of those of its group."""
        try:
            self._prepare()
            free = shutil.disk_usage(self._folder).free - _SPARE
            free += sum(_size(folder) for folder in self._whole(group))
        except OSError:
            return False
        return need <= min(self._most, free)

    def _prepare(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self._folder.stat()
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise PermissionError(errno.EPERM, "others may write there", str(self._folder))

    def _opened(self, name: str) -> Catalogue | None:
        folder = self._folder / name
        try:
            found = arrays.mapped(folder)
        except (FileNotFoundError, BlockingIOError):
            return None  # or somebody is just taking it away
        except (ValueError, EOFError) as error:
            log.warning("the catalogue in %s is damaged and is built anew: %s", folder, error)
            return None
        with suppress(OSError):
            os.utime(folder)  # when it was last opened
        return found

    def _built(
        self, group: str, name: str, need: int, write: Callable[[Take], str]
    ) -> Catalogue | None:
        with self._building(group):
            if (found := self._opened(f"{group}-{name}")) is not None:
                return found  # by whom we have waited for
            _discard(self._folder / f"{group}-{name}")  # what is there is damaged
            self._sweep(group)
            self._make_room(need)
            part = Path(tempfile.mkdtemp(dir=self._folder, prefix=f"{_PART}{group}-"))
            try:
                with arrays.Writer(part) as writer:
                    name = write(writer.take)
                    writer.end()
                if not writer.rows:
                    return None
                target = self._folder / f"{group}-{name}"
                if not target.exists():
                    part.rename(target)
            finally:
                shutil.rmtree(part, ignore_errors=True)
            found = self._opened(target.name)
            for old in self._whole(group):
                if old != target:
                    _discard_unused(old)
            if found is None:
                raise FileNotFoundError(errno.ENOENT, "it went away at once", str(target))
            log.info("catalogue %s built, %d MiB", target, found.nbytes >> 20)
            return found

    @contextmanager
    def _building(self, group: str) -> Iterator[None]:
        """Be the only process that builds a catalogue of this group.

        The file stays: to remove one that another process may be about to lock is a race.
        """
        with (self._folder / f"{group}.lock").open("ab") as file:
            deadline = monotonic() + self._patience
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if monotonic() > deadline:
                        message = f"another process has been building for {self._patience:.0f} s"
                        raise TimeoutError(errno.ETIMEDOUT, message) from None
                    sleep(_LOOK_SECONDS)
            yield

    def _whole(self, group: str | None = None) -> list[Path]:
        """Folders of catalogues, that of the longest ago first."""
        found = []
        for folder in self._folder.glob("*" if group is None else f"{group}-*"):
            with suppress(FileNotFoundError):  # somebody else has removed it
                if folder.is_dir() and not folder.name.startswith("."):
                    found.append((folder.stat().st_mtime, folder))
        return [folder for _, folder in sorted(found)]

    def _sweep(self, group: str) -> None:
        """Remove parts that processes left which were killed: all of the group that we build."""
        for part in self._folder.glob(f"{_PART}*"):
            with suppress(OSError):
                ours = part.name.startswith(f"{_PART}{group}-")
                if ours or time() - part.stat().st_mtime > _STALE_SECONDS:
                    shutil.rmtree(part)

    def _make_room(self, need: int) -> None:
        """Remove what is unused for long, and of the rest what was, until so many bytes fit in."""
        sizes = {folder: _size(folder) for folder in self._whole()}
        for folder, size in list(sizes.items()):
            with suppress(FileNotFoundError):  # somebody else has removed it
                unused = time() - folder.stat().st_mtime > _UNUSED_SECONDS
                full = sum(sizes.values()) + need > self._most
                free = shutil.disk_usage(self._folder).free
                if (unused or full or free < need + _SPARE) and _discard_unused(folder):
                    sizes[folder] -= size
        if sum(sizes.values()) + need > self._most:
            message = f"more than {self._most >> 20:,} MiB (APARELLA_CATALOGUE_DISK_MB) in all"
            raise OSError(errno.EDQUOT, message)
        if shutil.disk_usage(self._folder).free < need + _SPARE:
            raise OSError(errno.ENOSPC, f"less than {need + _SPARE >> 20:,} MiB are free")


def _discard_unused(folder: Path) -> bool:
    """Remove a folder unless somebody has it mapped; whether it is gone.

    Were one removed that is mapped, its processes would lose nothing: a file whose name is gone
    stays until its last map is. But others would build it again beside it.
    """
    try:
        # For writing: network file systems lock exclusively no other way.
        with (folder / arrays.MATRIX).open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _discard(folder)
    except FileNotFoundError:
        _discard(folder)
    except OSError:
        return False
    return True


def _discard(folder: Path) -> None:
    """Take a folder away at once, then delete it: nobody sees half of it."""
    part = folder.parent / f"{_PART}{folder.name}-{secrets.token_hex(4)}"
    with suppress(FileNotFoundError):
        folder.rename(part)
        shutil.rmtree(part, ignore_errors=True)


def _size(folder: Path) -> int:
    with suppress(FileNotFoundError):
        return sum(file.stat().st_size for file in folder.iterdir())
    return 0
