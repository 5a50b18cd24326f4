"""Services of docker-compose.yml as processes: their commands, their environment."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.acceptance.conftest import ROOT


@dataclass
class Service:
    """One service of the file, run as a process.

    Attributes:
        name: in the file.
        content: what the file says of it, variables put in.
        places: what stands for something else here: host names, folders, and whole words.
        log: where it writes to.
        path: folders of programs before this machine's own.
    """

    name: str
    content: dict[str, Any]
    places: Mapping[str, str]
    log: Path
    path: str = ""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def environment(self) -> dict[str, str]:
        """The service's own variables, and what a process needs to be found and to find."""
        own = {key: self._here(str(value)) for key, value in self.content["environment"].items()}
        return {
            "PATH": f"{self.path}:{os.environ['PATH']}".lstrip(":"),
            "HOME": str(self.log.parent),
            "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT))),
            "PYTHONWARNINGS": "error::DeprecationWarning:aparella",
            **own,
        }

    def start(self) -> None:
        """Start it, in a process group of its own."""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self._words(self.content["command"]),
                env=self.environment,
                cwd=self.log.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self) -> int:
        """Run a one-shot service to its end; its exit code."""
        self.start()
        assert self.process is not None
        return self.process.wait(timeout=120)

    def healthy(self) -> bool:
        """Ask as the file's health check does. A service that has ended fails the test."""
        assert self.process is not None
        assert self.process.poll() is None, self.words()
        how, *test = self.content["healthcheck"]["test"]
        command = ["sh", "-c", *test] if how == "CMD-SHELL" else self._words(test)
        asked = subprocess.run(
            [self._here(word) for word in command],
            env=self.environment,
            capture_output=True,
            timeout=60,
            check=False,
        )
        return asked.returncode == 0

    def ask_to_stop(self) -> None:
        """What `docker compose stop` sends first."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def stopped(self) -> int:
        """Wait as long as the file grants; the exit code."""
        assert self.process is not None
        grace = float(str(self.content.get("stop_grace_period", "10s")).removesuffix("s"))
        return self.process.wait(timeout=grace)

    def kill(self) -> None:
        """End what is left of it."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def words(self) -> str:
        """What it wrote."""
        return f"{self.name}:\n" + self.log.read_text(encoding="utf-8", errors="replace")

    def _words(self, command: list[str]) -> list[str]:
        first = sys.executable if command[0] == "python" else command[0]
        return [first, *(self._here(word) for word in command[1:])]

    def _here(self, text: str) -> str:
        if text in self.places:
            return self.places[text]
        for there, here in self.places.items():
            if not there.isdigit():
                text = text.replace(there, here)
        return text
