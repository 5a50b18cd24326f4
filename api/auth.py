"""Who may use the API: whoever sends a bearer token (RFC 6750) whose scope covers the request.

A token is the server's own, `APARELLA_TOKEN`, which may do everything, or one of the database's.
"""

import base64
import binascii
import hashlib
import hmac
import ipaddress
import time
from dataclasses import dataclass

import sqlalchemy as sa
from anyio import to_thread
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from aparella.api import problems, scopes
from aparella.api.problems import Problem
from aparella.db import tokens
from aparella.db.engine import transaction
from aparella.errors import AparellaError, ConfigurationError
from aparella.settings import Settings

OPEN = frozenset({"/livez", "/readyz"})
"""Asked by supervisors, without a token."""
READ_IN_BROWSERS = frozenset({"/docs", "/redoc", "/openapi.json"})
"""A browser cannot send a bearer token by itself: here the token may be Basic's password."""
REMEMBERED_SECONDS = 2.0
"""A token that was found is not looked up again for so long, nor is its end noticed."""

_MOST_REMEMBERED = 1_000
_BEARER, _BASIC = "bearer ", "basic "


@dataclass(frozen=True)
class Caller:
    """Who sends a request: the name of the token, and what it allows."""

    name: str
    scope: tokens.Scope


class TokenAuth:
    """ASGI middleware: asks for a token on every path but those of `OPEN`, known or not.

    It stands before the routing, so that no route can be forgotten and no body is read. Who was let
    in stands in the request's state as `caller`.

    Args:
        app: what to protect.
        own: the token that the server was started with.
        anonymous: let everybody in without a token, where the server was started with none.
    """

    def __init__(self, app: ASGIApp, own: str | None, *, anonymous: bool = False) -> None:
        self._app = app
        self._own = own.encode() if own else None
        self._anonymous = anonymous and not own
        self._known: dict[bytes, tuple[float, Caller]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and scope["path"] not in OPEN:
            try:
                caller = await self._caller(scope)
                _check_scope(caller, scope["method"], scope["path"])
            except Problem as problem:
                await problem.response()(scope, receive, send)
                return
            scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, receive, send)

    async def _caller(self, scope: Scope) -> Caller:
        given = _given(scope)
        if given is None:
            if self._anonymous:
                return Caller("anonymous", "admin")
            raise _unauthorized(
                scope,
                "This server asks for a token: send the header Authorization: Bearer TOKEN.",
            )
        if self._own is not None and hmac.compare_digest(given, self._own):
            return Caller("APARELLA_TOKEN", "admin")
        # The key is a hash: how long a look into the dictionary takes tells nothing about a token.
        key = hashlib.sha256(given).digest()
        until, known = self._known.get(key, (0.0, None))
        if known is not None and until > time.monotonic():
            return known
        found = await to_thread.run_sync(_look_up, scope["app"].state.engine, given)
        if found is None:
            self._known.pop(key, None)
            raise _unauthorized(
                scope,
                "The token is not known here, or was revoked. Ask the server's operator for one.",
            )
        if len(self._known) >= _MOST_REMEMBERED:
            self._known.clear()
        self._known[key] = (time.monotonic() + REMEMBERED_SECONDS, found)
        return found


def _given(scope: Scope) -> bytes | None:
    """The token of a request, if it has one."""
    # Headers are decoded as Latin-1, which gives every byte back.
    header = Headers(scope=scope).get("Authorization") or ""
    if header.lower().startswith(_BEARER):
        return header[len(_BEARER) :].strip().encode("latin-1")
    if header.lower().startswith(_BASIC) and scope["path"] in READ_IN_BROWSERS:
        try:
            decoded = base64.b64decode(header[len(_BASIC) :], validate=True)
        except (binascii.Error, ValueError):
            return None
        return decoded.partition(b":")[2]
    return None


def _look_up(db: sa.Engine, given: bytes) -> Caller | None:
    if not tokens.is_token(given.decode("latin-1")):
        return None
    try:
        with transaction(db) as connection:
            found = tokens.find(connection, given.decode("latin-1"))
    except AparellaError as error:
        # Out here no handler of the application turns errors into answers.
        if problem := problems.of(error):
            raise problem from error
        raise
    return Caller(*found) if found else None


def _unauthorized(scope: Scope, detail: str) -> Problem:
    ways = 'Basic realm="any name, and the token as the password"'
    challenge = ways if scope["path"] in READ_IN_BROWSERS else "Bearer"
    return Problem(401, detail, code="unauthorized", headers={"WWW-Authenticate": challenge})


def _check_scope(caller: Caller, method: str, path: str) -> None:
    wanted = scopes.needed(method, path)
    if not scopes.covers(caller.scope, wanted):
        raise forbidden(caller, wanted)


def require(caller: Caller, wanted: tokens.Scope) -> None:
    """Refuse what needs more than its path tells.

    Raises:
        Problem: 403, the token's scope does not cover it.
    """
    if not scopes.covers(caller.scope, wanted):
        raise forbidden(caller, wanted)


def forbidden(caller: Caller, wanted: tokens.Scope) -> Problem:
    """The problem of a token that is known and does not allow what is asked."""
    return Problem(
        403,
        f"This needs a token of the scope {wanted}, and the token '{caller.name}' has the scope "
        f"{caller.scope}. Ask the server's operator for one.",
        code="forbidden",
    )


def token(settings: Settings) -> str | None:
    """The token that the server was started with, if it was; an empty one is none."""
    return (settings.token.get_secret_value() or None) if settings.token else None


def require_token_beyond_loopback(host: str, settings: Settings, db: sa.Engine) -> None:
    """Refuse to listen where others can reach this machine while nobody could be told apart.

    Raises:
        ConfigurationError: `host` is more than this machine's loopback, and there is no token, or
            the API is open to anybody.
    """
    if is_loopback(host):
        return
    if settings.anonymous and token(settings) is None:
        raise ConfigurationError(
            f"APARELLA_ANONYMOUS opens the API to everybody on this machine, and {host!r} is more "
            "than its loopback. Unset it, or leave --host out."
        )
    if token(settings) is None and not _any_in_use(db):
        raise ConfigurationError(
            f"Without a token the API listens on this machine's loopback only, and {host!r} is "
            "more than that. Make one with `python -m aparella.api.tokens create NAME`, set "
            "APARELLA_TOKEN to a long random text, or leave --host out."
        )


def _any_in_use(db: sa.Engine) -> bool:
    try:
        with transaction(db) as connection:
            return tokens.any_in_use(connection)
    except AparellaError as error:
        raise ConfigurationError(
            f"Whether there is a token cannot be seen ({error}). Start the database and migrate it "
            "with `python -m aparella.db.migrate`, or set APARELLA_TOKEN to a long random text."
        ) from error


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`; a name other than localhost counts as not."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
