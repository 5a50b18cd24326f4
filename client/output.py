"""What the command prints: tables and sentences for people, JSON for machines."""

import dataclasses
import json
import sys
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aparella.client import units
from aparella.client.models import Job, JobProblem, Match

PLAIN_WIDTH = 1_000
"""Columns of a console that is no terminal, so that nothing is cut off for grep or a log."""
TEXT_WIDTH = 60


def console(*, stderr: bool = False) -> Console:
    """A console that prints data as it is, with no markup, emoji codes or colouring of numbers."""
    file = sys.stderr if stderr else sys.stdout
    return Console(
        file=file,
        markup=False,
        emoji=False,
        highlight=False,
        width=None if file.isatty() else PLAIN_WIDTH,
    )


def as_json(value: Any) -> Any:
    """A dataclass, or what is inside one, as JSON knows it: times in ISO 8601."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: as_json(getattr(value, name)) for name in names}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {name: as_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    return value


def write_json(value: Any) -> None:
    """One line of JSON on standard output."""
    sys.stdout.write(json.dumps(as_json(value), ensure_ascii=False) + "\n")
    sys.stdout.flush()


def table(
    columns: Iterable[str],
    rows: Iterable[Iterable[object]],
    right: str | Collection[str] = "",
    *,
    fluid: str | Collection[str] = "",
) -> Table:
    """A table of plain cells, one line a row.

    Args:
        columns: their headings.
        rows: their cells; None is an empty one.
        right: headings of the columns of figures; a text has them parted by spaces.
        fluid: headings, in the same way, of the columns that a narrow terminal cuts first.
    """
    result = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    names = list(columns)
    right = right.split() if isinstance(right, str) else right
    fluid = fluid.split() if isinstance(fluid, str) else fluid
    for name in names:
        result.add_column(
            name,
            justify="right" if name in right else "left",
            overflow="ellipsis",
            # Rich narrows columns that may wrap first; the cells themselves never do.
            no_wrap=name not in fluid,
        )
    for row in rows:
        cells = ("" if cell is None else units.printable(str(cell)) for cell in row)
        result.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in cells))
    return result


def jobs(items: Iterable[Job]) -> Table:
    """The jobs, one a line."""
    rows = (
        (
            job.id,
            job.kind,
            job.state,
            what(job),
            "" if (share := share_done(job)) is None else f"{share} %",
            units.clock(job.started_at),
            units.took(job.started_at, job.finished_at),
        )
        for job in items
    )
    columns = ("id", "kind", "state", "what", "done", "started", "took")
    return table(columns, rows, right="id done took", fluid="what")


def stages(job: Job) -> Table:
    """The job's stages, one a line."""
    rows = (
        (
            stage.name,
            stage.state,
            units.count(stage.total),
            units.count(stage.done),
            units.count(stage.failed),
            units.count(stage.skipped),
            units.rate(stage.rate),
            units.took(stage.started_at, stage.finished_at),
        )
        for stage in job.stages
    )
    columns = ("stage", "state", "total", "done", "failed", "skipped", "rate", "took")
    return table(columns, rows, right="total done failed skipped rate took", fluid="stage")


def matches(items: Iterable[Match]) -> Table:
    """Candidates, one a line; a source record's text stands at its first one only."""
    candidates = list(items)
    columns = ["source", "description", "rank", "target", "text", "score"]
    rows: list[list[object]] = [
        [
            match.source_key,
            _short(match.source_text) if match.rank in {1, None} else None,
            match.rank,
            match.target_key,
            None if match.target_text is None else _short(match.target_text),
            None if match.score is None else f"{match.score:.3f}",
        ]
        for match in candidates
    ]
    if any(match.confidence is not None for match in candidates):
        columns.append("confidence")
        for row, match in zip(rows, candidates, strict=True):
            row.append(None if match.confidence is None else f"{match.confidence:.2f}")
    return table(columns, rows, right="rank score confidence", fluid="description text")


def evaluation(rows: Iterable[Mapping[str, Any]]) -> Table:
    """How systems did on the same queries, one a line, with the interval of acc@1."""

    def figure(row: Mapping[str, Any], name: str) -> str:
        value = row.get(name)
        return f"{value:.3f}" if isinstance(value, int | float) else ""

    names = ("acc@1", "low", "high", "mrr@10")
    cells = ([row.get("system"), *(figure(row, name) for name in names)] for row in rows)
    return table(("system", *names), cells, right=" ".join(names), fluid="system")


def problem(item: JobProblem) -> str:
    """`row 57, field 'name': the text is empty`."""
    parts = []
    if item.row is not None:
        parts.append(f"row {item.row}")
    elif item.key is not None:
        parts.append(f"key {item.key!r}")
    elif item.stage is not None:
        parts.append(f"stage {item.stage!r}")
    if item.field is not None:
        parts.append(f"field {item.field!r}")
    return f"{', '.join(parts)}: {item.message}" if parts else item.message


def what(job: Job) -> str:
    """What the job works on: `buyers → catalogue`, `lines.csv → buyers` or `catalogue`."""
    values = {**job.params, **job.summary}
    if job.kind in {"train", "evaluate", "promote"}:
        return str(job.model or values.get("name") or values.get("model") or "")
    if job.kind == "pairs":
        names = (values.get("file") or values.get("filename"), values.get("pairs"))
        return " → ".join(str(name) for name in names if name)
    if job.kind == "decisions":
        names = (values.get("file") or values.get("filename"), values.get("target"))
        return " → ".join(str(name) for name in names if name)
    source = values.get("source") if job.kind == "match" else values.get("file")
    target = values.get("target") if job.kind == "match" else values.get("collection")
    source = source or (values.get("filename") if job.kind == "import" else None)
    return " → ".join(str(name) for name in (source, target) if name)


def share_done(job: Job) -> int | None:
    """The job's progress in percent, None before it has begun.

    Each stage counts alike: one counts texts and another one steps that take seconds each, and how
    much the later ones find to do shows when they start.
    """
    if job.state in {"succeeded", "succeeded_with_errors"}:
        return 100
    if all(stage.state == "waiting" for stage in job.stages):
        return None
    shares = (
        1.0 if stage.state in {"done", "skipped"} else stage.handled / max(stage.total, 1)
        for stage in job.stages
    )
    return min(99, int(100 * sum(shares) / len(job.stages)))


def _short(text: str) -> str:
    return text if len(text) <= TEXT_WIDTH else text[: TEXT_WIDTH - 1] + "…"
