"""Models as files: kept in a store that fsspec reaches, fetched into a cache on each machine.

An artifact is a folder that never changes, but for its card, which is written when the model has
been judged. The registry knows the SHA-256 of each other file: what is fetched is verified.
"""

import errno
import hashlib
import importlib.util
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem
from platformdirs import user_cache_path

from aparella import modelfolder
from aparella.errors import AparellaError, JobError, ResourceExhaustedError, ServiceUnavailableError
from aparella.modelfolder import CARD, WEIGHTS

PACKAGE = "package://"
_PART = ".part-"
_STALE_SECONDS = 24 * 60 * 60
"""A part that has been lying for so long was left by a process that was killed."""
_verified: set[tuple[Path, str]] = set()


@dataclass(frozen=True)
class Artifact:
    """A model in the store: `sha256` is its weights', `files` has that of each file."""

    url: str
    sha256: str
    files: dict[str, str] = field(default_factory=dict)


def put(folder: Path, url: str) -> Artifact:
    """Copy a model's folder into the store, whole or not at all.

    On this machine's disk the folder appears under its name at once. An object store has no such
    move: there the weights come last, and what a failure leaves behind is deleted; nobody reads
    before the registry has the artifact.

    Args:
        folder: that `SentenceTransformer.save` wrote.
        url: fsspec URL that nothing is at yet.

    Raises:
        InputError: the folder holds what could run code, or no weights.
        ResourceExhaustedError: the store is full.
        ServiceUnavailableError: the store does not answer.
        JobError: something else is at the URL, or the URL is of no known kind.
    """
    names = modelfolder.files(folder)
    modelfolder.check_modules(folder)
    files = {name: file_sha256(folder / name) for name in names if name != CARD}
    if WEIGHTS not in files:
        raise JobError(f"The model in {folder} has no {WEIGHTS}.")
    with _store(url) as (filesystem, path):
        if filesystem.exists(f"{path}/{WEIGHTS}"):
            raise JobError(f"There is a model at {url} already, and models do not change.")
        if isinstance(filesystem, LocalFileSystem):
            _place(folder, Path(path), names)
        else:
            _upload(filesystem, folder, path, names)
    return Artifact(url, files[WEIGHTS], files)


def add(url: str, name: str, content: bytes) -> None:
    """Put the card beside a model, or replace it; a reader sees the old one or the new one.

    Raises:
        as `put`.
    """
    modelfolder.check_name(name)
    if name != CARD:
        raise JobError(f"A model's files do not change: only its {CARD} may.")
    with _store(url) as (filesystem, path):
        if not isinstance(filesystem, LocalFileSystem):
            filesystem.pipe_file(f"{path}/{name}", content)
            return
        part = Path(path) / f"{_PART}{secrets.token_hex(6)}"
        try:
            part.write_bytes(content)
            part.replace(Path(path) / name)
        finally:
            part.unlink(missing_ok=True)


def card(url: str) -> str | None:
    """The text of a model's card as it is in the store; None if it has none.

    Raises:
        as `fetch`.
    """
    if url.startswith(PACKAGE):
        file = _package_folder(url) / CARD
        return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else None
    with _store(url) as (filesystem, path):
        try:
            content: bytes = filesystem.cat_file(f"{path}/{CARD}")
        except FileNotFoundError:
            return None
    return content.decode(errors="replace")


def fetch(url: str, sha256: str, files: Mapping[str, str] | None = None) -> Path:
    """The folder of a model's files on this machine, verified; not to be written to.

    Args:
        url: `package://NAME` for a model that an installed package carries in its folder `model`,
            or any fsspec URL of a folder; one on this machine's disk is used where it is.
        sha256: of its weights, as registered.
        files: SHA-256 of each file, as registered.

    Raises:
        JobError: it is not there, or a file is not the registered one.
        ResourceExhaustedError: the cache's disk is full.
        ServiceUnavailableError: the artifact store does not answer.
    """
    manifest = {WEIGHTS: sha256, **(files or {})}
    if url.startswith(PACKAGE):
        return _checked(_package_folder(url), url, manifest)
    with _store(url) as (filesystem, path):
        if isinstance(filesystem, LocalFileSystem):
            return _checked(Path(path), url, manifest)
        # The weights may be the same in two models whose tokenizers differ.
        folder = user_cache_path("aparella") / "models" / f"{sha256}-{_digest(manifest)[:12]}"
        if folder.exists():
            try:
                return _checked(folder, url, manifest)
            except JobError:
                # Damaged here, on the cache's disk: fetched once more.
                _remove(folder)
        _download(filesystem, path, folder, url, manifest)
    return folder


def checkpoints(store: str, model_id: int) -> str:
    """Where in the store the training of a model leaves its checkpoints, until it has ended well.

    A training that failed or was cancelled keeps them, for a retry; they go with the model.
    """
    return f"{store}/checkpoints/model-{model_id}"


def delete(url: str) -> None:
    """Delete an artifact; one that is gone already is none's fault.

    Raises:
        JobError: a package carries it.
        ServiceUnavailableError: the store does not answer.
    """
    if url.startswith(PACKAGE):
        raise JobError(f"The model at {url} comes with a package and cannot be deleted.")
    with _store(url) as (filesystem, path):
        if isinstance(filesystem, LocalFileSystem):
            _remove(Path(path))
        else:
            with suppress(FileNotFoundError):
                filesystem.rm(path, recursive=True)


def file_sha256(path: Path) -> str:
    """A file's SHA-256 in hexadecimal.

    Raises:
        JobError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise JobError(f"The model's file cannot be read: {error}") from error


@contextmanager
def _store(url: str) -> Iterator[tuple[Any, str]]:
    """The file system of a URL and the path in it; what it raises becomes one of our errors."""
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
        yield filesystem, str(path).rstrip("/")
    except AparellaError:
        raise
    except (ImportError, ValueError, FileNotFoundError) as error:
        raise JobError(f"The model at {url} cannot be had: {error}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceExhaustedError(
                f"There is no room for the model {url}: {error}"
            ) from error
        raise ServiceUnavailableError(f"The model store at {url} fails: {error}") from error
    except Exception as error:
        # The stores' clients have exceptions of their own, which need not be OSError.
        raise ServiceUnavailableError(f"The model store at {url} fails: {error}") from error


def _place(folder: Path, target: Path, names: list[str]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target.parent)
    part = target.parent / f"{_PART}{secrets.token_hex(6)}"
    try:
        for name in names:
            copy = part / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, copy)
            with copy.open("rb") as file:
                os.fsync(file.fileno())
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove parts that processes left which were killed."""
    for part in folder.glob(f"{_PART}*"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(part)


def _upload(filesystem: Any, folder: Path, path: str, names: list[str]) -> None:
    try:
        for name in sorted(names, key=lambda name: name == WEIGHTS):
            filesystem.makedirs(f"{path}/{name}".rpartition("/")[0], exist_ok=True)
            filesystem.put_file(str(folder / name), f"{path}/{name}")
    except BaseException:
        with suppress(Exception):
            filesystem.rm(path, recursive=True)
        raise


def _download(
    filesystem: Any, path: str, folder: Path, url: str, manifest: Mapping[str, str]
) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder.parent)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=_PART))
    try:
        names = list(manifest)
        if len(manifest) == 1:  # registered before each file was
            names = [
                str(one).removeprefix(f"{path.lstrip('/')}/").removeprefix(f"{path}/")
                for one in (str(found).lstrip("/") for found in filesystem.find(path))
            ]
        for name in names:
            modelfolder.check_name(name)
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            filesystem.get_file(f"{path}/{name}", str(part / name))
        _verify(part, url, manifest)
        with suppress(OSError):  # somebody else was quicker
            part.rename(folder)
        _checked(folder, url, manifest)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _checked(folder: Path, url: str, manifest: Mapping[str, str]) -> Path:
    """The folder, verified once in the life of this process."""
    key = (folder, _digest(manifest))
    if key not in _verified:
        if not folder.is_dir():
            raise JobError(f"The model at {url} cannot be had: {folder} is not there.")
        _verify(folder, url, manifest)
        _verified.add(key)
    return folder


def _verify(folder: Path, url: str, manifest: Mapping[str, str]) -> None:
    for name, registered in manifest.items():
        found = file_sha256(folder / name)
        if found != registered:
            raise JobError(
                f"The model at {url} is not the registered one: its {name} has sha256 "
                f"{found[:12]}…, registered is {registered[:12]}…. Install the registered version."
            )


def _digest(manifest: Mapping[str, str]) -> str:
    lines = "".join(f"{name} {sha256}\n" for name, sha256 in sorted(manifest.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _remove(folder: Path) -> None:
    """Take a folder away at once, then delete it: nobody sees half of it."""
    part = folder.parent / f"{_PART}{secrets.token_hex(6)}"
    with suppress(FileNotFoundError):
        folder.rename(part)
    _verified.difference_update({key for key in _verified if key[0] == folder})
    shutil.rmtree(part, ignore_errors=True)


def _package_folder(url: str) -> Path:
    name = url.removeprefix(PACKAGE)
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise JobError(f"The package '{name}', which carries the model, is not installed here.")
    return Path(spec.origin).parent / "model"
