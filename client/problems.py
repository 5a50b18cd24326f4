"""Problem documents (RFC 9457) as errors of Aparella's one tree.

Each entry of a document's `errors` becomes a note of the exception (PEP 678), `field: message`,
so it is seen wherever the exception is.
"""

from collections.abc import Mapping
from typing import Any

import httpx

from aparella.errors import (
    AparellaError,
    ConflictError,
    InputError,
    NotFoundError,
    ServiceUnavailableError,
)


def error(response: httpx.Response) -> AparellaError:
    """The error that a refusal means; `code` and `field` are the server's."""
    document = _document(response)
    detail = document.get("detail")
    if not isinstance(detail, str) or not detail:
        detail = (
            f"The server answered {response.status_code} {response.reason_phrase} to "
            f"{response.request.method} {response.request.url.path}."
        )
    raw = document.get("errors")
    entries = [e for e in raw if isinstance(e, Mapping)] if isinstance(raw, list) else []
    result = _of_status(response, detail, entries)
    code = document.get("code")
    if isinstance(code, str):
        result.code = code
    for entry in entries:
        if entry.get("message"):
            result.add_note(
                f"{entry['field']}: {entry['message']}"
                if entry.get("field")
                else str(entry["message"])
            )
    return result


def _of_status(
    response: httpx.Response, detail: str, entries: list[Mapping[str, Any]]
) -> AparellaError:
    match response.status_code:
        case 401:
            known = "Authorization" in response.request.headers
            what = "does not know the one given" if known else "none was given"
            return InputError(
                f"The server at {response.request.url.netloc.decode()} asks for a token, and "
                f"{what}. Set APARELLA_TOKEN to the server's token.",
                code="unauthorized",
            )
        case 403:
            return InputError(detail, code="forbidden")
        case 404:
            return NotFoundError(detail)
        case 409:
            return ConflictError(detail)
        case status if status == 429 or status >= 500:
            return ServiceUnavailableError(detail)
        case _:
            fields = (str(entry["field"]) for entry in entries if entry.get("field"))
            return InputError(detail, field=next(fields, None))


def _document(response: httpx.Response) -> Mapping[str, Any]:
    try:
        document = response.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
