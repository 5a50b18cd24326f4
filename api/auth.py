"""Who may use the API: whoever knows the server's bearer token (RFC 6750)."""

import hmac
import ipaddress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from aparella.api.problems import Problem
from aparella.errors import ConfigurationError
from aparella.settings import Settings

PROTECTED = "/v1"
_SCHEME = "bearer "


class BearerAuth:
    """ASGI middleware: asks for the token on every path under `PROTECTED`, known or not.

    It stands before the routing, so that no route can be forgotten and no body is read.

    Args:
        app: what to protect.
        token: the only one that is let in.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and f"{scope['path']}/".startswith(f"{PROTECTED}/"):
            problem = self._refusal(Headers(scope=scope).get("Authorization"))
            if problem is not None:
                await problem.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, header: str | None) -> Problem | None:
        if header is None or not header.lower().startswith(_SCHEME):
            detail = "This server asks for its token: send the header Authorization: Bearer TOKEN."
        else:
            # Headers are decoded as Latin-1, which gives every byte back.
            given = header[len(_SCHEME) :].strip().encode("latin-1")
            if hmac.compare_digest(given, self._token):
                return None
            detail = "The token is not this server's. Send the one that it was started with."
        return Problem(401, detail, code="unauthorized", headers={"WWW-Authenticate": "Bearer"})


def token(settings: Settings) -> str | None:
    """The token to ask for, if one is set; an empty one is none."""
    return (settings.token.get_secret_value() or None) if settings.token else None


def require_token_beyond_loopback(host: str, settings: Settings) -> None:
    """Refuse to let anybody who can reach this machine use the API.

    Raises:
        ConfigurationError: `host` is more than this machine's loopback, and no token is set.
    """
    if token(settings) is None and not is_loopback(host):
        raise ConfigurationError(
            f"Without a token the API listens on this machine's loopback only, and {host!r} is "
            "more than that. Set APARELLA_TOKEN to a long random text, or leave --host out."
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`; a name other than localhost counts as not."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
