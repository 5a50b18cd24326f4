import time
from email.utils import formatdate
from typing import Any

import httpx
import pytest

from aparella.client import problems
from aparella.client.transport import Transport, retry_after
from aparella.errors import (
    AparellaError,
    ConflictError,
    InputError,
    NotFoundError,
    ServiceUnavailableError,
)


def refusal(status: int, document: Any = None, *, token: bool = False) -> AparellaError:
    headers = {"Authorization": "Bearer t"} if token else {}
    request = httpx.Request("POST", "http://server:8000/v1/jobs", headers=headers)
    response = (
        httpx.Response(status, request=request, text="<html>no</html>")
        if document is None
        else httpx.Response(status, request=request, json=document)
    )
    return problems.error(response)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InputError),
        (404, NotFoundError),
        (409, ConflictError),
        (413, InputError),
        (422, InputError),
        (429, ServiceUnavailableError),
        (500, ServiceUnavailableError),
        (503, ServiceUnavailableError),
    ],
)
def test_the_status_chooses_the_error(status: int, kind: type[AparellaError]) -> None:
    error = refusal(status, {"detail": "A sentence.", "code": "some_code"})
    assert type(error) is kind
    assert str(error) == "A sentence."
    assert error.code == "some_code"


def test_each_field_becomes_a_note() -> None:
    error = refusal(
        422,
        {
            "detail": "Two columns are missing.",
            "errors": [
                {"field": "key", "message": "there is no column 'id'"},
                {"message": "the file has the columns 'a', 'b'"},
            ],
        },
    )
    assert isinstance(error, InputError)
    assert error.field == "key"
    assert error.__notes__ == [
        "key: there is no column 'id'",
        "the file has the columns 'a', 'b'",
    ]


@pytest.mark.parametrize("document", [None, [], {"detail": [{"loc": 1}]}, {"errors": "none"}])
def test_an_answer_that_is_no_problem_document_still_gives_a_sentence(document: Any) -> None:
    assert str(refusal(404, document)) == "The server answered 404 Not Found to POST /v1/jobs."


def test_a_missing_and_a_wrong_token_are_told_apart() -> None:
    missing, wrong = refusal(401, {}), refusal(401, {}, token=True)
    assert isinstance(missing, InputError)
    assert "none was given. Set APARELLA_TOKEN" in str(missing)
    assert "does not know the one given" in str(wrong)


@pytest.mark.parametrize(
    ("value", "seconds"), [(None, None), ("3", 3.0), ("soon", None), ("-1", None)]
)
def test_retry_after_in_seconds(value: str | None, seconds: float | None) -> None:
    assert retry_after(value) == seconds


def test_retry_after_as_a_date() -> None:
    assert retry_after(formatdate(time.time() + 10, usegmt=True)) == pytest.approx(10, abs=1.5)
    assert retry_after(formatdate(time.time() - 10, usegmt=True)) == 0.0


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://server", "http://", "http://a:b:c", ""])
def test_what_is_no_url_is_said_so(url: str) -> None:
    with pytest.raises(InputError, match="is no URL"):
        Transport(url)
