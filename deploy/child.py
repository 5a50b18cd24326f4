"""One supervised process: how it is started, and how it does."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from aparella.deploy import backoff, processes
from aparella.deploy.account import Account
from aparella.deploy.state import Condition, ProcessState

LOG_LIMIT = 10 * 2**20
"""Bytes of a log beyond which it is set aside (to .1) when its process starts again."""

TAIL_LINES = 12


@dataclass(frozen=True)
class Child:
    """What to run and how to tell that it works.

    Attributes:
        name: unique; also the log's name.
        argv: the command line, free of secrets.
        env: the whole environment.
        cwd: the working directory.
        answers: says why it does not answer yet, or None when it does. Without one the process
            counts as running once it is started.
        address: where it listens, for people.
        stop_signal: what makes it stop in order.
        grace: seconds it has for that.
        patience: seconds it has to answer for the first time.
        account: the system account to switch to, or None.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    answers: Callable[[], str | None] | None = None
    address: str = ""
    stop_signal: signal.Signals = signal.SIGTERM
    grace: float = 10.0
    patience: float = 60.0
    account: Account | None = None


@dataclass
class Running:
    """A child and the process that runs it now, if any."""

    child: Child
    log: Path
    state: Condition = "stopped"
    since: float = 0.0
    restarts: int = 0
    failures: int = 0
    due: float = 0.0
    """When it is started again (monotonic seconds)."""
    silence: str = ""
    """Why it did not answer when last asked."""
    process: subprocess.Popen[bytes] | None = None
    create_time: float = 0.0
    _started: float = 0.0
    _log_start: int = 0
    _known: psutil.Process | None = field(default=None, repr=False)

    def spawn(self) -> None:
        """Start the process, in a session and a process group of its own.

        Ctrl-C at the terminal then reaches the supervisor alone, which stops the children in
        their order, and whatever the process starts is found by its group.
        """
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
            self.log.replace(self.log.with_name(self.log.name + ".1"))
        account = self.child.account
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self.process = subprocess.Popen(
                self.child.argv,
                env=dict(self.child.env),
                cwd=self.child.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            )
        self._known = psutil.Process(self.process.pid)
        self.create_time = processes.created(self.process.pid)
        self._started = time.monotonic()
        self._enter("starting")

    @property
    def age(self) -> float:
        """Seconds since the process was started."""
        return time.monotonic() - self._started

    @property
    def died(self) -> bool:
        """Whether the process has ended; it is not reaped by looking."""
        return self._known is not None and processes.ended(self._known)

    def look(self) -> bool:
        """Ask a starting process whether it answers; returns whether it runs now."""
        if self.state == "starting":
            self.silence = (self.child.answers() if self.child.answers else None) or ""
            if not self.silence:
                self._enter("running")
        return self.state == "running"

    def bury(self) -> int:
        """Reap an ended process, and end what it left behind; returns its exit code."""
        if self.process is None:
            return 0
        # Before it is reaped: until then nobody else can get its number.
        processes.kill_group(self.process.pid)
        code = self.process.wait()
        self.process, self._known = None, None
        self._enter("stopped")
        return code

    def postpone(self) -> float:
        """Plan the restart of a process that died; returns in how many seconds."""
        self.failures = backoff.failures_after(self.failures, self.age)
        delay = backoff.restart_delay(self.failures)
        self.due = time.monotonic() + delay
        self._enter("waiting")
        return delay

    def ask(self) -> None:
        """Ask the process to stop, if there is one."""
        if self._known is not None:
            processes.ask(self._known, self.child.stop_signal)

    def stop(self, hurry: Callable[[], bool]) -> bool:
        """See a process that was asked to stop to its end; returns whether it did by itself."""
        orderly = True
        if self._known is not None:
            orderly = processes.finish(self._known, self.child.grace, hurry=hurry)
            self.bury()
        self._enter("stopped")
        return orderly

    def tail(self) -> list[str]:
        """The last lines that this run of the process wrote."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(self._log_start, self.log.stat().st_size - 8192), os.SEEK_SET)
                lines = log.read().decode("utf-8", errors="replace").splitlines()
        except OSError:
            return []
        return [line for line in lines if line.strip()][-TAIL_LINES:]

    def snapshot(self) -> ProcessState:
        """What state.json says about it."""
        return ProcessState(
            name=self.child.name,
            pid=self.process.pid if self.process else 0,
            create_time=self.create_time if self.process else 0.0,
            state=self.state,
            since=self.since,
            restarts=self.restarts,
            address=self.child.address,
            stop_signal=int(self.child.stop_signal),
            grace=self.child.grace,
        )

    def _enter(self, state: Condition) -> None:
        self.state = state
        self.since = time.time()
