"""No secret in logs, errors, process lists or URLs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from pydantic import SecretStr

from aparella.api.app import create_app
from aparella.errors import ConfigurationError
from aparella.settings import Settings, load
from tests.integration.test_api_process import serving

SECRET = "hunter2-7f3a"
MODULES = (
    "aparella.db.migrate",
    "aparella.api",
    "aparella.api.tokens list",
    "aparella.workers",
    "aparella.workers.reconciler",
)


@pytest.mark.parametrize("module", MODULES)
def test_each_process_says_a_wrong_url_in_a_sentence_without_it(module: str) -> None:
    url = f"postgresql://me:{SECRET}@host:port/db"
    done = subprocess.run(
        [sys.executable, "-m", *module.split()],
        env={**os.environ, "DATABASE_URL": url, "REDIS_URL": "redis://127.0.0.1:1/0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    shown = done.stdout + done.stderr
    assert shown.startswith("aparella: The variable DATABASE_URL is wrong: it is no URL"), shown
    assert (done.returncode, len(shown.splitlines())) == (1, 1), shown
    assert SECRET not in shown


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        ("DATABASE_URL", f"mysql://me:{SECRET}@host/db"),
        ("DATABASE_URL", SECRET),
        ("DATABASE_SESSION_URL", SECRET),
        ("REDIS_URL", f"redis://:{SECRET}/1@h:1/0"),
        ("REDIS_URL", f"http://:{SECRET}@h:1/0"),
    ],
)
def test_a_wrong_url_is_a_sentence_without_it(
    monkeypatch: pytest.MonkeyPatch, variable: str, url: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://h/d")
    monkeypatch.setenv(variable, url)
    with pytest.raises(ConfigurationError, match=f"{variable} is wrong: it is no URL") as caught:
        load()
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None  # whose words have the value


def test_settings_do_not_show_their_secrets() -> None:
    url = f"postgresql://me:{SECRET}@h/d"
    broker = f"redis://:{SECRET}@h/0"
    settings = Settings(DATABASE_URL=url, DATABASE_SESSION_URL=url, REDIS_URL=broker, token=SECRET)
    assert SECRET not in f"{settings!r} {settings!s}"


def test_a_process_shows_none_of_them(settings: Settings) -> None:
    """Its command line, its log and its answers, while the database refuses its password."""
    settings.token = SecretStr(SECRET + "-token")
    url = sa.make_url(settings.database_url)
    settings.database_url = url.set(password=SECRET + "-db").render_as_string(hide_password=False)
    settings.redis_url = f"redis://:{SECRET}-redis@127.0.0.1:1/0"
    with serving(settings) as (url_, lines), httpx.Client(base_url=url_) as client:
        headers = {"Authorization": f"Bearer {SECRET}-token"}
        answers = [
            client.get("/readyz"),
            client.get("/v1/jobs", headers=headers),
            client.get("/v1/jobs", headers={"Authorization": f"Bearer {SECRET}-wrong"}),
            client.get(f"/v1/{SECRET}", params={"token": SECRET}),
            client.post("/v1/tokens", headers=headers, json={"name": "x", "scope": "all"}),
        ]
        assert [answer.status_code for answer in answers] == [503, 503, 401, 401, 422]
        port = httpx.URL(url_).port
        (process,) = (
            p
            for p in psutil.Process().children(recursive=True)
            if any(c.laddr.port == port for c in p.net_connections(kind="inet"))
        )
        shown = " ".join(process.cmdline())
    shown += "".join(lines) + "".join(answer.text + str(answer.headers) for answer in answers)
    assert "readyz" in shown
    assert SECRET not in shown


def parameters(document: dict[str, Any]) -> set[str]:
    return {
        parameter["name"].lower()
        for item in document["paths"].values()
        for operation in item.values()
        for parameter in operation.get("parameters", [])
    }


def fields(document: dict[str, Any]) -> set[str]:
    schemas: dict[str, Any] = document["components"]["schemas"]
    requests = {name for name in schemas if name.endswith("Request") or name == "By"}
    assert len(requests) >= 7
    return {name.lower() for one in requests for name in schemas[one].get("properties", {})}


@pytest.fixture
def document(settings: Settings) -> dict[str, Any]:
    with TestClient(create_app(settings)) as api:
        found: dict[str, Any] = api.get("/openapi.json").json()
    return found


def test_no_url_has_a_place_for_a_secret(document: dict[str, Any]) -> None:
    names = parameters(document)
    assert len(names) > 15
    # `key` is a column's name, and the idempotency key nobody's secret.
    assert not {n for n in names if any(w in n for w in ("token", "password", "secret", "auth"))}


def test_the_server_is_given_no_address_to_fetch_from(document: dict[str, Any]) -> None:
    """SSRF: there is nothing in the interface that takes a URL, a host or a path of the server's.

    Whoever adds such a field finds this test, and SECURITY.md, which says what it has to check.
    """
    words = ("url", "uri", "href", "host", "endpoint", "webhook", "callback", "address", "path")
    asked = parameters(document) | fields(document)
    assert len(asked) > 25
    assert {name for name in asked if any(word in name for word in words)} == set()
    assert '"format": "uri"' not in json.dumps(document["paths"])


def test_a_file_s_name_is_opened_nowhere(settings: Settings, tmp_path: Path) -> None:
    """The one path-like thing that a client gives is for messages, and for its suffix."""
    existing = tmp_path / "list.csv"
    existing.write_text("id,name\n1,FROM THE SERVER\n")
    with TestClient(create_app(settings)) as api:
        for name in (str(existing), "../../etc/passwd", f"file://{existing}", "|id"):
            answer = api.post(
                "/v1/collections/list/records",
                params={"key": "id", "text": "name", "filename": name, "format": "csv"},
                content=b"",
            )
            assert answer.status_code == 422
            assert "empty" in answer.json()["detail"]
