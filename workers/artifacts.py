"""Models as files: fetched through fsspec into a local cache that is keyed by their sha256."""

import hashlib
import importlib.util
import shutil
import tempfile
from pathlib import Path

import fsspec
from platformdirs import user_cache_path

from aparella.errors import JobError, ServiceUnavailableError

WEIGHTS = "model.safetensors"
_verified: set[Path] = set()


def fetch(url: str, sha256: str) -> Path:
    """The folder of a model's files on this machine.

    Args:
        url: `package://NAME` for a model that an installed package carries in its folder `model`,
            or any fsspec URL of a folder.
        sha256: of its `model.safetensors`, as registered.

    Raises:
        JobError: the package is missing, or the weights are not the registered ones.
        ServiceUnavailableError: the artifact store does not answer.
    """
    if url.startswith("package://"):
        folder = _package_folder(url.removeprefix("package://"))
    else:
        folder = user_cache_path("aparella") / "models" / sha256
        if not folder.exists():
            _download(url, folder)
    if folder not in _verified:
        found = file_sha256(folder / WEIGHTS)
        if found != sha256:
            raise JobError(
                f"The model at {url} is not the registered one: its {WEIGHTS} has sha256 "
                f"{found[:12]}…, registered is {sha256[:12]}…. Install the registered version."
            )
        _verified.add(folder)
    return folder


def file_sha256(path: Path) -> str:
    """A file's SHA-256 in hexadecimal.

    Raises:
        JobError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise JobError(f"The model's weights cannot be read: {error}") from error


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise JobError(f"The package '{name}', which carries the model, is not installed here.")
    return Path(spec.origin).parent / "model"


def _download(url: str, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
        filesystem.get(path.rstrip("/") + "/", str(part / "model") + "/", recursive=True)
        (part / "model").rename(folder)
    except (ImportError, ValueError, FileNotFoundError) as error:
        raise JobError(f"The model at {url} cannot be had: {error}") from error
    except OSError as error:
        if not folder.exists():
            raise ServiceUnavailableError(
                f"The model at {url} cannot be fetched: {error}"
            ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
