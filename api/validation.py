"""What pydantic says of a wrong request, put into sentences that name the field."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aparella.workers.contracts import MAX_K

LARGEST_PAGE = 1_000
"""Items of one page."""
LARGEST_ID = 2**63 - 1
"""Ids are 64-bit integers in the database."""

_NAME = "a name of 1 to 200 characters without spaces and without / @ ? # %"
_WANTED = {
    "k": f"a whole number from 1 to {MAX_K:,}",
    "limit": f"a whole number from 1 to {LARGEST_PAGE:,}",
    "before": "the `next` of the page before",
    "after": "the `next` of the page before",
    "job_id": "the number of a job, such as 7",
    "strict": "true or false",
    "raw": "true or false",
    "name": _NAME,
    "source": _NAME,
    "target": _NAME,
    "collection": _NAME,
    "model": "NAME or NAME@VERSION",
    "version": "the number of a model's version, such as 2",
    "by": "a name of at most 200 characters, without NUL",
    "q": "1 to 1,000 characters to look for",
    "order": "uncertain, listed or value:ATTR",
    "minutes": "a whole number from 1 to 120",
    "lines": "1 to 50 keys of lines",
    "Idempotency-Key": "1 to 200 characters",
    "text": "columns' names of at most 500 characters, without NUL",
    "attribute": "columns' names of at most 500 characters, without NUL",
    "key": "a column's name of at most 500 characters, without NUL",
    "source_column": "a column's name of 1 to 500 characters, without NUL",
    "target_column": "a column's name of 1 to 500 characters, without NUL",
    "filename": "a file's name of at most 255 characters, without NUL",
}
_PLACES = {
    "query": "a query parameter",
    "path": "a part of the path",
    "header": "a header",
    "body": "a field of the JSON body",
}
_EXAMPLE = '{"kind": "match", "source": "buyers", "target": "catalogue"}'
_LONGEST_VALUE = 60


@dataclass(frozen=True)
class FieldError:
    """One field of a request and what is wrong with it."""

    field: str
    message: str


def field_errors(errors: Iterable[Mapping[str, Any]]) -> list[FieldError]:
    """Translate the errors that pydantic and FastAPI found in a request.

    Args:
        errors: `type`, `loc`, `input` and `ctx`, as `ValidationError.errors()` gives them.
    """
    located = ((_field(error), error) for error in errors)
    return [FieldError(field, _sentence(field, error)) for field, error in located]


def _field(error: Mapping[str, Any]) -> str:
    """The field's path. A body is a union by its kind, so the kind stands before its field."""
    place, *path = error["loc"]
    if error["type"] in ("union_tag_not_found", "union_tag_invalid"):
        return str(error["ctx"]["discriminator"]).strip("'")
    if place == "body" and len(path) > 1:
        path = path[1:]
    if place == "header":
        return "-".join(word.capitalize() for word in str(path[0]).split("-"))
    # An item of a list is named by its list: a user sees `text`, given several times.
    return ".".join(str(part) for part in path if isinstance(part, str)) or str(place)


def _sentence(field: str, error: Mapping[str, Any]) -> str:
    place = _PLACES.get(str(error["loc"][0]), "a field")
    context = error.get("ctx") or {}
    match error["type"]:
        case "missing" if field == "body":
            return "The request has no body: send a JSON object, such as " + _EXAMPLE + "."
        case "missing":
            return f"{field} is missing: give it as {place}."
        case "extra_forbidden":
            return f"{field} is not {place} of this request: correct its name, or leave it out."
        case "json_invalid":
            return f"The body is not JSON ({context['error']} at character {error['loc'][-1]})."
        case "union_tag_not_found":
            return f"{field} is missing: give it as {place}, such as in {_EXAMPLE}."
        case "union_tag_invalid":
            return f"{field} is {_shown(context['tag'])}: give one of {context['expected_tags']}."
        case "literal_error" | "enum":
            return f"{field} is {_shown(error['input'])}: give {context['expected']}."
        case _ if field == "body":
            return (
                "The body is no JSON object: send one, with Content-Type: application/json, such "
                f"as {_EXAMPLE}."
            )
        case _:
            wanted = _WANTED.get(field, f"another value ({error['msg']})")
            return f"{field} is {_shown(error['input'])}: give {wanted}."


def _shown(value: object) -> str:
    # As it stands in JSON: repr would say None and True.
    text = json.dumps(value) if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "…"
