"""Exit codes of the `aparella` command, and how its group turns errors into sentences."""

import sys
from collections.abc import Iterable
from enum import IntEnum
from typing import Any

import typer
from typer.core import TyperGroup

from aparella.client import units
from aparella.client.models import Job
from aparella.errors import AparellaError, ConflictError, InputError, NotFoundError


class ExitCode(IntEnum):
    """What scripts learn from the command; the meaning is part of the interface."""

    DONE = 0
    FAILED = 1
    REFUSED = 2
    WITH_ERRORS = 3
    CANCELLED = 4
    INTERRUPTED = 130


EPILOG = """Exit codes:
  0    done
  1    the job failed, or something here did (no server, a full disk)
  2    wrong usage or bad input; the server refused the request
  3    the job succeeded with errors: `aparella job errors ID` lists them
  4    the job was cancelled
  130  interrupted with Ctrl-C; a job that was waited for goes on"""

_OF_STATE = {
    "succeeded": ExitCode.DONE,
    "succeeded_with_errors": ExitCode.WITH_ERRORS,
    "failed": ExitCode.FAILED,
    "cancelled": ExitCode.CANCELLED,
}


def of_job(job: Job) -> ExitCode:
    """The exit code of a command that waited for the job."""
    return _OF_STATE.get(job.state, ExitCode.DONE)


def of_error(error: AparellaError) -> ExitCode:
    """The exit code of a command that the error ended."""
    refused = isinstance(error, InputError | NotFoundError | ConflictError)
    return ExitCode.REFUSED if refused else ExitCode.FAILED


def complain(sentence: str, notes: Iterable[str] = ()) -> None:
    """Say on standard error what is wrong, and below it what belongs to it."""
    # A problem with one field says the same as its only note.
    more = (note for note in notes if not note.endswith(sentence))
    lines = [f"aparella: {sentence}", *(f"  {note}" for note in more)]
    sys.stderr.write("".join(f"{units.printable(line)}\n" for line in lines))


class Sentences(TyperGroup):
    """A group of commands whose errors end in a sentence and an exit code, not in a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that `ctx` names."""
        try:
            return super().invoke(ctx)
        except AparellaError as error:
            complain(str(error), getattr(error, "__notes__", ()))
            raise typer.Exit(of_error(error)) from error
