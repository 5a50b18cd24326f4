"""The data folder as the one who runs a stack sees it: locked, checked, and ours."""

import contextlib
import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from aparella.client import datafolder
from aparella.deploy import account, state
from aparella.errors import ConfigurationError, ResourceExhaustedError

MINIMUM_FREE = 256 * 2**20
"""Bytes that must be free to start: a new database takes 70 MB and its log grows in steps of 16."""

LOCK_PATIENCE = 1.0
"""Seconds to wait for the lock: a client that looks whether a stack runs holds it a moment."""


def make(folder: Path) -> None:
    """Create the data folder where it is missing, and check that a stack can live in it.

    Raises:
        ConfigurationError: it belongs to somebody else, or the servers' account cannot enter it.
        ResourceExhaustedError: its disk is nearly full.
    """
    with sentences(folder):
        if folder.exists() and not folder.is_dir():
            raise ConfigurationError(
                f"{folder} is a file. Name a folder with --data or {datafolder.VARIABLE}."
            )
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.geteuid():
            raise ConfigurationError(
                f"{folder} belongs to {folder.owner()}. Run the command as that user, or name "
                "another folder with --data."
            )
        # The folder itself is ours to open; what is in it is closed to others, file by file.
        servers = account.current()
        folder.chmod(0o711 if servers else 0o700)
        if servers:
            servers.require(folder)
        for name in ("logs", "artifacts"):
            (folder / name).mkdir(mode=0o700, exist_ok=True)
        free = shutil.disk_usage(folder).free
    if free < MINIMUM_FREE:
        raise ResourceExhaustedError(
            f"The disk of {folder} is full: {free // 2**20} MB are free, and the stack needs at "
            f"least {MINIMUM_FREE // 2**20} MB to start. Free some space, or name a folder on "
            "another disk with --data."
        )


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: one stack at a time.

    The system frees it when its owner ends, kill -9 included; children do not inherit it.

    Raises:
        ConfigurationError: a stack runs there already.
    """
    with sentences(folder):
        lock = os.open(folder / datafolder.LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + LOCK_PATIENCE
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ConfigurationError(_already(folder)) from None
                time.sleep(0.05)
        yield
    finally:
        os.close(lock)


def _already(folder: Path) -> str:
    owner = state.read(folder)
    who = f" (pid {owner.pid})" if owner and owner.alive else ""
    return (
        f"A stack runs already in {folder}{who}. See it with `aparella status`, stop it with "
        "`aparella down`, or name another folder with --data."
    )


@contextlib.contextmanager
def sentences(folder: Path) -> Iterator[None]:
    """Turn what the system says about files (a full disk, missing rights) into a sentence.

    Raises:
        ResourceExhaustedError: the disk or the user's quota is full.
        ConfigurationError: the user may not write there, or cannot for another reason.
    """
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise full(folder) from error
        raise ConfigurationError(
            f"{where} cannot be used: {error.strerror or error}. Name a folder of your own with "
            f"--data or {datafolder.VARIABLE}."
        ) from error


def full(folder: Path) -> ResourceExhaustedError:
    """The error for a disk that was filled while something was written."""
    return ResourceExhaustedError(
        f"The disk of {folder} is full. Free some space and start again; nothing that was "
        "committed is lost."
    )
