"""How much memory the servers of a stack take while a block runs."""

from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Self

import psutil


class Peak:
    """Watches the processes whose command names a folder, such as a stack's servers.

    Attributes:
        mib: the most that they took together, in MiB. Shared pages count once for all
            (proportional set size).
    """

    def __init__(self, folder: Path, *, seconds: float = 1.0) -> None:
        self.mib = 0.0
        self._folder, self._seconds = str(folder), seconds
        self._over = Event()
        self._thread = Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.mib = max(self.mib, self._now())
            if self._over.wait(self._seconds):
                return

    def _now(self) -> float:
        found: dict[int, int] = {}
        for process in psutil.process_iter(["cmdline"]):
            if not any(self._folder in part for part in process.info["cmdline"] or ()):
                continue
            try:
                for one in [process, *process.children(recursive=True)]:
                    found[one.pid] = one.memory_full_info().pss
            except psutil.Error:  # it has ended meanwhile
                continue
        return sum(found.values()) / 2**20
