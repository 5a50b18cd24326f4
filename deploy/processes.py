"""Processes by identity: finding them again after their parent is gone, and ending them."""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil

MARKER = "APARELLA_STACK"
"""Environment variable that every child of a stack carries: the data folder it belongs to."""

CLOCK_TOLERANCE = 5.0
"""Seconds by which a process's creation time may seem to move: it is counted from the time of
boot, which the kernel corrects as the clock is set."""


def created(pid: int) -> float:
    """When the process was created (seconds since the epoch); 0 if it is gone already."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return 0.0


def find(pid: int, create_time: float) -> psutil.Process | None:
    """The process that had the pid at that time, if it still runs; never a later one."""
    try:
        process = psutil.Process(pid)
        if abs(process.create_time() - create_time) > CLOCK_TOLERANCE or ended(process):
            return None
    except psutil.Error:
        return None
    return process


def ended(process: psutil.Process) -> bool:
    """Whether the process has ended, reaped by its parent or not."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def marked(folder: Path) -> list[psutil.Process]:
    """All processes that carry the folder's marker, this one aside."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARKER) == str(folder):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return [process for process in found if not ended(process)]


def kill_group(pid: int) -> None:
    """Kill the process group that the process led: itself and what it left behind.

    Must be called before the leader is reaped, or while the leader is known to be ours: until
    then the system gives its number to nobody else.
    """
    # PermissionError: macOS, where a group of nothing but zombies is refused.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)


def ask(process: psutil.Process, stop_signal: int) -> None:
    """Ask a process to end in order. Once: to some programs a second request means at once."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(stop_signal)


def finish(
    process: psutil.Process, grace: float, *, hurry: Callable[[], bool] = lambda: False
) -> bool:
    """Wait until a process that was asked to end has ended; else kill it and its whole group.

    Args:
        process: the leader of its group.
        grace: seconds it is given.
        hurry: asked again and again: whether to cut the grace short.

    Returns:
        Whether it ended by itself.
    """
    deadline = time.monotonic() + grace
    while not ended(process) and time.monotonic() < deadline and not hurry():
        time.sleep(0.02)
    orderly = ended(process)
    kill_group(process.pid)
    while not ended(process):
        time.sleep(0.02)
    return orderly
