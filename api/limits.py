"""How large a request's body may be."""

import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aparella.api import problems

LARGEST_DOCUMENT = 64 * 1024
"""Bytes of a body that is no file: such a body is held in memory."""

UPLOAD = re.compile(
    r"/v1/(collections/[^/]+/records|pairs/[^/]+|decisions/import|models/[^/]+/import)"
)
"""Paths whose body is a file."""


class BodyLimit:
    """ASGI middleware: refuses a body that is too large, by its announced size or as it comes.

    Args:
        app: what to protect.
        largest_file: bytes of an uploaded file as it is sent.
    """

    def __init__(self, app: ASGIApp, largest_file: int) -> None:
        self._app = app
        self._largest_file = largest_file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if UPLOAD.fullmatch(scope["path"]):
            limit, advice = self._largest_file, "Split the file and upload its parts in merge mode."
        else:
            limit, advice = LARGEST_DOCUMENT, "Leave out of it what is not part of the request."
        announced = Headers(scope=scope).get("Content-Length", "")
        if announced.isdecimal() and int(announced) > limit:
            await problems.too_large(limit, advice).response()(scope, receive, send)
            return
        received = 0

        async def count() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise problems.too_large(limit, advice)
            return message

        await self._app(scope, count, send)
