"""Tokens: made, listed and revoked by who has one of the scope `admin`."""

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from aparella.api.dependencies import CallerOf, Database
from aparella.db import tokens
from aparella.db.engine import transaction
from aparella.db.tokens import Scope
from aparella.workers.contracts import Name

router = APIRouter(prefix="/tokens", tags=["tokens"])


class TokenRequest(BaseModel):
    """A token to make; each scope allows what those before it do: read, submit, admin."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    scope: Scope


class NewToken(BaseModel):
    """A token as it is shown once."""

    name: str
    scope: Scope
    token: str


class Token(BaseModel):
    """A token without its secret; `handle` is the part of it that may be shown."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    scope: Scope
    handle: str
    created_by: str | None
    created_at: datetime
    revoked_at: datetime | None


class Tokens(BaseModel):
    """All tokens, oldest first."""

    items: list[Token]


@router.post("", status_code=201)
def create_token(request: TokenRequest, caller: CallerOf, db: Database) -> NewToken:
    """Make a token. This answer is the only one that ever shows it."""
    with transaction(db) as connection:
        token = tokens.create(connection, request.name, request.scope, caller.name)
    return NewToken(name=request.name, scope=request.scope, token=token)


@router.get("")
def list_tokens(db: Database) -> Tokens:
    """All tokens, revoked ones too."""
    with transaction(db) as connection:
        found = tokens.list_all(connection)
    return Tokens(items=[Token.model_validate(one) for one in found])


@router.delete("/{name}", status_code=204)
def revoke_token(name: Name, db: Database) -> None:
    """Revoke a token: within two seconds no API process takes it any more."""
    with transaction(db) as connection:
        tokens.revoke(connection, name)
