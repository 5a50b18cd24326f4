"""The `aparella` command: everything it does goes over HTTP, like any other client."""

import os
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from aparella import __version__
from aparella.client import (
    datafolder,
    decision_commands,
    job_commands,
    model_commands,
    operator_commands,
    outcome,
    outfile,
    output,
    pair_commands,
    report_commands,
    review_commands,
    stack,
    token_commands,
    units,
)
from aparella.client.exits import EPILOG, Sentences
from aparella.client.models import Collection
from aparella.client.options import Delimiter, Encoding, File, Strict, Waiting, uploading
from aparella.client.session import DATA_HELP, JSON_HELP, URL_HELP, Raw, Session, with_session

app = typer.Typer(
    cls=Sentences,
    epilog=EPILOG,
    no_args_is_help=True,
    # A traceback, if there is one, is a bug of ours; it must not print tokens among its locals.
    pretty_exceptions_enable=False,
)
app.add_typer(job_commands.app, name="job")
app.add_typer(model_commands.app, name="model")
app.command()(model_commands.train)
app.add_typer(pair_commands.app, name="pairs")
app.add_typer(decision_commands.app, name="decisions")
app.command()(review_commands.review)
app.add_typer(report_commands.app, name="report")
app.add_typer(operator_commands.worker_app, name="worker", rich_help_panel="Operation")
app.add_typer(operator_commands.queue_app, name="queue", rich_help_panel="Operation")
for operation in (operator_commands.workers, operator_commands.queues, operator_commands.doctor):
    app.command(rich_help_panel="Operation")(operation)
app.add_typer(token_commands.app, name="token")
for local in (stack.up, stack.down, stack.status, stack.demo):
    app.command(rich_help_panel="Local stack")(local)

ModelName = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME[@VERSION]", help="Model; the server's default if none."),
]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"aparella {__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    url: Annotated[
        str | None,
        typer.Option("--url", envvar="APARELLA_URL", metavar="URL", help=URL_HELP),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            envvar=datafolder.VARIABLE,
            metavar="DIR",
            readable=False,  # what is wrong with a folder is said by who opens it, in full
            help=DATA_HELP,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Pair short item descriptions with a long official catalogue, in batches.

    A server's token is read from the variable APARELLA_TOKEN; that of a local stack is found.
    """
    if data is not None:
        # The commands of the local stack, and the processes they start, read it from there.
        os.environ[datafolder.VARIABLE] = str(data)
    ctx.obj = Session(url or None, data, json)


@app.command("import")
@with_session
def import_(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The collection to fill.")],
    file: File,
    key: Annotated[str, typer.Option(metavar="COL", help="Column that tells the records apart.")],
    text: Annotated[list[str], typer.Option(metavar="COL", help="Column of text; repeatable.")],
    attribute: Annotated[
        list[str] | None, typer.Option(metavar="COL", help="Column to keep besides; repeatable.")
    ] = None,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
    strict: Strict = False,
    merge: Annotated[
        bool, typer.Option("--merge", help="Keep records that the file does not have.")
    ] = False,
    wait: Waiting = True,
) -> None:
    """Fill a collection from a file; importing again counts what is new, changed and gone."""
    with session.connect() as client:
        with uploading(session, file.name) as show:
            job = client.import_file(
                name,
                file,
                key=key,
                text=text,
                attributes=attribute or (),
                delimiter=delimiter,
                encoding=encoding,
                strict=strict,
                merge=merge,
                on_bytes=show,
            )
        outcome.proceed(session, client, job, wait=wait)


@app.command()
@with_session
def match(
    session: Session,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Collection to match.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Catalogue to match with.")],
    model: ModelName = None,
    k: Annotated[int, typer.Option("-k", metavar="K", help="Candidates per source record.")] = 10,
    wait: Waiting = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Wait, then write all to a .csv, .ndjson or .parquet file."
        ),
    ] = None,
    scoring: Annotated[
        str, typer.Option(metavar="fused|cosine", help="All evidence, or the vectors alone.")
    ] = "fused",
    auto_accept: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Accept unseen where so many are right, such as 0.95."),
    ] = None,
    since: Annotated[
        int | None,
        typer.Option(metavar="JOB", min=1, help="Take over this job's answers that still hold."),
    ] = None,
    one_to_one: Annotated[
        bool, typer.Option("--one-to-one", help="Each target record for one source at most.")
    ] = False,
    raw: Raw = False,
    idempotency_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="The same key and request give the same job."),
    ] = None,
) -> None:
    """Find the best records of a catalogue for each record of a collection."""
    if out is not None:
        outfile.check(out)
    with session.connect() as client:
        job = client.match(
            *(source, target),
            model=model,
            k=k,
            scoring=scoring,
            auto_accept=auto_accept,
            since=since,
            one_to_one=one_to_one,
            idempotency_key=idempotency_key,
        )
        promised = job.params.get("auto_accept")
        if isinstance(promised, dict):
            session.say(promised["sentence"])
        outcome.proceed(session, client, job, wait=wait, out=out, raw=raw)


@app.command()
@with_session
def embed(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The collection.")],
    model: ModelName = None,
    wait: Waiting = False,
) -> None:
    """Compute the vectors that a collection lacks; matching does it by itself."""
    with session.connect() as client:
        outcome.proceed(session, client, client.embed(name, model=model), wait=wait)


@app.command()
@with_session
def index(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The collection.")],
    model: ModelName = None,
    wait: Waiting = False,
) -> None:
    """Build a collection's vector index; matching does it by itself where it pays."""
    with session.connect() as client:
        outcome.proceed(session, client, client.index(name, model=model), wait=wait)


@app.command()
@with_session
def jobs(
    session: Session,
    state: Annotated[str | None, typer.Option(metavar="S", help="Only jobs in this state.")] = None,
    kind: Annotated[str | None, typer.Option(metavar="K", help="Only jobs of this kind.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.")] = 20,
) -> None:
    """List the jobs, newest first."""
    with session.connect() as client:
        session.list(islice(client.jobs(state=state, kind=kind), limit), output.jobs)


@app.command()
@with_session
def collections(session: Session) -> None:
    """List the collections."""

    def show(items: list[Collection]) -> object:
        rows = (
            (c.name, units.count(c.records), c.edition, units.clock(c.updated_at)) for c in items
        )
        return output.table(
            ("name", "records", "edition", "updated"), rows, right="records edition", fluid="name"
        )

    with session.connect() as client:
        session.list(client.collections(), show)


@app.command()
@with_session
def models(session: Session) -> None:
    """List the models; a star marks the promoted one."""
    with session.connect() as client:
        session.list(client.models(), model_commands.table)


def main() -> None:
    """Run the command; the console script `aparella`."""
    app(prog_name="aparella")
