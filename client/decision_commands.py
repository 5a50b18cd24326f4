"""`aparella decisions …`: what people decided, imported, listed, exported, taken back."""

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from aparella.client import outcome, outfile, output, units
from aparella.client.options import File, Strict, Waiting, uploading
from aparella.client.review_commands import By, who
from aparella.client.review_models import Decision
from aparella.client.session import Session, with_session

app = typer.Typer(no_args_is_help=True, help="What people decided about matches.")

FORMATS = {".csv": "csv", ".ndjson": "ndjson"}
COLUMNS = ("source_key", "target_key", "verdict", "reviewer", "note", "decided_at")

Source = Annotated[
    str | None, typer.Option(metavar="S", help="Only about records of this collection.")
]
Target = Annotated[str | None, typer.Option(metavar="T", help="Only about this catalogue.")]
OnlyBy = Annotated[str | None, typer.Option("--by", metavar="NAME", help="Only this person's.")]


@app.command("import")
@with_session
def import_(
    session: Session,
    file: File,
    source: Annotated[str, typer.Option(metavar="S", help="Collection that was matched.")],
    target: Annotated[str, typer.Option(metavar="T", help="Catalogue that it was matched with.")],
    by: By = None,
    strict: Strict = False,
    wait: Waiting = True,
) -> None:
    """Add decisions from a file: source_key, target_key, verdict, and reviewer and note if any.

    The verdict is accept, reject, or none (no counterpart in the catalogue; no target_key).
    """
    with session.connect() as client:
        with uploading(session, file.name) as show:
            job = client.import_decisions(
                file, source=source, target=target, by=who(by), strict=strict, on_bytes=show
            )
        outcome.proceed(session, client, job, wait=wait)


@app.command("list")
@with_session
def list_(
    session: Session, source: Source = None, target: Target = None, by: OnlyBy = None
) -> None:
    """List all decisions, also those that were undone or followed by others."""

    def as_table(items: list[Decision]) -> object:
        columns = ("id", "source", "target", "verdict", "by", "at", "in force", "note")
        rows = (
            (
                one.id,
                one.source_key,
                one.target_key,
                one.verdict if one.undoes_id is None else f"undo {one.undoes_id}",
                one.decided_by,
                units.clock(one.decided_at),
                _force(one),
                one.note,
            )
            for one in items
        )
        return output.table(columns, rows, right="id", fluid="source target note")

    with session.connect() as client:
        session.list(client.decisions(source=source, target=target, by=by), as_table)


@app.command()
@with_session
def export(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .csv or .ndjson file.")],
    source: Source = None,
    target: Target = None,
    by: OnlyBy = None,
) -> None:
    """Write the decisions in force to a file, which `decisions import` takes again."""
    outfile.check(file, FORMATS)
    with session.connect() as client, outfile.replacing(file, FORMATS) as out:
        found = client.decisions(source=source, target=target, by=by, in_force=True)
        rows = _write(out, FORMATS[file.suffix.lower()], found)
    session.say(f"Wrote {file}: {units.plural(rows, 'decision')}.")


@app.command()
@with_session
def undo(
    session: Session,
    numbers: Annotated[list[int], typer.Argument(metavar="ID…", min=1, help="Their numbers.")],
    source: Annotated[str, typer.Option(metavar="S", help="Collection that was matched.")],
    target: Annotated[str, typer.Option(metavar="T", help="Catalogue that it was matched with.")],
    by: By = None,
    note: Annotated[str | None, typer.Option(metavar="TEXT", help="Why.")] = None,
) -> None:
    """Take decisions back; they stay in the list, and what held before them holds again."""
    undone = [{"verdict": "undo", "decision": number, "note": note} for number in numbers]
    with session.connect() as client:
        client.decide(source, target, undone, by=who(by))
    session.say(f"Undone: {units.plural(len(numbers), 'decision')}.")


def _write(out: BinaryIO, form: str, found: Iterable[Decision]) -> int:
    """Write decisions as a file, line by line; returns how many."""
    buffer = io.StringIO()
    lines = csv.writer(buffer, lineterminator="\n")
    if form == "csv":
        lines.writerow(COLUMNS)
    rows = 0
    for one in found:
        rows += 1
        moment = None if one.decided_at is None else one.decided_at.isoformat()
        cells = (one.source_key, one.target_key, one.verdict, one.decided_by, one.note, moment)
        if form == "csv":
            lines.writerow(cells)
        else:
            document = dict(zip(COLUMNS, cells, strict=True))
            buffer.write(json.dumps(document, ensure_ascii=False) + "\n")
        out.write(buffer.getvalue().encode())
        buffer.seek(0)
        buffer.truncate()
    out.write(buffer.getvalue().encode())  # the header of a file without rows
    return rows


def _force(one: Decision) -> str:
    if not one.in_force:
        return ""
    return "yes" if one.texts_unchanged else "text changed"
