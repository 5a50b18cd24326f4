"""What all commands share: which server, how to print, and the options that say so."""

import inspect
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from aparella.client import output, units
from aparella.client.client import Client
from aparella.client.stack import find_stack
from aparella.errors import ServiceUnavailableError

PANEL = "Options of every command"
URL_HELP = "Server to use; a running local stack unless given."
DATA_HELP = "Folder of the local stack; the user's data folder unless given."
JSON_HELP = "Print JSON, one object a line, on standard output; the rest on standard error."

Url = Annotated[str | None, typer.Option("--url", help=URL_HELP, rich_help_panel=PANEL)]
Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", readable=False, help=DATA_HELP, rich_help_panel=PANEL),
]
Json = Annotated[bool, typer.Option("--json", help=JSON_HELP, rich_help_panel=PANEL)]


Raw = Annotated[
    bool,
    typer.Option("--raw", help="CSV for programs: texts as they are, also those like formulas."),
]


@dataclass(frozen=True)
class Session:
    """The options of every command, from wherever on the command line they stood."""

    url: str | None = None
    data: Path | None = None
    json: bool = False

    def merged(self, url: str | None, data: Path | None, json: bool) -> "Session":
        """This session with what a command's own options say on top."""
        return Session(url or self.url, data or self.data, json or self.json)

    @property
    def console(self) -> Console:
        """Where sentences for people go: standard error if standard output is for a machine."""
        return output.console(stderr=self.json)

    def say(self, text: str) -> None:
        """Print a line for people."""
        self.console.print(units.printable(text), soft_wrap=True)

    def connect(self) -> Client:
        """A client of the server that is named, or else of the local stack.

        The token of a named server is read from `APARELLA_TOKEN` only: what stands on a command
        line can be read by every user of the machine.

        Raises:
            ServiceUnavailableError: none is named and none runs here.
        """
        if self.url is not None:
            return Client(self.url, os.environ.get("APARELLA_TOKEN") or None)
        stack = find_stack(self.data)
        if stack is None:
            raise ServiceUnavailableError(
                "No Aparella server found: start one with `aparella up`, or set APARELLA_URL."
            )
        return Client(*stack)

    def list(self, items: Iterable[object], show: Callable[[Any], object]) -> None:
        """Print items as JSON, one a line as they come, or by `show` all at once."""
        if not self.json:
            self.console.print(show([*items]))
            return
        for item in items:
            output.write_json(item)


def with_session(command: Callable[..., None]) -> Callable[..., None]:
    """Turn a function of a session and options of its own into one that Typer takes.

    The options of every command are added to the command's own, so that they may stand before
    its name or after it.
    """

    def run(ctx: typer.Context, **options: Any) -> None:
        shared = {name: options.pop(f"session_{name}") for name in ("url", "data", "json")}
        command(ctx.ensure_object(Session).merged(**shared), **options)

    def parameter(name: str, annotation: object, default: object = None) -> inspect.Parameter:
        return inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
        )

    own = list(inspect.signature(command).parameters.values())[1:]
    # Typer reads the signature, and passes everything by its name.
    run.__dict__["__signature__"] = inspect.Signature(
        [
            next(iter(inspect.signature(run).parameters.values())),
            *(value.replace(kind=inspect.Parameter.KEYWORD_ONLY) for value in own),
            parameter("session_url", Url),
            parameter("session_data", Data),
            parameter("session_json", Json, False),
        ]
    )
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run
