"""A model's folder as a tar: packed to be sent, and unpacked whole or not at all."""

import secrets
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from aparella.errors import InputError, ResourceExhaustedError


@contextmanager
def packed(folder: Path) -> Iterator[Path]:
    """A temporary tar of a folder's files.

    Raises:
        InputError: there is no such folder, it holds no model, or it cannot be read.
        ResourceExhaustedError: there is no room for the tar.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: give the one that was saved.", field="folder")
    if not (folder / "modules.json").is_file():
        raise InputError(
            f"{folder} is no sentence-transformers model: it has no modules.json. Give a folder "
            "that SentenceTransformer.save wrote.",
            field="folder",
        )
    names = [
        path.relative_to(folder)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(p.startswith(".") for p in path.relative_to(folder).parts)
    ]
    with tempfile.TemporaryDirectory(prefix="aparella-") as temporary:
        tar = Path(temporary) / "model.tar"
        with tarfile.open(tar, "w") as out:
            for name in names:
                _add(out, folder / name, name.as_posix())
        yield tar


def _add(out: tarfile.TarFile, path: Path, name: str) -> None:
    try:
        file: IO[bytes] = path.open("rb")
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}.", field="folder"
        ) from None
    with file:
        entry = tarfile.TarInfo(name)
        entry.size = path.stat().st_size
        try:
            out.addfile(entry, file)
        except OSError as error:
            raise ResourceExhaustedError(
                f"{path} could not be packed: {error.strerror or error}."
            ) from error


@contextmanager
def receiving(folder: Path) -> Iterator[BinaryIO]:
    """A temporary file for a tar, which becomes the folder when the block ends well.

    Raises:
        InputError: the folder is there already, or cannot be made.
        ResourceExhaustedError: it cannot be written to its end.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already: give a folder that is not.", field="folder")
    if not folder.absolute().parent.is_dir():
        raise InputError(f"The directory {folder.parent} does not exist.", field="folder")
    part = folder.absolute().parent / f".aparella-{secrets.token_hex(6)}.part"
    try:
        part.mkdir()
    except OSError as error:
        raise InputError(
            f"The directory {folder.parent} cannot be written: {error.strerror or error}.",
            field="folder",
        ) from None
    try:
        with (part / "tar").open("w+b") as file:
            yield file
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:") as tar:
                _unpack(tar, part / "model")
        (part / "model").rename(folder)
    except (OSError, tarfile.TarError) as error:
        raise ResourceExhaustedError(
            f"{folder} could not be written: {error}. Nothing is left of it."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _unpack(tar: tarfile.TarFile, folder: Path) -> None:
    """Write a tar's files below a folder, and nowhere else; Python's filters came with 3.11.4."""
    folder.mkdir()
    inside = folder.resolve()
    for entry in tar:
        target = folder / entry.name
        content = tar.extractfile(entry) if entry.isreg() else None
        if content is None or not target.resolve().is_relative_to(inside):
            raise tarfile.ExtractError(f"{entry.name} is no file of a model")
        target.parent.mkdir(parents=True, exist_ok=True)
        with content, target.open("wb") as out:
            shutil.copyfileobj(content, out)
