"""`aparella token …`: who may use a server's API."""

from typing import Annotated, Literal

import typer

from aparella.client import output, units
from aparella.client.exits import Sentences
from aparella.client.models import Token
from aparella.client.session import Session, with_session

app = typer.Typer(
    cls=Sentences,
    no_args_is_help=True,
    help="Tokens of the API. These commands need one of the scope admin.",
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="By which it is listed and revoked.")]


@app.command()
@with_session
def create(
    session: Session,
    name: Name,
    scope: Annotated[
        Literal["read", "submit", "admin"],
        typer.Option(help="read looks; submit also uploads and starts jobs; admin does all."),
    ] = "read",
) -> None:
    """Make a token and print it, once: the server keeps only its hash."""
    with session.connect() as client:
        made = client.create_token(name, scope)
    if session.json:
        output.write_json({"name": made.name, "scope": made.scope, "token": made.token})
        return
    session.say(made.token)
    session.say("It is shown this once. Clients read it from the variable APARELLA_TOKEN.")


@app.command("list")
@with_session
def list_(session: Session) -> None:
    """List the tokens, revoked ones too."""

    def show(items: list[Token]) -> object:
        columns = ("name", "scope", "handle", "created", "revoked")
        rows = (
            (
                one.name,
                one.scope,
                one.handle,
                units.clock(one.created_at),
                units.clock(one.revoked_at) if one.revoked_at else "",
            )
            for one in items
        )
        return output.table(columns, rows, fluid="name")

    with session.connect() as client:
        session.list(client.tokens(), show)


@app.command()
@with_session
def revoke(session: Session, name: Name) -> None:
    """End a token, at once."""
    with session.connect() as client:
        client.revoke_token(name)
    session.say(f"The token '{name}' is revoked.")
