"""Pydantic's errors as sentences."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from aparella.api.imports import UploadParameters
from aparella.api.validation import FieldError, field_errors
from aparella.workers.contracts import JobRequest

REQUEST: TypeAdapter[Any] = TypeAdapter(JobRequest)
MATCH = {"kind": "match", "source": "a", "target": "b"}


def refused(adapter: TypeAdapter[Any], value: object, place: str = "body") -> list[FieldError]:
    with pytest.raises(ValidationError) as raised:
        adapter.validate_python(value)
    return field_errors(
        [{**error, "loc": (place, *error["loc"])} for error in raised.value.errors()]
    )


@pytest.mark.parametrize(
    ("k", "shown"),
    [(0, "0"), (-1, "-1"), (10**9, "1000000000"), ("ten", "'ten'"), (1.5, "1.5"), (None, "null")],
)
def test_a_wrong_k_is_told_its_range(k: object, shown: str) -> None:
    (error,) = refused(REQUEST, {**MATCH, "k": k})
    assert error == FieldError("k", f"k is {shown}: give a whole number from 1 to 1,000.")


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a@1", "a\0b", "x" * 201, "a\n", 5, "\ud800"])
def test_a_wrong_name_is_told_what_a_name_is(name: object) -> None:
    (error,) = refused(REQUEST, {**MATCH, "source": name})
    assert error.field == "source"
    assert "without spaces" in error.message
    assert len(error.message) < 200


def test_every_wrong_field_is_named() -> None:
    errors = refused(REQUEST, {"kind": "match", "source": "a", "kk": 3})
    assert [error.field for error in errors] == ["target", "kk"]
    assert errors[0].message == "target is missing: give it as a field of the JSON body."


def test_a_missing_and_an_unknown_kind() -> None:
    (missing,) = refused(REQUEST, {"source": "a"})
    (unknown,) = refused(REQUEST, {"kind": "mach"})
    assert missing.field == unknown.field == "kind"
    assert "missing" in missing.message
    assert unknown.message == (
        "kind is 'mach': give one of 'match', 'embed', 'index', 'train', 'evaluate', 'promote'."
    )


def test_a_list_is_no_request() -> None:
    (error,) = refused(REQUEST, [1])
    assert error.message.startswith("The body is no JSON object")


def test_query_parameters() -> None:
    errors = refused(
        TypeAdapter(UploadParameters),
        {"text": ["a\0"], "mode": "append", "strict": "perhaps", "colour": "red"},
        "query",
    )
    messages = {error.field: error.message for error in errors}
    assert messages["key"] == "key is missing: give it as a query parameter."
    assert messages["mode"] == "mode is 'append': give 'replace' or 'merge'."
    assert messages["strict"] == "strict is 'perhaps': give true or false."
    assert "without NUL" in messages["text"]
    assert "colour is not a query parameter" in messages["colour"]
