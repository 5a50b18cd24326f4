"""The supervisor: starts children in order, keeps them alive, stops them in reverse."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from aparella.deploy import folder, processes, state
from aparella.deploy.child import Child, Running
from aparella.errors import AparellaError, ConfigurationError

TICK = 0.2
"""Seconds between two looks at the children."""


class Interrupted(Exception):  # noqa: N818 (no error: the user asked to stop)
    """The supervisor was asked to stop while it was still starting."""


class Supervisor:
    """Runs the children of one data folder, whose lock its owner holds.

    Not thread-safe: one thread starts, watches and stops.

    Args:
        data: the data folder; logs go to its `logs/`, the state to its state.json.
        say: shows a line to the user.
    """

    def __init__(self, data: Path, say: Callable[[str], None]) -> None:
        self._data = data
        self._say = say
        self._groups: list[list[Running]] = []
        self._signals = 0
        self._phase: state.Phase = "starting"
        self._since = time.time()
        self._addresses: dict[str, str] = {}
        self._identity = (os.getpid(), processes.created(os.getpid()))
        self._save()

    @contextlib.contextmanager
    def heeding_signals(self) -> Iterator[None]:
        """Stop on SIGINT, SIGTERM and SIGHUP; a second one cuts every grace short."""

        def note(_number: int, _frame: FrameType | None) -> None:
            self._signals += 1

        before = {
            number: signal.signal(number, note)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def start(self, children: Sequence[Child]) -> None:
        """Start a group of children and wait until all of them answer.

        Raises:
            ConfigurationError: one died or did not answer in its time; the sentence has its words.
            ResourceExhaustedError: one died because the disk is full.
            Interrupted: a signal came.
        """
        group = [Running(child, self._log(child)) for child in children]
        self._groups.append(group)
        for running in group:
            self._spawn(running)
        self._save()
        pause = 0.02
        while True:
            self._check_interrupted()
            for running in group:
                self._look(running)
            if all(running.state == "running" for running in group):
                break
            time.sleep(pause)
            pause = min(TICK, pause * 1.5)
        self._save()

    def run(self, child: Child) -> None:
        """Run a child once, to its end.

        Raises:
            ConfigurationError: it failed or took longer than its patience.
            ResourceExhaustedError: it failed because the disk is full.
            Interrupted: a signal came; the child was stopped.
        """
        running = Running(child, self._log(child))
        self._groups.append([running])
        self._spawn(running)
        self._save()
        try:
            while not running.died:
                self._check_interrupted()
                if running.age > child.patience:
                    raise self._failure(running, f"did not end in {child.patience:.0f} s")
                time.sleep(0.05)
            code = running.bury()
            if code != 0:
                raise self._failure(running, f"failed ({_ending(code)})")
        finally:
            running.ask()
            running.stop(self._hurry)
            self._groups.pop()
            self._save()

    def watch(self, addresses: dict[str, str]) -> None:
        """Keep the children alive until a signal comes.

        Args:
            addresses: where the whole listens, for `status`.
        """
        self._addresses = addresses
        self._phase = "running"
        self._since = time.time()
        self._save()
        while not self._signals:
            changed = False
            for running in self._all():
                changed |= self._tend(running)
            if changed:
                self._save()
            time.sleep(TICK)

    def stop(self) -> None:
        """Stop all children, the last group first, each in order."""
        self._phase = "stopping"
        # The signal that ended the watch asks for an orderly stop; only one more hurries it.
        heard = min(self._signals, 1)
        self._signals -= heard
        self._save()
        while self._groups:
            group = self._groups[-1]
            # All are told first, so that their graces run side by side.
            for running in group:
                running.ask()
            for running in group:
                if not running.stop(self._hurry):
                    grace = f"{running.child.grace:.0f} s"
                    self._say(f"{running.child.name} did not stop in {grace} and was killed.")
            self._groups.pop()
            self._save()
        self._phase = "stopped"
        self._save()

    def _hurry(self) -> bool:
        return self._signals > 0

    def _check_interrupted(self) -> None:
        if self._signals:
            raise Interrupted

    def _all(self) -> list[Running]:
        return [running for group in self._groups for running in group]

    def _log(self, child: Child) -> Path:
        return self._data / "logs" / f"{child.name}.log"

    def _spawn(self, running: Running) -> None:
        with folder.sentences(self._data):
            running.spawn()

    def _look(self, running: Running) -> None:
        """See whether a child of a first start answers by now, or never will."""
        # Before it is asked: what answers on its port after its death is somebody else.
        if running.died:
            raise self._failure(running, f"ended at its start ({_ending(running.bury())})")
        if not running.look() and running.age > running.child.patience:
            waited = f"did not answer in {running.child.patience:.0f} s"
            raise self._failure(running, f"{waited} ({running.silence})")

    def _tend(self, running: Running) -> bool:
        """Look after one child; returns whether its state changed."""
        if running.state == "waiting":
            if time.monotonic() < running.due:
                return False
            try:
                running.spawn()
                running.restarts += 1
            except OSError as error:
                # A full disk or too many processes: the same back-off as for a death.
                delay = running.postpone()
                self._say(f"{running.child.name} cannot start ({error}); again in {delay:g} s.")
            return True
        if running.died:
            code = running.bury()
            delay = running.postpone()
            self._say(
                f"{running.child.name} ended ({_ending(code)}); it starts again in {delay:g} s. "
                f"Its last lines ({running.log}):"
            )
            for line in running.tail() or ["(none)"]:
                self._say(f"  | {line}")
            return True
        return running.state == "starting" and running.look()

    def _failure(self, running: Running, what: str) -> AparellaError:
        lines = running.tail()
        if any("No space left on device" in line for line in lines):
            return folder.full(self._data)
        ends = ", its last lines:" if lines else "."
        error = ConfigurationError(f"{running.child.name} {what}. Its log is {running.log}{ends}")
        for line in lines:
            error.add_note(f"| {line}")
        return error

    def _save(self) -> None:
        pid, create_time = self._identity
        try:
            state.write(
                self._data,
                state.StackState(
                    pid=pid,
                    create_time=create_time,
                    phase=self._phase,
                    since=self._since,
                    addresses=self._addresses,
                    processes=tuple(running.snapshot() for running in self._all()),
                ),
            )
        except OSError as error:
            # A full disk must not end what still runs; left-overs are found by marker too.
            self._say(f"{self._data / state.STATE_FILE} could not be written: {error.strerror}.")


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"
