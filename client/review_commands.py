"""`aparella review …`: the lines of a match job looked at, one after the other."""

import getpass
import sys
from typing import Annotated

import typer

from aparella.client import exits, output, progress, review_screen, review_session, units
from aparella.client.review_session import Sitting
from aparella.client.session import Session, with_session
from aparella.errors import InputError

By = Annotated[
    str | None, typer.Option("--by", metavar="NAME", help="Who decides; the user unless given.")
]


def who(name: str | None) -> str:
    """The name that decisions are kept under.

    Raises:
        InputError: none is given, and the user has none.
    """
    try:
        found = (name or getpass.getuser()).strip()
    except (KeyError, OSError):  # a user without a name, as in some containers
        found = ""
    if not found:
        raise InputError("Say who decides: give --by NAME.", field="by")
    return found


@with_session
def review(
    session: Session,
    job_id: Annotated[int, typer.Argument(metavar="JOB", min=1, help="A match job's number.")],
    by: By = None,
    order: Annotated[
        str,
        typer.Option(metavar="O", help="uncertain, listed, or value:ATTR (largest number first)."),
    ] = "uncertain",
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="Lines to look at, at most.")
    ] = None,
    status: Annotated[
        bool, typer.Option("--status", help="Say how far it is and how far people agree, only.")
    ] = False,
) -> None:
    """Look at a match job's lines and say which candidate is right.

    A number accepts that candidate, n says that the catalogue has no counterpart, r rejects all
    that are shown, /text searches the catalogue, s skips, u undoes, q quits. Words after a number,
    n or r are kept as a note. Each answer is stored at once: quit whenever you like, and go on
    later. Several people may review a job at the same time.
    """
    with session.connect() as client:
        if status:
            found = client.review(job_id)
            if session.json:
                output.write_json(found)
                return
            for part in review_screen.review(found):
                session.console.print(part)
            return
        console = session.console
        prompt = sys.stdin.isatty() and progress.is_terminal(console)
        sitting = Sitting(
            client,
            job_id,
            who(by),
            order,
            console,
            review_session.answers(console, prompt=prompt),
            output.write_json if session.json else None,
        )
        try:
            finished = sitting.run(limit)
        except KeyboardInterrupt:
            console.print()
            session.say(f"{_tally(sitting)} Go on with `aparella review {job_id}`.")
            raise typer.Exit(exits.ExitCode.INTERRUPTED) from None
    more = "No line is open." if finished else f"Go on with `aparella review {job_id}`."
    session.say(f"{_tally(sitting)} {more}")


def _tally(sitting: Sitting) -> str:
    skipped = f", {units.count(sitting.skipped)} skipped" if sitting.skipped else ""
    return f"{units.plural(sitting.decided, 'line')} decided{skipped}; all is stored."
