"""The commands of the local stack, and how the rest of the client finds it.

The only module of the client that reaches for the server's code, and only inside its commands: the
client alone installs and starts without it.
"""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from aparella.client import datafolder
from aparella.errors import ConfigurationError

Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        # What is wrong with a folder is said by who opens it, in full.
        readable=False,
        help=f"Folder of the local stack; {datafolder.VARIABLE} or the user's own unless given.",
    ),
]


def find_stack(data: Path | None = None) -> tuple[str, str] | None:
    """The API's URL and token of the local stack, if one runs in the data folder.

    Args:
        data: the folder; `APARELLA_DATA` or the user's own if None.

    Raises:
        ConfigurationError: the folder is of another version or belongs to somebody else.
    """
    folder = datafolder.locate(data)
    content = datafolder.read(folder)
    if content is None or not datafolder.running(folder):
        return None
    return str(content["url"]), str(content["token"])


def up(
    workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="N", min=1, help="Worker processes; one per core."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", metavar="P", min=1, max=65535, help="Port of the API; kept from then on."
        ),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return when everything answers; stop with `down`.")
    ] = False,
    data: Data = None,
) -> None:
    """Run database, broker, API and workers on this machine.

    DATABASE_URL and REDIS_URL, where set, are used instead of servers of its own.
    """
    with installed():
        from aparella.deploy import control, local
    options = local.Options(datafolder.locate(data), workers, port)
    if detach:
        control.detach(options, say)
    else:
        local.up(options, say)


def down(data: Data = None) -> None:
    """Stop the local stack, wherever it was started; its data stays."""
    with installed():
        from aparella.deploy import control
    control.down(datafolder.locate(data), say)


def status(
    ctx: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    data: Data = None,
) -> None:
    """Show what runs in the local stack; exit code 1 if nothing does."""
    with installed():
        from aparella.deploy import control
    from aparella.client import output

    found = control.status(datafolder.locate(data))
    if json or getattr(ctx.obj, "json", False):
        output.write_json(found)
    else:
        if found.running:
            say(f"{found.phase} since {found.since} (pid {found.pid}) in {found.data}")
        elif found.processes:
            say(f"abandoned in {found.data}: the supervisor was killed. Run `aparella up` or")
            say("`aparella down` to stop what it left behind:")
        else:
            say(f"Nothing runs in {found.data}. Start it with `aparella up`.")
        for name, address in found.addresses.items():
            say(f"  {name:<9} {address}")
        if found.processes:
            columns = ("name", "pid", "state", "since", "restarts", "address")
            rows = [[child[column] for column in columns] for child in found.processes]
            output.console().print(output.table(columns, rows, "pid restarts"))
    if not found.running:
        raise typer.Exit(1)


def demo(
    sample: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the sample.")] = Path(
        "examples/hospital"
    ),
    out: Annotated[Path, typer.Option(metavar="FILE.csv", help="Where the matches go.")] = Path(
        "demo-matches.csv"
    ),
) -> None:
    """Match the sample list with the sample catalogue on a stack of its own, and explain it."""
    with installed():
        from aparella.deploy import demo as walk
    walk.run(sample, out)


def say(line: str) -> None:
    """Show a line at once; a terminal that was closed or a full disk is no reason to stop."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """For imports of the server's code: what is missing is said in a sentence."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"The local stack is not installed ({error.name} is missing): run "
            "`pip install 'aparella[local]'`."
        ) from error
