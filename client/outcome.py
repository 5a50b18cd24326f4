"""Waiting for a job, and telling how it ended."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby, islice
from pathlib import Path

import typer

from aparella.client import exits, findings, output, progress, units
from aparella.client.client import Client
from aparella.client.models import Job, Match
from aparella.client.session import Session
from aparella.errors import ServiceUnavailableError

FIRST_ERRORS = 5
FIRST_SOURCES = 5

PAIR_COUNTS = (
    *("new", "changed", "unchanged", "duplicates", "refused"),
    *("rejected", "left_out", "repaired"),
)
IMPORT_COUNTS = ("new", "changed", "unchanged", "removed", "refused", "repaired")


def proceed(
    session: Session,
    client: Client,
    job: Job,
    *,
    wait: bool = False,
    out: Path | None = None,
    raw: bool = False,
) -> None:
    """Go on after a job was submitted: wait for it, or tell that it is on its way.

    Args:
        session: says where to print.
        client: of the job's server.
        job: as the server took it.
        wait: follow it to its end.
        out: file for its matches, which implies waiting.
        raw: as for `download`.

    Raises:
        typer.Exit: with the exit code of the job, if it was waited for and did not succeed.
    """
    if wait or out is not None:
        finish(session, client, job.id, out=out, raw=raw)
    elif session.json:
        output.write_json(job)
    else:
        session.say(
            f"Job {job.id} ({job.kind}) is {job.state}. "
            f"Follow it with `aparella job watch {job.id}`."
        )


def follow(session: Session, client: Client, job_id: int, *, events: bool = False) -> Job:
    """Show the job's progress until it ends.

    Args:
        session: says where to show it.
        client: of the job's server.
        job_id: of the job.
        events: print each change as a line of JSON instead, if the session is for a machine.
    """
    with interruptible(session, f"Job {job_id} goes on. Come back to it", f"job watch {job_id}"):
        try:
            if session.json and events:
                return client.wait(job_id, progress.JsonLines(_write))
            with progress.showing(session.console) as show:
                return client.wait(job_id, show)
        except ServiceUnavailableError as error:
            error.add_note(f"The job goes on as far as it can: `aparella job watch {job_id}`.")
            raise


@contextmanager
def interruptible(session: Session, sentence: str, command: str | None = None) -> Iterator[None]:
    """On Ctrl-C, say the sentence and what to type, and end with the exit code for it."""
    try:
        yield
    except KeyboardInterrupt:
        session.say(f"{sentence} with `aparella {command}`." if command else f"{sentence}.")
        raise typer.Exit(exits.ExitCode.INTERRUPTED) from None


def finish(
    session: Session,
    client: Client,
    job_id: int,
    *,
    out: Path | None = None,
    raw: bool = False,
    events: bool = False,
) -> None:
    """Follow the job to its end, tell how it went, write its matches, and exit with its code.

    Args:
        session: says where to print.
        client: of the job's server.
        job_id: of the job.
        out: file for the matches, if there shall be one.
        raw: as for `download`.
        events: as for `follow`; the last event is the result then.

    Raises:
        typer.Exit: with the exit code of the job, unless it succeeded.
    """
    job = follow(session, client, job_id, events=events)
    if session.json and not events:
        output.write_json(job)
    if job.state in {"failed", "cancelled"}:
        _lost(session, job)
    else:
        session.say(sentence(job))
        for line in (*_plan(job), *_drift(job), *findings.sentences(job)):
            session.say(line)
        _judgement(session, job)
    _errors(session, client, job)
    if job.kind == "match" and job.state in {"succeeded", "succeeded_with_errors"}:
        if out is not None:
            download(session, client, job.id, out, raw=raw)
        elif not session.json:
            _preview(session, client, job)
    if code := exits.of_job(job):
        raise typer.Exit(code)


def download(
    session: Session,
    client: Client,
    job_id: int,
    out: Path,
    *,
    language: str = "en",
    raw: bool = False,
) -> None:
    """Write the job's matches to the file, with a bar, and say so; see `Client.export`."""
    again = f"job matches {job_id} --out {out}" + (" --raw" if raw else "")
    again += f" --language {language}" if language != "en" else ""
    with (
        interruptible(session, f"{out} was not written. Get it", again),
        progress.transfer(session.console, f"writing {out.name}") as show,
    ):
        client.export(
            *(job_id, out),
            raw=raw,
            language=language,
            on_bytes=lambda received: show(received, None),
        )
    session.say(f"Wrote {out} ({units.size(out.stat().st_size)}).")


def first_sources(client: Client, job_id: int, number: int) -> list[Match]:
    """All candidates of the job's first source records."""
    records = groupby(client.matches(job_id, page=min(number, 100)), lambda m: m.source_key)
    return [match for _, group in islice(records, number) for match in group]


def sentence(job: Job) -> str:
    """What a job that went well has done, in one sentence."""
    summary, time = job.summary, units.took(job.started_at, job.finished_at)
    after = f" in {time}" if time else ""
    match job.kind:
        case "import":
            counts = ", ".join(
                f"{units.count(summary.get(name, 0))} {name}" for name in IMPORT_COUNTS
            )
            rows = units.plural(summary.get("rows", 0), "row")
            return f"Imported {output.what(job)}{after}: {rows}, {counts}."
        case "pairs":
            counts = ", ".join(
                f"{units.count(summary.get(name, 0))} {name.replace('_', ' ')}"
                for name in PAIR_COUNTS
            )
            rows = units.plural(summary.get("rows", 0), "row")
            return f"Imported {output.what(job)}{after}: {rows}, {counts}."
        case "decisions":
            names = ("new", "unchanged", "duplicates", "refused", "accepted", "rejected", "none")
            counts = ", ".join(f"{units.count(summary.get(name, 0))} {name}" for name in names)
            rows = units.plural(summary.get("rows", 0), "row")
            return f"Imported {output.what(job)}{after}: {rows}, {counts}."
        case "match":
            skipped = summary.get("skipped_embeddings", 0)
            known = f"; {units.plural(skipped, 'vector')} were there already" if skipped else ""
            return f"Matched {output.what(job)}{after}{known}."
        case "train" | "evaluate" | "promote":
            done = {"train": "Trained", "evaluate": "Judged", "promote": "Promoted"}[job.kind]
            promoted = "; it is the default now" if summary.get("promoted") else ""
            return f"{done} {output.what(job)}{after}{promoted}."
        case _:
            return f"Job {job.id} ({job.kind} {output.what(job)}) is done{after}."


def _plan(job: Job) -> Iterator[str]:
    """How a match job searched, and why."""
    plan = job.summary.get("plan")
    if not plan:
        return
    because = f": {plan['reason']}" if plan.get("reason") else ""
    yield f"Search: {plan.get('search')}{because}"
    if plan.get("scoring"):
        why = f": {plan['scoring_reason']}" if plan.get("scoring_reason") else ""
        yield f"Scoring: {plan['scoring']}{why}"
    if plan.get("recall") is not None:
        sample = units.count(plan.get("recall_sample") or 0)
        yield f"Recall against the exact search: {plan['recall']:.4f} on {sample} records"


def _drift(job: Job) -> Iterator[str]:
    """What is unusual about the lines of a match job, and what to do about it."""
    advice = job.summary.get("drift_advice")
    if isinstance(advice, Mapping):
        for side, words in advice.items():
            yield f"{str(side).capitalize()}: {words}"


def _judgement(session: Session, job: Job) -> None:
    """What a training or an evaluation found, and what the gate says to it."""
    rows = job.summary.get("evaluation")
    if isinstance(rows, list) and (found := [row for row in rows if isinstance(row, Mapping)]):
        session.console.print(output.evaluation(found))
    if gate := job.summary.get("gate"):
        session.say(f"Gate: {gate}")


def _lost(session: Session, job: Job) -> None:
    if job.state == "cancelled":
        session.say(
            f"Job {job.id} was cancelled. Start it again with `aparella job retry {job.id}`."
        )
        return
    exits.complain(f"job {job.id} failed: {job.error or 'it gives no reason'}")


def _errors(session: Session, client: Client, job: Job) -> None:
    if not job.errors:
        return
    if job.state == "succeeded_with_errors":
        session.say(f"Job {job.id} ended with {units.plural(job.errors, 'error')}:")
    for problem in islice(client.errors(job.id), FIRST_ERRORS):
        session.say(f"  {output.problem(problem)}")
    if job.errors > FIRST_ERRORS:
        rest = units.count(job.errors - FIRST_ERRORS)
        session.say(f"  … and {rest} more: `aparella job errors {job.id}` lists them all.")
    else:
        session.say(f"  `aparella job errors {job.id}` lists them again.")


def _preview(session: Session, client: Client, job: Job) -> None:
    candidates = first_sources(client, job.id, FIRST_SOURCES)
    if candidates:
        session.console.print(output.matches(c for c in candidates if c.rank in {1, None}))
    session.say(f"All candidates: `aparella job matches {job.id} --out matches.csv`")


def _write(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()
