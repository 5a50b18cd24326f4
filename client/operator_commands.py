"""`aparella workers`, `queues`, `doctor`, `worker …`, `queue …`: for who looks after a server."""

from typing import Annotated

import typer
from rich.table import Table

from aparella.client import output, units
from aparella.client.exits import ExitCode
from aparella.client.operator_models import Finding, Queue, Worker
from aparella.client.session import Session, with_session

worker_app = typer.Typer(no_args_is_help=True, help="Let one worker finish, or go on.")
queue_app = typer.Typer(no_args_is_help=True, help="Let a queue rest, or go on.")

WorkerName = Annotated[
    str, typer.Argument(metavar="NAME", help="As `aparella workers` lists it, or its host.")
]
QueueName = Annotated[str, typer.Argument(metavar="NAME", help="import, embed, match or train.")]

SIGNS = {"ok": "ok", "warning": "WARN", "failed": "FAIL"}


@with_session
def workers(session: Session) -> None:
    """List who works: where, on which queues, how fast, and since when."""
    with session.connect() as client:
        session.list(client.workers(), _workers)


@with_session
def queues(session: Session) -> None:
    """List the queues: what waits, what is in work, and who takes from them."""
    with session.connect() as client:
        session.list(client.queues(), _queues)


@with_session
def doctor(session: Session) -> None:
    """Look at all that may have to be mended; exit code 1 if something fails."""
    with session.connect() as client:
        found = client.doctor()
    for finding in found:
        if session.json:
            output.write_json(finding)
        else:
            session.say(_line(finding))
            if finding.advice:
                session.say(f"      → {finding.advice}")
    if any(finding.status == "failed" for finding in found):
        raise typer.Exit(ExitCode.FAILED)


@worker_app.command()
@with_session
def drain(session: Session, name: WorkerName) -> None:
    """Let a worker finish what it has in hand and take no more; it runs on, idle."""
    with session.connect() as client:
        found = client.drain(name)
    if session.json:
        session.list(found, _workers)
    for worker in found:
        session.say(
            f"{worker.name} finishes {units.plural(worker.busy, 'chunk')} and takes no more. "
            f"It can be stopped when `aparella workers` shows it as drained; "
            f"`aparella worker resume {worker.name}` takes it back."
        )


@worker_app.command()
@with_session
def resume(session: Session, name: WorkerName) -> None:
    """Let a drained worker take chunks again."""
    with session.connect() as client:
        found = client.undrain(name)
    if session.json:
        session.list(found, _workers)
    for worker in found:
        session.say(f"{worker.name} takes chunks again.")


@queue_app.command("pause")
@with_session
def pause_queue(session: Session, name: QueueName) -> None:
    """Let a queue rest: chunks in hand finish, no other is begun."""
    with session.connect() as client:
        queue = client.pause_queue(name)
    if session.json:
        output.write_json(queue)
    else:
        session.say(
            f"The queue {queue.name} is paused, {units.plural(queue.leased, 'chunk')} in hand "
            f"will finish. Let it go on with `aparella queue resume {queue.name}`."
        )


@queue_app.command("resume")
@with_session
def resume_queue(session: Session, name: QueueName) -> None:
    """Let a paused queue go on."""
    with session.connect() as client:
        queue = client.resume_queue(name)
    if session.json:
        output.write_json(queue)
    else:
        session.say(f"The queue {queue.name} goes on.")


def _workers(items: list[Worker]) -> Table:
    rows = (
        (
            worker.name,
            worker.state,
            ",".join(worker.queues) or worker.kind,
            worker.processes,
            worker.busy,
            ", ".join(f"{kind} {units.rate(rate)}" for kind, rate in worker.rates.items()),
            units.size(worker.memory_bytes),
            units.clock(worker.started_at),
            units.clock(worker.seen_at),
            worker.pid,
            worker.version,
        )
        for worker in items
    )
    columns = (
        *("name", "state", "queues", "processes", "busy", "rate"),
        *("memory", "since", "seen", "pid", "version"),
    )
    return output.table(columns, rows, right="processes busy memory pid", fluid="name rate seen")


def _queues(items: list[Queue]) -> Table:
    rows = (
        (
            queue.name,
            queue.state,
            units.count(queue.waiting),
            "" if queue.oldest_seconds is None else units.duration(queue.oldest_seconds),
            units.count(queue.leased),
            units.count(queue.paused) if queue.paused else "",
            queue.workers,
        )
        for queue in items
    )
    columns = ("queue", "state", "waiting", "oldest", "in work", "paused", "workers")
    right = ("waiting", "oldest", "in work", "paused", "workers")
    return output.table(columns, rows, right=right)


def _line(finding: Finding) -> str:
    sign = SIGNS.get(finding.status, finding.status)
    return f"{sign:4}  {finding.check}: {finding.finding}"
