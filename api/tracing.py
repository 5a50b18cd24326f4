"""A span for each request: its method, its route, its status, and nothing that a client wrote."""

from starlette.datastructures import Headers
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aparella import traces

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Others are somebody's invention, and would be a span's name."""


class Tracing:
    """ASGI middleware: traces each request, as a part of its client's trace if that has one.

    It stands before all others, so that what they refuse is traced too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or not traces.on():
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        attributes = {"http.request.method": method}
        with (
            traces.continued(Headers(scope=scope).get("traceparent")),
            traces.span(method, attributes, server=True) as span,
        ):

            async def watch(message: Message) -> None:
                if message["type"] == "http.response.start":
                    status = int(message["status"])
                    span.set(**{"http.response.status_code": status})
                    if status >= 500:
                        span.fail(str(status))
                await send(message)

            try:
                await self._app(scope, receive, watch)
            finally:
                # The routing has noted it in the scope by now, if there was one.
                if (route := template(scope.get("route"), scope["path"])) is not None:
                    span.rename(f"{method} {route}")
                    span.set(**{"http.route": route})


def template(route: BaseRoute | None, path: str) -> str | None:
    """A route as it is written, `/v1/jobs/{job_id}`, whatever the request put in; None for none.

    Args:
        route: what matched; it knows its path within the router that it was made in.
        path: of the request: what stands before the route's is the prefix of that router.
    """
    regex, own = getattr(route, "path_regex", None), getattr(route, "path_format", None)
    if regex is None or own is None:
        return None
    starts = (n for n, letter in enumerate(path) if letter == "/")
    prefix = next((path[:n] for n in starts if regex.match(path[n:])), None)
    return None if prefix is None else prefix + own
