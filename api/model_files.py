"""Models on their way in and out: a tar of the folder, unpacked with distrust, sent in blocks."""

import logging
import shutil
import tarfile
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import sqlalchemy as sa

from aparella import artifacts, modelfolder
from aparella.api.problems import RETRY_SECONDS, Problem
from aparella.db import registry
from aparella.db.engine import transaction
from aparella.db.models import Model
from aparella.errors import ConflictError, InputError, JobError, ServiceUnavailableError
from aparella.settings import Settings
from aparella.workers.text import CLEANER_VERSION

MOST_FILES = 200
_BLOCK = 1 << 20
_HEADER = tarfile.BLOCKSIZE
_LONGEST_NAME = 64 * 1024
"""Bytes of a header that holds a long name; Python's tarfile would read one of any size."""

log = logging.getLogger(__name__)


@contextmanager
def store_errors() -> Iterator[None]:
    """Say what is wrong with the artifact store: no user can tell it from the database."""
    try:
        yield
    except ServiceUnavailableError as error:
        log.warning("%s", error)
        raise Problem(
            503,
            "The server's model store does not answer at the moment. Try again shortly.",
            code=error.code,
            headers={"Retry-After": str(RETRY_SECONDS)},
        ) from error
    except JobError as error:
        raise ConflictError(str(error)) from error


def import_model(
    db: sa.Engine, settings: Settings, file: BinaryIO, *, name: str, by: str | None
) -> Model:
    """Register the model that a tar holds as a candidate.

    Args:
        db: the database.
        settings: where artifacts are kept, and how large an upload may be.
        file: the tar.
        name: of the model; it gets the next version.
        by: who asked.

    Raises:
        InputError: it is no tar of a model that can be used; says why.
        ResourceExhaustedError: a disk is full.
    """
    with tempfile.TemporaryDirectory(prefix="aparella-model-") as temporary:
        folder = unpack(file, Path(temporary), settings.max_unpacked_mb * 1_000_000)
        facts = modelfolder.check(folder)
        with store_errors():
            artifact = artifacts.put(folder, f"{settings.artifacts}/models/import-{uuid.uuid4()}")
    try:
        with transaction(db) as connection:
            return registry.register(
                connection,
                name=name,
                artifact=artifact,
                base_model=facts.base_model or name,
                max_seq_length=facts.max_seq_length,
                cleaner_version=CLEANER_VERSION,
                created_by=by,
                training={"imported": True},
            )
    except BaseException:
        remove([artifact.url])
        raise


def remove(urls: Sequence[str]) -> None:
    """Delete artifacts that no model has any more; what cannot be deleted is for the log."""
    for url in urls:
        try:
            artifacts.delete(url)
        except Exception:
            log.exception("The artifact %s could not be deleted; nothing refers to it.", url)


def unpack(file: BinaryIO, folder: Path, most_bytes: int) -> Path:
    """Unpack a tar of plain files into an empty folder; returns the model's folder in it.

    Raises:
        InputError: it is no tar, or has in it what no model has: links, paths that lead
            elsewhere, files that run code, too many or too large ones.
    """
    _check_headers(file)
    left, seen = most_bytes, 0
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                name = str(PurePosixPath(member.name))
                base = PurePosixPath(name).name
                if member.isdir() or base.startswith("."):
                    continue
                if not member.isreg() or member.issparse():
                    raise _refused(f"'{name}' is no plain file: links and devices are not taken.")
                modelfolder.check_name(name)
                seen, left = seen + 1, left - member.size
                if seen > MOST_FILES or left < 0:
                    raise _refused(
                        f"It holds more than {MOST_FILES} files or {most_bytes:,} bytes. Leave "
                        "out what is not part of the model, such as checkpoints."
                    )
                target, content = folder / name, tar.extractfile(member)
                target.parent.mkdir(parents=True, exist_ok=True)
                if content is None or target.exists():
                    raise _refused(f"'{name}' is in it twice.")
                with target.open("xb") as out:
                    shutil.copyfileobj(content, out, _BLOCK)
    except (tarfile.TarError, EOFError, UnicodeError) as error:
        raise _refused(f"It cannot be read to its end ({error}).") from error
    except (NotADirectoryError, FileExistsError, IsADirectoryError) as error:
        raise _refused("A name in it is both a file's and a folder's.") from error
    if seen == 0:
        raise _refused("It holds no files.")
    inner = list(folder.iterdir())
    only = len(inner) == 1 and inner[0].is_dir()
    return inner[0] if only else folder


def _check_headers(file: BinaryIO) -> None:
    """Look over all headers: a broken or overlong one is refused before tarfile believes it."""
    file.seek(0)
    while len(block := file.read(_HEADER)) == _HEADER and any(block):
        try:
            size = tarfile.nti(block[124:136])  # type: ignore[attr-defined]
        except tarfile.TarError:
            size = -1
        if block[257:262] != b"ustar" or size < 0:
            raise _refused("Pack the folder with `tar -cf`, without compression.")
        if block[156:157] in b"xgXLK" and size > _LONGEST_NAME:
            raise _refused("One of its headers is too long.")
        file.seek(-(-size // _HEADER) * _HEADER, 1)
    file.seek(0)


def _refused(reason: str) -> InputError:
    return InputError(f"The body is no tar of a model. {reason}", code="not_a_model")


def export(model: Model) -> Iterator[bytes]:
    """A model's folder as a tar, in blocks; errors come before the first one.

    Raises:
        ConflictError: the files are not the registered ones, or not to be had where the API runs.
    """
    with store_errors():
        folder = artifacts.fetch(model.artifact_url, model.sha256, model.files)
        card = artifacts.card(model.artifact_url)
    # A model that comes with a package has no list of its files in the registry.
    names = list(model.files) or modelfolder.files(folder)
    names = sorted({*names} - {modelfolder.CARD})
    content = None if card is None else card.encode()
    return _tar(folder, names, content, int(model.created_at.timestamp()))


def _tar(folder: Path, names: Sequence[str], card: bytes | None, when: int) -> Iterator[bytes]:
    if card is not None:
        yield _head(modelfolder.CARD, len(card), when) + card + _padding(len(card))
    for name in names:
        with (folder / name).open("rb") as file:
            size = left = (folder / name).stat().st_size
            yield _head(name, size, when)
            while left:
                block = file.read(min(_BLOCK, left))
                if not block:
                    # The connection breaks off: nobody takes this for a whole model.
                    raise EOFError(f"{name} became shorter while it was sent")
                left -= len(block)
                yield block
            yield _padding(size)
    yield bytes(2 * _HEADER)


def _head(name: str, size: int, when: int) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = size, when, 0o644
    return entry.tobuf(tarfile.PAX_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % _HEADER)
