"""Models as files: kept in an fsspec store, fetched into a local cache that is keyed by sha256."""

import contextlib
import errno
import hashlib
import importlib.util
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
from platformdirs import user_cache_path

from aparella.errors import JobError, ResourceExhaustedError, ServiceUnavailableError

WEIGHTS = "model.safetensors"
CARD = "README.md"
"""Written after the model has been judged, so it is in no manifest."""
_PACKAGE = "package://"
_verified: set[tuple[Path, str]] = set()


@dataclass(frozen=True)
class Artifact:
    """A model in the store: its URL, the sha256 of its weights, and that of each of its files."""

    url: str
    sha256: str
    files: dict[str, str]


def put(folder: Path, url: str) -> Artifact:
    """Upload a model's folder.

    Args:
        folder: with a `model.safetensors`.
        url: fsspec URL of a folder that is nobody else's; nothing reads it before its registration,
            which follows when this has returned.

    Raises:
        ResourceExhaustedError: the store is full; what was written is removed.
        ServiceUnavailableError: the store does not take it; likewise.
    """
    files = digests(folder)
    with _store(url, "cannot be stored") as (filesystem, root):
        try:
            for name in [*files, *([CARD] if (folder / CARD).is_file() else [])]:
                filesystem.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
                filesystem.put_file(str(folder / name), f"{root}/{name}")
        except BaseException:
            with contextlib.suppress(OSError):
                filesystem.rm(root, recursive=True)
            raise
    return Artifact(url, files[WEIGHTS], files)


def add(url: str, name: str, content: bytes) -> None:
    """Write one more file into a model's folder in the store, over one that is there.

    Raises:
        ResourceExhaustedError, ServiceUnavailableError: as `put`.
    """
    with _store(url, "cannot be stored") as (filesystem, root):
        filesystem.pipe_file(f"{root}/{name}", content)


def delete(url: str) -> None:
    """Remove a model from the store; one that is not there is no error.

    Raises:
        ServiceUnavailableError: the store does not answer.
    """
    if not url or url.startswith(_PACKAGE):
        return
    with _store(url, "cannot be removed") as (filesystem, root):
        if filesystem.exists(root):
            filesystem.rm(root, recursive=True)


def fetch(url: str, sha256: str, files: Mapping[str, str]) -> Path:
    """The folder of a model's files on this machine; what lies on it already is used in place.

    Args:
        url: `package://NAME` for a model that an installed package carries in its folder `model`,
            or any fsspec URL of a folder.
        sha256: of its `model.safetensors`, as registered.
        files: sha256 of each of its files; empty for a package's.

    Raises:
        JobError: the package is missing, or a file is not the registered one.
        ServiceUnavailableError: the artifact store does not answer.
    """
    if url.startswith(_PACKAGE):
        folder = _package_folder(url.removeprefix(_PACKAGE))
    elif url.startswith("file://"):
        folder = Path(url.removeprefix("file://"))
    else:
        folder = user_cache_path("aparella") / "models" / sha256
        if not folder.exists():
            _download(url, folder)
    if (folder, sha256) not in _verified:
        for name, registered in {WEIGHTS: sha256, **files}.items():
            found = file_sha256(folder / name)
            if found != registered:
                raise JobError(
                    f"The model at {url} is not the registered one: its {name} has sha256 "
                    f"{found[:12]}…, registered is {registered[:12]}…. Install the registered "
                    "version, or import the model again under a new version."
                )
        _verified.add((folder, sha256))
    return folder


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a folder but its card, by the path in it.

    Raises:
        JobError: a file cannot be read.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    return {name: file_sha256(path) for name, path in names.items() if name != CARD}


def file_sha256(path: Path) -> str:
    """A file's SHA-256 in hexadecimal.

    Raises:
        JobError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise JobError(f"The model's file {path.name} cannot be read: {error}") from error


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise JobError(f"The package '{name}', which carries the model, is not installed here.")
    return Path(spec.origin).parent / "model"


def _download(url: str, folder: Path) -> None:
    """Download into a folder beside, then rename: who comes second finds the first one's."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{uuid.uuid4().hex[:8]}-"))
    try:
        with _store(url, "cannot be fetched") as (filesystem, path):
            filesystem.get(path + "/", str(part / "model") + "/", recursive=True)
        with contextlib.suppress(OSError):
            (part / "model").rename(folder)
        if not folder.exists():
            raise ServiceUnavailableError(f"The model at {url} cannot be kept in {folder}.")
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def _store(url: str, problem: str) -> Iterator[tuple[Any, str]]:
    try:
        filesystem, root = fsspec.core.url_to_fs(url)
        yield filesystem, root.rstrip("/")
    except (ImportError, ValueError, FileNotFoundError) as error:
        raise JobError(f"The model at {url} {problem}: {error}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceExhaustedError(
                f"The model at {url} {problem}: the disk is full. Make room; the job goes on."
            ) from error
        raise ServiceUnavailableError(f"The model at {url} {problem}: {error}") from error
