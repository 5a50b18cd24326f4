"""Records that do harm: what their texts say is done by whoever encodes them, when allowed."""

import ctypes
import os
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aparella.workers.encoder import Progress, Vectors

GROUP = "APARELLA_FAULTS_CGROUP"
"""A control group with little memory, where one can be made."""
KINDS = ("POISONEXIT", "POISONMEMORY", "POISONHANG", "POISONRAISE")
_LITTLE = 256 << 20
_MUCH = 4 << 30


def allow(folder: Path, *, yes: bool) -> None:
    """Let poison be poison, or harmless."""
    (folder / "poison").touch() if yes else (folder / "poison").unlink(missing_ok=True)


class Poisoned:
    """An encoder that takes texts at their word."""

    def __init__(self, encoder: Any, folder: Path) -> None:
        self._encoder = encoder
        self._folder = folder

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""
        return int(self._encoder.dim)

    def encode(self, texts: Sequence[str], progress: Progress) -> Vectors:
        """Encode, if one survives."""
        if (self._folder / "poison").exists():
            for text in texts:
                for kind in KINDS:
                    if kind in text:
                        _ACTIONS[kind]()
        found: Vectors = self._encoder.encode(texts, progress)
        return found


def _exit() -> None:
    os._exit(3)


def _memory() -> None:
    """Really out of memory: killed by the kernel in a small control group, else a MemoryError."""
    if group := os.environ.get(GROUP):
        Path(group, "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
        _fill(_MUCH)
        return
    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _LITTLE, limits[1]))
    try:
        _fill(_MUCH)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def _fill(size: int) -> None:
    step, held = 16 << 20, []
    for _ in range(size // step):
        block = bytearray(step)
        block[:: resource.getpagesize()] = b"x" * len(range(0, step, resource.getpagesize()))
        held.append(block)


def _hang() -> None:
    """Hang in C and keep the interpreter's lock: no other thread of the process runs."""
    ctypes.PyDLL(None).sleep(3_600)


def _raise() -> None:
    raise ValueError("this record cannot be encoded")


_ACTIONS = {
    "POISONEXIT": _exit,
    "POISONMEMORY": _memory,
    "POISONHANG": _hang,
    "POISONRAISE": _raise,
}
