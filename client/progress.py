"""How a job's progress is shown: bars on a terminal, lines elsewhere, JSON for machines."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column

from aparella.client import units
from aparella.client.models import Job, Stage
from aparella.client.output import as_json

LINE_SECONDS = 5.0
"""Pause between two lines about a stage that only went on."""


class Show(Protocol):
    """Takes the job each time it was looked at."""

    def __call__(self, job: Job) -> None:
        """Show what is new about the job."""


def is_terminal(console: Console) -> bool:
    """Whether bars can be drawn: colour settings do not make a terminal of a file."""
    return console.file.isatty() and os.environ.get("TERM", "") not in {"dumb", "unknown"}


@contextmanager
def showing(console: Console) -> Iterator[Show]:
    """Bars if the console is a terminal, lines otherwise."""
    if not is_terminal(console):
        yield Lines(console)
        return
    with Progress(
        TextColumn("{task.description}", markup=False, style="bold"),
        BarColumn(bar_width=min(24, console.width // 6)),
        TextColumn(
            "{task.fields[figures]}",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis"),
        ),
        console=console,
    ) as progress:
        yield Bars(progress)


class Bars:
    """One bar per stage, drawn by Rich."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, job: Job) -> None:
        """Show what is new about the job."""
        for stage in job.stages:
            if stage.name not in self._tasks:
                self._tasks[stage.name] = self._progress.add_task(
                    stage.name, total=None, start=False, figures=""
                )
            # A stage without a total is not planned yet; Rich pulses the bar of one that runs.
            total = stage.total or (1 if stage.state in {"done", "waiting"} else None)
            handled = total if stage.state == "done" else stage.handled
            task = self._tasks[stage.name]
            rests = job.state == "paused" and stage.state == "running"
            words = "paused" if rests else figures(stage)
            self._progress.update(task, total=total, completed=handled, figures=words, refresh=True)
            if stage.state == "running":
                self._progress.start_task(task)


class Lines:
    """Plain lines: each stage's begin and end, and every few seconds how far it is."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._seen: dict[str, Stage] = {}
        self._said = clock()
        self._rests = False

    def __call__(self, job: Job) -> None:
        """Show what is new about the job."""
        if (job.state == "paused") != self._rests:
            self._rests = not self._rests
            words = f"paused; `aparella job resume {job.id}`" if self._rests else "goes on"
            self._console.print(f"job {job.id}: {words}", soft_wrap=True)
        for stage in job.stages:
            before = self._seen.get(stage.name)
            if stage.state == "waiting" or not self._is_news(before, stage):
                continue
            self._seen[stage.name] = stage
            self._said = self._clock()
            line = f"job {job.id}: {stage.name}: {figures(stage)}"
            self._console.print(line, soft_wrap=True)

    def _is_news(self, before: Stage | None, stage: Stage) -> bool:
        if before is None or before.state != stage.state:
            return True
        return before.handled != stage.handled and self._clock() - self._said >= LINE_SECONDS


class JsonLines:
    """The job as one line of JSON whenever something about it is new."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._last = ""

    def __call__(self, job: Job) -> None:
        """Show what is new about the job."""
        line = json.dumps(as_json(job), ensure_ascii=False)
        if line != self._last:
            self._last = line
            self._write(line + "\n")


def figures(stage: Stage) -> str:
    """A stage in figures: `1,200 of 5,000, 162/s, about 23 s left`."""
    if stage.state == "waiting":
        return "waiting"
    return ", ".join(_running(stage) if stage.state == "running" else _ended(stage))


def _running(stage: Stage) -> Iterator[str]:
    if not stage.total:
        yield "starting"
        return
    yield _handled(stage)
    if stage.failed:
        yield f"{units.count(stage.failed)} failed"
    if stage.rate:
        yield units.rate(stage.rate)
    if stage.eta_seconds is not None:
        yield f"about {units.duration(stage.eta_seconds)} left"
    yield from _detail(stage.detail or {})


def _detail(detail: Mapping[str, Any]) -> Iterator[str]:
    """What a training says about itself."""
    if isinstance(part := detail.get("part"), str):
        yield part
    if isinstance(loss := detail.get("loss"), int | float):
        yield f"loss {loss:.4f}"
    if isinstance(pairs := detail.get("rate"), int | float):
        yield f"{units.rate(pairs)} pairs"


def _ended(stage: Stage) -> Iterator[str]:
    if stage.state != "done":
        yield f"{stage.state} at {_handled(stage)}" if stage.total else stage.state
    elif stage.total:
        yield f"{units.count(stage.done)} done"
    else:
        yield "nothing to do"
    if stage.failed:
        yield f"{units.count(stage.failed)} failed"
    if stage.skipped:
        yield f"{units.count(stage.skipped)} already there"
    if stage.finished_at and (took := units.took(stage.started_at, stage.finished_at)):
        yield took


def _handled(stage: Stage) -> str:
    return f"{units.count(stage.handled)} of {units.count(stage.total)}"


@contextmanager
def transfer(console: Console, name: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar for bytes on their way; nothing where there is no terminal.

    Yields:
        A function that takes the bytes so far and their total, None if that is unknown.
    """
    if not is_terminal(console):
        yield lambda _sent, _total: None
        return
    with Progress(
        TextColumn("{task.description}", markup=False, style="bold"),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task(name, total=None)
        yield lambda sent, total: progress.update(task, completed=sent, total=total)
