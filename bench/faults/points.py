"""Named points in the processes under test; only the harness's own entry point installs them.

A point is armed by a file of its name. The process that comes by takes the file away, by a rename,
so that one of many does, and does to itself what the file says.
"""

import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

FOLDER = "APARELLA_FAULTS_FOLDER"
DEADLOCK_LOCK = 4711
"""Advisory lock that the harness holds when it wants a deadlock."""


def _folder() -> Path:
    return Path(os.environ[FOLDER])


def arm(folder: Path, point: str, action: str) -> Path:
    """Let whoever reaches the point next do this to itself; returns the file that is the trap.

    Args:
        folder: of the processes' environment.
        point: its name.
        action: `kill`, `stop` (SIGSTOP), `cut` (the connection) or `deadlock`.
    """
    aside, trap = folder / f"new-{point}", folder / f"armed-{point}"
    aside.write_text(action, encoding="ascii")
    aside.rename(trap)
    return trap


def hits(folder: Path, point: str) -> list[Path]:
    """What was left by those that walked into the point; the name ends in chunk and pid."""
    return sorted(folder.glob(f"hit-{point}-*"))


def reach(point: str, chunk: int = 0, connection: sa.Connection | None = None) -> None:
    """Say that this process is at the point."""
    folder = _folder()
    mine = folder / f"hit-{point}-{chunk}-{os.getpid()}"
    try:
        (folder / f"armed-{point}").rename(mine)
    except FileNotFoundError:
        return
    action = mine.read_text(encoding="ascii")
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif action == "cut" and connection is not None:
        driver: Any = connection.connection.driver_connection
        with socket.socket(fileno=os.dup(driver.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)
    elif action == "deadlock" and connection is not None:
        # The harness has this lock, and asks for the row that this transaction has locked.
        connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({DEADLOCK_LOCK})"))


def pace() -> float:
    """Seconds that each chunk is to take longer, as the harness wants it now."""
    try:
        return float((_folder() / "pace").read_text(encoding="ascii") or 0)
    except (OSError, ValueError):
        return 0.0


def dawdle(tick: Any) -> None:
    """Take that long, with signs of life."""
    end = time.monotonic() + pace()
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, 0.2))
        tick(0)
