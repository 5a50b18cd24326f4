"""`aparella report …`: logins for report writers, psql, and single queries.

Beside `stack`, the only module of the client that reaches for the server's code, and only inside
its commands: reports are read from the database itself.
"""

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from aparella.client import answers, outfile, output, units
from aparella.client.exits import Sentences
from aparella.client.session import Raw, Session, with_session
from aparella.client.stack import installed
from aparella.errors import ServiceUnavailableError

app = typer.Typer(
    cls=Sentences,
    no_args_is_help=True,
    help="Read the database in SQL; docs/reports.md tells what there is.",
)
role = typer.Typer(cls=Sentences, no_args_is_help=True, help="Logins of report writers.")
app.add_typer(role, name="role")

SHOWN = 200
"""Rows on a screen; `--out` has no limit."""

Name = Annotated[str, typer.Argument(metavar="NAME", help="The login's name.")]


@role.command()
@with_session
def create(session: Session, name: Name) -> None:
    """Create a login that may read schema report and nothing else; prints its URL, once.

    It needs DATABASE_URL of a user who may create roles, or a running local stack.
    """
    with installed():
        from aparella.deploy import reports
    url = reports.create_login(reports.database_url(session.data), name)
    if session.json:
        output.write_json({"name": name, "url": url})
        return
    session.say(url)
    session.say("The password is shown this once. `aparella report` uses the URL if it is in")
    session.say(f"{reports.URL}; psql, Metabase, Superset and ODBC take it as it is.")


@role.command()
@with_session
def drop(session: Session, name: Name) -> None:
    """Drop a login that was created here."""
    with installed():
        from aparella.deploy import reports
    reports.drop_login(reports.database_url(session.data), name)
    session.say(f"The login {name} is gone.")


@app.command()
@with_session
def sql(session: Session) -> None:
    """Open psql as a report writer: APARELLA_REPORT_URL, or else in the role of one."""
    with installed():
        from aparella.deploy import reports
    command, variables = reports.psql(reports.source(session.data))
    try:
        # psql takes this process's place: its terminal, its signals, its exit code.
        os.execve(command[0], command, {**os.environ, **variables})  # noqa: S606 - a path of ours
    except OSError as error:
        raise ServiceUnavailableError(f"{command[0]} does not start: {error}") from error


@app.command()
@with_session
def query(
    session: Session,
    text: Annotated[str, typer.Argument(metavar="SQL", help="One query.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all to a .csv or .parquet file.")
    ] = None,
    raw: Raw = False,
) -> None:
    """Run one query as a report writer, who cannot write, and print its table."""
    if out is not None:
        answers.check(out)
    with installed():
        from aparella.deploy import reports
    with reports.answer(reports.source(session.data), text) as answer:
        if out is not None:
            with outfile.replacing(out, answers.FORMATS) as file:
                rows = answers.write(file, out, answer.columns, answer.blocks, raw=raw)
            session.say(f"{units.count(rows)} rows in {out}.")
            return
        rows_of = (row for block in answer.blocks for row in block)
        if session.json:
            for row in rows_of:
                values = map(answers.plain, row)
                output.write_json(dict(zip((c.name for c in answer.columns), values, strict=True)))
            return
        _show(session, answer.columns, rows_of)


def _show(
    session: Session, columns: Sequence[answers.Column], rows: Iterator[tuple[Any, ...]]
) -> None:
    shown = list(islice(rows, SHOWN + 1))
    table = output.table(
        [column.name for column in columns],
        ([answers.cell(value) for value in row] for row in shown[:SHOWN]),
        right={column.name for column in columns if column.kind in {"integer", "number"}},
        fluid={column.name for column in columns if column.kind == "text"},
    )
    session.console.print(table)
    if len(shown) > SHOWN:
        session.say(f"… the first {SHOWN} rows; --out FILE.csv writes all.")
