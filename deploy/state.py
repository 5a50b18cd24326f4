"""state.json: what a stack runs, as its supervisor tells `status`, `down` and the next `up`."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from aparella.deploy import processes, stackfile

STATE_FILE = "state.json"

Phase = Literal["starting", "running", "stopping", "stopped"]
Condition = Literal["starting", "running", "waiting", "stopped"]
"""Of one process; `waiting` is for its restart."""


@dataclass(frozen=True)
class ProcessState:
    """One supervised process: who it is, how it does, and how it is stopped."""

    name: str
    pid: int
    create_time: float
    state: Condition
    since: float
    restarts: int
    address: str
    stop_signal: int
    grace: float

    @property
    def alive(self) -> bool:
        """Whether that very process runs now, whatever the file says."""
        return self.pid > 0 and processes.find(self.pid, self.create_time) is not None


@dataclass(frozen=True)
class StackState:
    """The supervisor and its processes, in the order in which they were started."""

    pid: int
    create_time: float
    phase: Phase
    since: float
    addresses: dict[str, str]
    processes: tuple[ProcessState, ...]

    @property
    def alive(self) -> bool:
        """Whether the supervisor runs now."""
        return processes.find(self.pid, self.create_time) is not None


def read(folder: Path) -> StackState | None:
    """The folder's last known state, or None.

    A damaged file counts as none: left-over processes are found by their marker as well.
    """
    try:
        content: dict[str, Any] = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
        children = tuple(ProcessState(**child) for child in content.pop("processes"))
        return StackState(processes=children, **content)
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
        return None


def write(folder: Path, state: StackState) -> None:
    """Replace the folder's state, whole or not at all."""
    stackfile.write(folder / STATE_FILE, dataclasses.asdict(state))
