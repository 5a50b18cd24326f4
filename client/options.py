"""Options that several commands share, and how a file goes up with its progress shown."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from aparella.client import outcome, progress
from aparella.client.session import Session

File = Annotated[Path, typer.Argument(metavar="FILE", help="CSV, NDJSON or Parquet; gzip or not.")]
Delimiter = Annotated[
    str | None,
    typer.Option(
        "--delimiter",
        metavar="D",
        help="Of a CSV file; found out if not given.",
        callback=lambda given: "\t" if given in {"\\t", "tab"} else given,
    ),
]
Encoding = Annotated[
    str | None,
    typer.Option("--encoding", metavar="E", help="Of a CSV file; found out if not given."),
]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse the whole file if one row is bad.")]
Waiting = Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the job to its end.")]


@contextmanager
def uploading(session: Session, name: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show how far an upload is; who interrupts it is told that nothing came of it."""
    with (
        outcome.interruptible(session, "The upload was interrupted, nothing was imported"),
        progress.transfer(session.console, f"uploading {name}") as show,
    ):
        yield show
