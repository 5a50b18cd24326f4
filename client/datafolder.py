"""Where the local stack keeps its data, and what its one file says.

Shared by the client, which only reads, and by `aparella.deploy`, which writes: so it imports
nothing but the standard library and platformdirs.
"""

import fcntl
import json
import os
import sys
from pathlib import Path
from typing import Any

import platformdirs

from aparella.errors import ConfigurationError

VARIABLE = "APARELLA_DATA"
STACK_FILE = "stack.json"
LOCK_FILE = "lock"
FORMAT = 1
"""Version of the folder's layout; another one is refused rather than guessed at."""


def locate(data: Path | None = None) -> Path:
    """The data folder: `data`, else `APARELLA_DATA`, else the user's own folder.

    Root's home is closed to the system user that runs PostgreSQL for root (it refuses to run as
    root itself), so root's default is the system's place for such data.
    """
    if data is None and os.environ.get(VARIABLE):
        data = Path(os.environ[VARIABLE])
    if data is not None:
        return data.expanduser().resolve()
    if os.geteuid() != 0:
        return platformdirs.user_data_path("aparella")
    if sys.platform == "darwin":
        return platformdirs.site_data_path("aparella")
    return Path("/var/lib/aparella")


def read(folder: Path) -> dict[str, Any] | None:
    """The content of the folder's stack.json, or None where there is none.

    Raises:
        ConfigurationError: it belongs to somebody else, is damaged, or is of another version.
    """
    path = folder / STACK_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        raise ConfigurationError(
            f"{path} cannot be read: it belongs to another user. Run the command as that user, "
            "or name a folder of your own with --data."
        ) from None
    except ValueError:
        raise ConfigurationError(
            f"{path} is damaged: it is no JSON. Restore it from a backup, or name another folder "
            "with --data."
        ) from None
    found = content.get("version") if isinstance(content, dict) else None
    if found != FORMAT:
        raise ConfigurationError(
            f"{folder} was made by another version of Aparella: its {STACK_FILE} says version "
            f"{found}, and this one reads version {FORMAT}. Use the Aparella that made it, or "
            "name another folder with --data."
        )
    return dict(content)


def running(folder: Path) -> bool:
    """Whether a stack holds the folder's lock, which the system frees however its owner ends."""
    try:
        with (folder / LOCK_FILE).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
