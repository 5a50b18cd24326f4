"""From outside a stack's supervisor: start it in the background, ask how it does, stop it."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from aparella.client import datafolder
from aparella.deploy import folder, local, processes, state
from aparella.errors import AparellaError, ConfigurationError

PREFIX = "aparella: "
"""How a line begins that says why the stack did not start."""

STOP_PATIENCE = 120.0
"""Seconds for a stack to stop: more than all graces after each other."""


def detach(options: local.Options, say: local.Say) -> None:
    """Start the stack in a session of its own and wait until everything answers.

    Args:
        options: what to run.
        say: shows a line of the supervisor's to the user.

    Raises:
        AparellaError: what the stack says when it cannot start.
    """
    folder.make(options.data)
    if datafolder.running(options.data):
        # Taking the lock fails with the sentence that says so.
        with folder.locked(options.data):
            pass
    path = options.data / "logs" / "supervisor.log"
    command = [sys.executable, "-m", "aparella.deploy", "--data", str(options.data)]
    if options.workers is not None:
        command += ["--workers", str(options.workers)]
    if options.port is not None:
        command += ["--port", str(options.port)]
    with folder.sentences(path), path.open("ab") as log, path.open("rb") as lines:
        lines.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            command,
            cwd=options.data,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _follow(process, lines, options.data, say)
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise


def _follow(process: subprocess.Popen[bytes], log: BinaryIO, data: Path, say: local.Say) -> None:
    """Show what the supervisor says until everything answers; raise what ends it before."""
    reasons: list[str] = []
    ended = running = False
    while not running and not ended:
        time.sleep(0.1)
        # Both are looked at before the lines are read, so that none is missed.
        ended = process.poll() is not None
        last = state.read(data)
        running = last is not None and last.pid == process.pid and last.phase == "running"
        for line in log.read().decode("utf-8", errors="replace").splitlines():
            if line.startswith(PREFIX) or reasons:
                reasons.append(line.removeprefix(PREFIX).strip())
            else:
                say(line)
    if running and not ended:
        return
    error = ConfigurationError(
        reasons[0] if reasons else f"The stack ended at its start. Its log is {log.name}."
    )
    for reason in reasons[1:]:
        error.add_note(reason)
    raise error


def down(data: Path, say: local.Say) -> None:
    """Stop the stack that runs in the folder, or what a killed one left behind.

    Raises:
        ConfigurationError: it belongs to somebody else.
        AparellaError: it does not stop.
    """
    if not datafolder.running(data):
        _clear(data, say)
        return
    owner = _owner(data)
    say(f"Stopping the stack in {data} (pid {owner.pid}).")
    try:
        os.kill(owner.pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
    except PermissionError:
        raise ConfigurationError(
            f"The stack in {data} runs as another user (pid {owner.pid}). Stop it as that user."
        ) from None
    deadline = time.monotonic() + STOP_PATIENCE
    while processes.find(owner.pid, owner.create_time) is not None:
        if time.monotonic() > deadline:
            raise AparellaError(
                f"The stack in {data} (pid {owner.pid}) did not stop in {STOP_PATIENCE:.0f} s. "
                f"`kill -9 {owner.pid}` and `aparella down` again end all of it."
            )
        time.sleep(0.05)
    say("Stopped.")


def _clear(data: Path, say: local.Say) -> None:
    """Stop what is left where no supervisor runs."""
    if not any((data / name).exists() for name in (state.STATE_FILE, datafolder.STACK_FILE)):
        say(f"Nothing runs in {data}.")
        return
    with folder.locked(data):
        if not local.reclaim(data, say):
            say(f"Nothing runs in {data}.")


def _owner(data: Path) -> state.StackState:
    """The running supervisor; one that has only just started needs a moment to say who it is."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        owner = state.read(data)
        if owner is not None and owner.alive:
            return owner
        time.sleep(0.05)
    raise ConfigurationError(
        f"Another program holds {data / datafolder.LOCK_FILE}, and it is no stack that this "
        "command knows. `lsof` or `fuser` on that file names it."
    )


@dataclass(frozen=True)
class Status:
    """How a stack does; times are ISO 8601 in UTC.

    Attributes:
        running: whether its supervisor runs.
        phase: `starting`, `running`, `stopping` or `stopped`; `abandoned` if the supervisor is
            gone and processes are left.
    """

    data: str
    running: bool
    phase: str
    pid: int | None
    since: str | None
    addresses: dict[str, str]
    processes: list[dict[str, Any]]


def status(data: Path) -> Status:
    """What runs in the folder.

    Raises:
        ConfigurationError: the folder is of another version or belongs to somebody else.
    """
    datafolder.read(data)
    last = state.read(data)
    running = datafolder.running(data) and last is not None and last.alive
    if last is None:
        return Status(str(data), running, "stopped", None, None, {}, [])
    children = [
        {
            "name": child.name,
            "pid": child.pid or None,
            # What the file says is old by a tick of the supervisor's, or by its whole absence.
            "state": child.state if child.alive or child.state == "waiting" else "dead",
            "since": _iso(child.since),
            "restarts": child.restarts,
            "address": child.address or None,
        }
        for child in last.processes
        if running or child.alive
    ]
    phase = last.phase if running else "abandoned" if children else "stopped"
    return Status(
        data=str(data),
        running=running,
        phase=phase,
        pid=last.pid if running else None,
        since=_iso(last.since) if running else None,
        addresses=last.addresses if running else {},
        processes=children,
    )


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
