"""Checkpoints of a training in an artifact store, whole or not at all."""

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec

from aparella.errors import ResourceExhaustedError, ServiceUnavailableError
from aparella.workers.training.disk import is_full

_KEPT = 2
_MARKER = ".complete.json"


class Checkpoints:
    """The checkpoints of one training under an fsspec URL, the newest two of them.

    A checkpoint is a folder `step-N`, and counts once `step-N.complete.json` stands beside it: that
    is written last, and holds the size and SHA-256 of each file.
    """

    def __init__(self, url: str) -> None:
        """Name the place.

        Args:
            url: of a folder that is this training's alone; it need not exist.
        """
        self.url = url

    def save(self, folder: Path, step: int) -> None:
        """Upload a folder as the checkpoint of a step; older ones but one are removed.

        Raises:
            ResourceExhaustedError: the store is full; nothing half-written is left.
            ServiceUnavailableError: the store does not take it.
        """
        with self._store("cannot be saved") as (filesystem, root):
            name = f"{root}/step-{step:09d}"
            files = {
                path.relative_to(folder).as_posix(): _facts(path)
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            }
            try:
                filesystem.makedirs(root, exist_ok=True)
                self._remove(filesystem, name)
                for file in files:
                    filesystem.makedirs(f"{name}/{file}".rpartition("/")[0], exist_ok=True)
                    filesystem.put_file(str(folder / file), f"{name}/{file}")
                marker = json.dumps({"step": step, "files": files})
                filesystem.pipe_file(name + _MARKER, marker.encode())
            except BaseException:
                with contextlib.suppress(OSError):
                    self._remove(filesystem, name)
                raise
            complete = self._complete(filesystem, root)
            kept = {number for number, _ in complete[:_KEPT]}
            for number, old in self._all(filesystem, root):
                if number not in kept:
                    self._remove(filesystem, old)

    def latest(self, into: Path) -> Path | None:
        """Download the newest checkpoint that is whole.

        Args:
            into: a folder; the checkpoint comes into a new folder below it.

        Returns:
            The checkpoint's folder, or None where there is none. Incomplete and damaged ones are
            passed over.

        Raises:
            ResourceExhaustedError: the local disk is full.
            ServiceUnavailableError: the store does not answer.
        """
        with self._store("cannot be read") as (filesystem, root):
            for _, name in self._complete(filesystem, root):
                into.mkdir(parents=True, exist_ok=True)
                target = Path(tempfile.mkdtemp(dir=into, prefix="checkpoint-"))
                try:
                    if self._download(filesystem, name, target):
                        return target
                except BaseException:
                    shutil.rmtree(target, ignore_errors=True)
                    raise
                shutil.rmtree(target, ignore_errors=True)
        return None

    def clear(self) -> None:
        """Remove them all; the training is over.

        Raises:
            ServiceUnavailableError: the store does not answer.
        """
        with self._store("cannot be removed") as (filesystem, root):
            if filesystem.exists(root):
                filesystem.rm(root, recursive=True)

    @contextlib.contextmanager
    def _store(self, problem: str) -> Iterator[tuple[Any, str]]:
        try:
            filesystem, root = fsspec.core.url_to_fs(self.url)
            filesystem.invalidate_cache()
            yield filesystem, root.rstrip("/")
        except OSError as error:
            if is_full(error):
                raise ResourceExhaustedError(
                    f"The checkpoint {problem}: the disk is full ({self.url}). Make room; the job "
                    "goes on from the last checkpoint."
                ) from error
            raise ServiceUnavailableError(
                f"The checkpoint {problem}: {self.url}: {error}"
            ) from error

    @staticmethod
    def _download(filesystem: Any, name: str, target: Path) -> bool:
        """Whether each file came as its marker describes it."""
        try:
            files = json.loads(filesystem.cat_file(name + _MARKER))["files"]
            for file, facts in files.items():
                path = target / file
                path.parent.mkdir(parents=True, exist_ok=True)
                filesystem.get_file(f"{name}/{file}", str(path))
                if _facts(path) != facts:
                    return False
        except (FileNotFoundError, KeyError, ValueError):
            return False
        return True

    @staticmethod
    def _all(filesystem: Any, root: str) -> list[tuple[int, str]]:
        """Each step's number and path, complete or not, the newest first."""
        try:
            names = {
                str(path).rstrip("/").rpartition("/")[2] for path in filesystem.ls(root, False)
            }
        except FileNotFoundError:
            return []
        steps = {name.removesuffix(_MARKER) for name in names if name.startswith("step-")}
        numbered = [(int(step[5:]), f"{root}/{step}") for step in steps if step[5:].isdigit()]
        return sorted(numbered, reverse=True)

    def _complete(self, filesystem: Any, root: str) -> list[tuple[int, str]]:
        return [
            each for each in self._all(filesystem, root) if filesystem.exists(each[1] + _MARKER)
        ]

    @staticmethod
    def _remove(filesystem: Any, name: str) -> None:
        """The marker goes first, so that a reader never takes what is half removed for whole."""
        for path, recursive in ((name + _MARKER, False), (name, True)):
            if filesystem.exists(path):
                filesystem.rm(path, recursive=recursive)


def _facts(path: Path) -> list[int | str]:
    """A file's size in bytes and SHA-256."""
    with path.open("rb") as file:
        return [path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()]
