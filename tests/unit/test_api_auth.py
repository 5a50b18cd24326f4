"""Where the API may listen, and without a token."""

import socket

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from aparella.api import scopes
from aparella.api.__main__ import listen
from aparella.api.auth import is_loopback, require_token_beyond_loopback, token
from aparella.db.tokens import SCOPES
from aparella.errors import ConfigurationError
from aparella.settings import Settings

EVERYWHERE = "0.0.0.0"  # noqa: S104  (that is what must be refused)


def settings(value: str | None) -> Settings:
    secret = None if value is None else SecretStr(value)
    return Settings.model_validate({"DATABASE_URL": "postgresql://nowhere/", "token": secret})


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("LocalHost", True),
        (EVERYWHERE, False),
        ("::", False),
        ("10.0.0.1", False),
        ("", False),
        ("localhost.example.com", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


NO_DATABASE = sa.create_engine("postgresql+psycopg2://127.0.0.1:1/nowhere")


@pytest.mark.parametrize("none", [None, ""])
def test_without_a_token_only_loopback_is_served(none: str | None) -> None:
    assert token(settings(none)) is None
    require_token_beyond_loopback("127.0.0.1", settings(none), NO_DATABASE)
    # Whether the database has any cannot be seen here: that is no reason to listen.
    with pytest.raises(ConfigurationError, match="APARELLA_TOKEN"):
        require_token_beyond_loopback(EVERYWHERE, settings(none), NO_DATABASE)
    require_token_beyond_loopback(EVERYWHERE, settings("secret"), NO_DATABASE)


def test_an_open_api_stays_on_loopback() -> None:
    chosen = settings(None).model_copy(update={"anonymous": True})
    require_token_beyond_loopback("::1", chosen, NO_DATABASE)
    with pytest.raises(ConfigurationError, match="APARELLA_ANONYMOUS"):
        require_token_beyond_loopback(EVERYWHERE, chosen, NO_DATABASE)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/v1/jobs", "read"),
        ("HEAD", "/v1/jobs/7", "read"),
        ("POST", "/v1/jobs", "submit"),
        ("POST", "/v1/jobs/7/cancel", "submit"),
        ("POST", "/v1/collections/list/records", "submit"),
        ("POST", "/v1/pairs/known", "submit"),
        ("DELETE", "/v1/pairs/known", "admin"),
        ("POST", "/v1/models/m/import", "admin"),
        ("POST", "/v1/models/rollback", "admin"),
        ("GET", "/v1/tokens", "admin"),
        ("HEAD", "/v1/tokens", "admin"),
        ("GET", "/v1/tokens/x", "admin"),
        ("PUT", "/v1/jobs", "admin"),
        ("POST", "/v1/what/nobody/entered", "admin"),
        ("POST", "/v1/jobs/7/cancel/more", "admin"),
    ],
)
def test_what_a_request_needs(method: str, path: str, expected: str) -> None:
    assert scopes.needed(method, path) == expected


def test_each_scope_allows_what_those_before_it_do() -> None:
    table = [[scopes.covers(given, wanted) for wanted in SCOPES] for given in SCOPES]
    assert table == [[True, False, False], [True, True, False], [True, True, True]]


def test_a_taken_port_is_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"{port}: another program listens"):
            listen("127.0.0.1", port)


def test_a_foreign_address_is_a_sentence() -> None:
    with pytest.raises(ConfigurationError, match="no address of this machine"):
        listen("192.0.2.1", 0)


def test_port_zero_takes_a_free_one() -> None:
    with listen("127.0.0.1", 0) as opened:
        assert opened.getsockname()[1] > 0
