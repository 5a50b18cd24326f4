"""Errors as problem documents (RFC 9457): what is wrong, where, and what to do, in sentences."""

import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aparella.api.validation import FieldError, field_errors
from aparella.errors import (
    AparellaError,
    BusyError,
    ConflictError,
    InputError,
    NotFoundError,
    ResourceExhaustedError,
    TransientError,
)

MEDIA_TYPE = "application/problem+json"
METHODS = frozenset({"get", "post", "put", "patch", "delete"})
TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}
"""RFC 9110's names, where Python's `http` still has older ones."""
RETRY_SECONDS = 2
"""`Retry-After` when a service is away: about as long as a restart takes."""
REPAIR_SECONDS = 30
"""`Retry-After` when somebody has to make room first."""

RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "A problem document (RFC 9457)",
        "content": {
            MEDIA_TYPE: {
                "schema": {
                    "type": "object",
                    "required": ["type", "title", "status", "detail", "code", "errors"],
                    "properties": {
                        "type": {"type": "string"},
                        "title": {"type": "string"},
                        "status": {"type": "integer"},
                        "detail": {"type": "string", "description": "For the user, in sentences"},
                        "code": {"type": "string", "description": "For programs; it is stable"},
                        "instance": {"type": "string", "description": "As it stands in the log"},
                        "errors": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "properties": {
                                    "field": {"type": "string"},
                                    "message": {"type": "string"},
                                },
                            },
                        },
                    },
                }
            }
        },
    }
}
"""Every route's answer to what is wrong, for the OpenAPI document."""

log = logging.getLogger(__name__)


class Problem(HTTPException):
    """An answer that is a problem document.

    It is an `HTTPException` because FastAPI takes any other error while it reads a body for a
    broken body.

    Args:
        status: of HTTP.
        detail: a sentence or two for the user.
        code: the kind of problem, stable, for programs.
        errors: which fields are wrong, and why.
        headers: to send with it.
        instance: what to look for in the server's log.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        code: str,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        instance: str | None = None,
    ) -> None:
        super().__init__(status, detail, headers)
        self.code = code
        self.errors = errors
        self.instance = instance

    def response(self) -> Response:
        """The document, ready to send."""
        document = {
            "type": "about:blank",
            "title": TITLES.get(self.status_code) or HTTPStatus(self.status_code).phrase,
            "status": self.status_code,
            "detail": self.detail,
            "code": self.code,
            "errors": [asdict(error) for error in self.errors],
        }
        if self.instance is not None:
            document["instance"] = self.instance
        return JSONResponse(document, self.status_code, headers=self.headers, media_type=MEDIA_TYPE)


def of(error: AparellaError, *, field: str | None = None) -> Problem | None:
    """The problem that an error of ours makes; None for one that no user can mend.

    Args:
        error: from whatever part of the program.
        field: which field of the request it is about, if the error does not know.
    """
    match error:
        case InputError():
            status, field = 422, error.field or field
        case NotFoundError():
            status = 404
        case ConflictError():
            status = 409
        case TransientError():
            return _unavailable(error)
        case _:
            return None
    errors = [FieldError(field, str(error))] if field else []
    return Problem(status, str(error), code=error.code, errors=errors)


@contextmanager
def about(field: str) -> Iterator[None]:
    """Say which field of the request an error is about."""
    try:
        yield
    except AparellaError as error:
        if problem := of(error, field=field):
            raise problem from error
        raise


def too_large(limit: int, advice: str) -> Problem:
    """The problem of a body of over `limit` bytes; `advice` is what to do about it."""
    detail = f"The request's body is over {limit:,} bytes, the most that is taken here. {advice}"
    return Problem(413, detail, code="too_large")


def install(app: FastAPI) -> None:
    """Make every error that reaches `app` a problem document."""
    for kind in (HTTPException, RequestValidationError, AparellaError):
        app.add_exception_handler(kind, _answer)


class LastResort:
    """ASGI middleware: an error that nothing else answers becomes a 500 without a traceback.

    Where the answer has begun already the error goes on to the server, which breaks the connection
    off: a client must not take half an export for a whole one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except ClientDisconnect:
            log.info("%s %s: the client went away", scope["method"], scope["path"])
        except Exception as error:
            if started or scope["type"] != "http":
                raise
            await _unexpected(error, scope).response()(scope, receive, send)


def _unexpected(error: Exception, scope: Scope) -> Problem:
    instance = f"urn:uuid:{uuid.uuid4()}"
    log.error("%s: %s %s", instance, scope["method"], scope["path"], exc_info=error)
    return Problem(
        500,
        "Something went wrong in the server. Its log has the details under this problem's "
        f"instance, {instance}.",
        code="internal",
        instance=instance,
    )


def _unavailable(error: TransientError) -> Problem:
    # The driver's words name hosts and ports: they are for the log.
    log.warning("%s", error)
    if isinstance(error, BusyError):
        seconds, detail = RETRY_SECONDS, str(error)
    elif isinstance(error, ResourceExhaustedError):
        seconds = REPAIR_SECONDS
        detail = (
            "The server has no room left (disk, memory or connections). Try again once its "
            "operator has made some."
        )
    else:
        seconds = RETRY_SECONDS
        detail = "The server's database does not answer at the moment. Try again shortly."
    return Problem(503, detail, code=error.code, headers={"Retry-After": str(seconds)})


async def _answer(request: Request, error: Exception) -> Response:
    match error:
        case Problem():
            problem = error
        case AparellaError():
            problem = of(error) or _unexpected(error, request.scope)
        case RequestValidationError():
            errors = field_errors(error.errors())
            detail = " ".join(entry.message for entry in errors)
            problem = Problem(422, detail, code="invalid", errors=errors)
        case HTTPException():
            problem = _of_http(request, error)
        case _:
            problem = _unexpected(error, request.scope)
    return problem.response()


def _allowed(request: Request) -> str:
    """The methods that a path takes, for `Allow`: the framework names those of one route only."""
    paths: dict[str, Any] = request.app.openapi()["paths"]
    fitting = [path for path in paths if compile_path(path)[0].match(request.url.path)]
    # A name of ours is meant before a parameter that would take it as well.
    found = paths[min(fitting, key=lambda path: path.count("{"))] if fitting else {}
    return ", ".join(sorted(method.upper() for method in found if method in METHODS))


def _of_http(request: Request, error: HTTPException) -> Problem:
    what, headers = f"{request.method} {request.url.path}", error.headers or {}
    match error.status_code:
        case 400:
            code = "invalid"
            detail = "The body cannot be read as JSON in UTF-8. Send one JSON object."
        case 404:
            code = "not_found"
            detail = f"There is nothing at {request.url.path}. /docs shows what there is."
        case 405:
            code = "method_not_allowed"
            detail = f"{what} is not possible. /docs shows what there is."
            headers = {**headers, "Allow": _allowed(request)}
        case _:
            code, detail = "http", f"{what}: {error.detail}"
    return Problem(error.status_code, detail, code=code, headers=headers)
