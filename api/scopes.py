"""What a token must allow for a request: one table, from the method and the path alone.

It is asked before the routing and before a body is read. A route that nobody entered here is for
`read` if it only reads, and else for `admin`: forgetting one locks people out, never in.
"""

import re

from aparella.db.tokens import SCOPES, Scope

_READING = {"GET", "HEAD", "OPTIONS"}
_EXCEPTIONS: tuple[tuple[Scope, str, str], ...] = (
    ("submit", "POST", r"/v1/collections/[^/]+/records"),
    ("submit", "POST", r"/v1/jobs"),
    ("submit", "POST", r"/v1/jobs/[^/]+/(cancel|retry|pause|resume)"),
    ("submit", "POST", r"/v1/pairs/[^/]+(/decisions)?"),
    ("submit", "POST", r"/v1/decisions(/import)?"),
    ("submit", "POST", r"/v1/jobs/[^/]+/review/(next|return)"),
    ("admin", "GET", r"/v1/tokens(/.*)?"),
)


def needed(method: str, path: str) -> Scope:
    """The least scope that a request needs."""
    as_method = "GET" if method in _READING else method
    for scope, of_method, pattern in _EXCEPTIONS:
        if as_method == of_method and re.fullmatch(pattern, path):
            return scope
    return "read" if method in _READING else "admin"


def covers(given: Scope, wanted: Scope) -> bool:
    """Whether a token of one scope may do what another one is needed for."""
    return SCOPES.index(given) >= SCOPES.index(wanted)
