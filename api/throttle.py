"""How much is done at once: who asks for more is told when to come back, before it is begun.

Counted in this process alone, on its one event loop: exact, without a lock, and forgotten with it.
Each token has a share of its own, so that one who sends too much does not shut out the others.
"""

import re
from collections import Counter
from typing import Literal

from starlette.types import ASGIApp, Receive, Scope, Send

from aparella.api.limits import UPLOAD
from aparella.api.problems import RETRY_SECONDS, Problem
from aparella.settings import Settings

Kind = Literal["uploads", "exports", "writes", "reads"]

_EXPORT = re.compile(r"/v1/(jobs/[^/]+/matches|models/[^/]+/[^/]+)/export")
_WORDS: dict[Kind, str] = {
    "uploads": "files are being uploaded with this token",
    "exports": "files are being exported with this token",
    "writes": "changes are being made with this token",
    "reads": "requests are being answered by this server",
}


def kind_of(method: str, path: str) -> Kind:
    """What a request counts as."""
    if method in ("GET", "HEAD"):
        return "exports" if _EXPORT.fullmatch(path) else "reads"
    return "uploads" if method == "POST" and UPLOAD.fullmatch(path) else "writes"


class Throttle:
    """ASGI middleware: 429 with `Retry-After` for what is too much at once.

    It stands behind the authentication, which says whose request it is.

    Args:
        app: what to protect.
        settings: how much of each kind is taken at once.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._most: dict[Kind, int] = {
            "uploads": settings.uploads_at_once,
            "exports": settings.exports_at_once,
            "writes": settings.writes_at_once,
            "reads": settings.requests_at_once,
        }
        self._running: Counter[tuple[Kind, str]] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        caller = scope.get("state", {}).get("caller")
        if scope["type"] != "http" or caller is None:
            # The start of the process, and who asks whether it lives.
            await self._app(scope, receive, send)
            return
        kind = kind_of(scope["method"], scope["path"])
        # Whatever it is, it is one of all that the server has in hand.
        slots = {(kind, "" if kind == "reads" else caller.name), ("reads", "")}
        for wanted, name in slots:
            if self._running[wanted, name] >= self._most[wanted]:
                await _too_many(wanted, self._most[wanted]).response()(scope, receive, send)
                return
        self._running.update(slots)
        try:
            await self._app(scope, receive, send)
        finally:
            self._running.subtract(slots)
            for slot in slots:
                if not self._running[slot]:
                    del self._running[slot]


def _too_many(kind: Kind, most: int) -> Problem:
    return Problem(
        429,
        f"{most:,} {_WORDS[kind]} already, the most at a time. Nothing of this request was done: "
        f"send it again in {RETRY_SECONDS} seconds.",
        code="too_many_requests",
        headers={"Retry-After": str(RETRY_SECONDS)},
    )
