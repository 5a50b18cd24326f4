"""Where the API may listen, and without a token."""

import socket

import pytest
from pydantic import SecretStr

from aparella.api.__main__ import listen
from aparella.api.auth import is_loopback, require_token_beyond_loopback, token
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


@pytest.mark.parametrize("none", [None, ""])
def test_without_a_token_only_loopback_is_served(none: str | None) -> None:
    assert token(settings(none)) is None
    require_token_beyond_loopback("127.0.0.1", settings(none))
    with pytest.raises(ConfigurationError, match="APARELLA_TOKEN"):
        require_token_beyond_loopback(EVERYWHERE, settings(none))
    require_token_beyond_loopback(EVERYWHERE, settings("secret"))


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
