"""`aparella job …`: one job looked at, followed, ended, taken up again, and its results."""

from pathlib import Path
from typing import Annotated

import typer

from aparella.client import findings, outcome, outfile, output, units
from aparella.client.models import Job
from aparella.client.session import Raw, Session, with_session

app = typer.Typer(no_args_is_help=True, help="Look at one job, or act on it.")

JobId = Annotated[int, typer.Argument(metavar="ID", min=1, help="The job's number.")]


@app.command()
@with_session
def show(session: Session, job_id: JobId) -> None:
    """Show a job and its stages."""
    with session.connect() as client:
        job = client.job(job_id)
    if session.json:
        output.write_json(job)
        return
    for name, value in _facts(job).items():
        if value:
            session.say(f"{name:9} {value}")
    for sentence in findings.sentences(job):
        session.say(sentence)
    if job.stages:
        session.console.print()
        session.console.print(output.stages(job))


@app.command()
@with_session
def watch(session: Session, job_id: JobId) -> None:
    """Follow a job to its end; with --json, one line whenever something is new."""
    with session.connect() as client:
        outcome.finish(session, client, job_id, events=True)


@app.command()
@with_session
def cancel(session: Session, job_id: JobId) -> None:
    """End a job; what it has done so far is kept."""
    with session.connect() as client:
        job = client.cancel(job_id)
    if session.json:
        output.write_json(job)
    else:
        session.say(f"Job {job.id} is {job.state}.")


@app.command()
@with_session
def retry(session: Session, job_id: JobId) -> None:
    """Take up again what a job has given up."""
    with session.connect() as client:
        outcome.proceed(session, client, client.retry(job_id))


@app.command()
@with_session
def pause(session: Session, job_id: JobId) -> None:
    """Let a job rest: chunks in hand finish, no other is begun."""
    with session.connect() as client:
        job = client.pause(job_id)
    if session.json:
        output.write_json(job)
    else:
        session.say(f"Job {job.id} is paused. Go on with `aparella job resume {job.id}`.")


@app.command()
@with_session
def resume(session: Session, job_id: JobId) -> None:
    """Let a paused job go on."""
    with session.connect() as client:
        outcome.proceed(session, client, client.resume(job_id))


@app.command()
@with_session
def errors(session: Session, job_id: JobId) -> None:
    """List what a job could not handle, row by row."""
    none = True
    with session.connect() as client:
        for problem in client.errors(job_id):
            none = False
            if session.json:
                output.write_json(problem)
            else:
                session.say(output.problem(problem))
    if none:
        session.say(f"Job {job_id} has no errors.")


@app.command()
@with_session
def matches(
    session: Session,
    job_id: JobId,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write all to a .csv, .ndjson or .parquet file."),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, help="Source records to print.")
    ] = 10,
    language: Annotated[
        str, typer.Option(metavar="ca|es|en", help="Of the file's column why.")
    ] = "en",
    raw: Raw = False,
) -> None:
    """Print a match job's first candidates, or write all of them to a file."""
    if out is not None:
        outfile.check(out)
    with session.connect() as client:
        if out is not None:
            outcome.download(session, client, job_id, out, language=language, raw=raw)
            return
        session.list(outcome.first_sources(client, job_id, limit), output.matches)


def _facts(job: Job) -> dict[str, str]:
    share = output.share_done(job)
    return {
        "job": str(job.id),
        "kind": job.kind,
        "what": output.what(job),
        "state": job.state,
        "model": job.model or "",
        "done": "" if share is None else f"{share} %",
        "rate": units.rate(job.rate),
        "left": "" if job.eta_seconds is None else f"about {units.duration(job.eta_seconds)}",
        "created": units.clock(job.created_at),
        "started": units.clock(job.started_at),
        "finished": units.clock(job.finished_at),
        "took": units.took(job.started_at, job.finished_at),
        "errors": units.count(job.errors) if job.errors else "",
        "error": job.error or "",
        "summary": ", ".join(
            f"{name} {value}"
            for name, value in job.summary.items()
            if not isinstance(value, dict | list)
        ),
        **{
            name: ", ".join(f"{key} {value}" for key, value in values.items())
            for name, values in job.summary.items()
            if isinstance(values, dict) and name not in findings.SAID
        },
    }
