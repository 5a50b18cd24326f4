"""Bearer tokens of the API: made, found again, listed, revoked.

A token is `aparella_HANDLE_SECRET`. The handle is public: it finds the row. Of the whole token only
the SHA-256 is stored: the secret is 256 random bits, which nobody guesses from its hash however
fast that is; a slow, salted hash is for passwords, which people choose.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

import sqlalchemy as sa

from aparella.errors import ConflictError, NotFoundError

Scope = Literal["read", "submit", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""Each allows what those before it do."""

PREFIX = "aparella_"
"""Scanners for leaked secrets know a token by it."""

_FORM = re.compile(PREFIX + r"([0-9a-f]{16})_[A-Za-z0-9_-]{43}")
_FIND = sa.text(
    "SELECT name, scope, digest FROM token WHERE handle = :handle AND revoked_at IS NULL"
)
_INSERT = sa.text("""
    INSERT INTO token (handle, digest, name, scope, created_by)
    VALUES (:handle, :digest, :name, :scope, :by)
    ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING RETURNING id
""")


@dataclass(frozen=True)
class Token:
    """A token as it is listed: all but its secret, which nobody has any more."""

    name: str
    scope: Scope
    handle: str
    created_by: str | None
    created_at: datetime
    revoked_at: datetime | None


def create(connection: sa.Connection, name: str, scope: Scope, by: str | None = None) -> str:
    """Make a token; returns it, and it cannot be had again.

    Args:
        connection: inside a transaction.
        name: by which it is listed and revoked.
        scope: what it allows.
        by: name of the token that asks for it.

    Raises:
        ConflictError: a token of this name is in use.
    """
    handle = secrets.token_hex(8)
    token = f"{PREFIX}{handle}_{secrets.token_urlsafe(32)}"
    values = {"handle": handle, "digest": _digest(token), "name": name, "scope": scope, "by": by}
    if connection.execute(_INSERT, values).first() is None:
        raise ConflictError(
            f"There is a token '{name}' already. Choose another name, or revoke that one first."
        )
    return token


def find(connection: sa.Connection, token: str) -> tuple[str, Scope] | None:
    """Name and scope of a token that was given; None for one that is unknown or revoked."""
    form = _FORM.fullmatch(token)
    if form is None:
        return None
    row = connection.execute(_FIND, {"handle": form[1]}).first()
    if row is None or not hmac.compare_digest(bytes(row.digest), _digest(token)):
        return None
    return row.name, row.scope


def is_token(text: str) -> bool:
    """Whether a text has the form of a token: if not, nobody needs to look it up."""
    return _FORM.fullmatch(text) is not None


def list_all(connection: sa.Connection) -> list[Token]:
    """All tokens, revoked ones too, oldest first."""
    query = "SELECT name, scope, handle, created_by, created_at, revoked_at FROM token ORDER BY id"
    return [Token(**row._mapping) for row in connection.execute(sa.text(query))]


def revoke(connection: sa.Connection, name: str) -> None:
    """End a token; its row stays, for the record.

    Raises:
        NotFoundError: no token of this name is in use.
    """
    query = "UPDATE token SET revoked_at = now() WHERE name = :name AND revoked_at IS NULL"
    if connection.execute(sa.text(query), {"name": name}).rowcount == 0:
        raise NotFoundError(f"There is no token '{name}' in use.")


def any_in_use(connection: sa.Connection) -> bool:
    """Whether there is a token that lets anybody in."""
    query = "SELECT EXISTS (SELECT FROM token WHERE revoked_at IS NULL)"
    return bool(connection.execute(sa.text(query)).scalar_one())


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
