"""The command `python -m aparella.api.tokens`: tokens by way of the database itself.

For the first token of a server, before there is one to ask the API with, and for when all are lost:
whoever knows DATABASE_URL may do anything already.
"""

import argparse
import sys

import sqlalchemy as sa

from aparella.db import engine, tokens
from aparella.errors import AparellaError
from aparella.settings import load


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m aparella.api.tokens", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    create = actions.add_parser("create", help="make a token and print it, once")
    create.add_argument("name")
    create.add_argument("--scope", choices=tokens.SCOPES, default="admin")
    actions.add_parser("list", help="show all tokens, without their secrets")
    actions.add_parser("revoke", help="end a token").add_argument("name")
    arguments = parser.parse_args()
    try:
        db = engine.create(load(), name="tokens")
        try:
            for line in _lines(db, arguments):
                sys.stdout.write(f"{line}\n")
        finally:
            db.dispose()
    except AparellaError as error:
        sys.exit(f"aparella: {error}")


def _lines(db: sa.Engine, arguments: argparse.Namespace) -> list[str]:
    with engine.transaction(db) as connection:
        match arguments.action:
            case "create":
                return [tokens.create(connection, arguments.name, arguments.scope)]
            case "revoke":
                tokens.revoke(connection, arguments.name)
                return [f"The token '{arguments.name}' is revoked."]
            case _:
                return [
                    f"{one.handle}  {one.scope:<6}  {'revoked' if one.revoked_at else 'in use '}  "
                    f"{one.created_at:%Y-%m-%d}  {one.name}"
                    for one in tokens.list_all(connection)
                ]


if __name__ == "__main__":
    main()
