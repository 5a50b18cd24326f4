"""Nobody gets in without a token, and nobody further than its scope."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from pydantic import SecretStr

from aparella.api import auth
from aparella.api.app import create_app
from aparella.db import tokens
from aparella.db.engine import transaction
from aparella.settings import Settings
from tests.integration.test_api_process import serving

OWN = "très-secret"
METHODS = ("get", "post", "put", "patch", "delete")


@pytest.fixture
def api(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr(auth, "REMEMBERED_SECONDS", 0.0)
    settings.token = SecretStr(OWN)
    with TestClient(create_app(settings)) as client:
        yield client


def bearer(token: str) -> dict[bytes, bytes]:
    return {b"Authorization": f"Bearer {token}".encode()}


def secret_of(token: str) -> str:
    """What follows the handle; it may have underscores of its own."""
    return token.removeprefix(tokens.PREFIX).split("_", 1)[1]


def routes(api: TestClient) -> list[tuple[str, str]]:
    """Every method and path of the OpenAPI document, with values in the place of parameters."""
    paths: dict[str, Any] = api.get("/openapi.json", headers=bearer(OWN)).json()["paths"]
    assert len(paths) > 20
    found = [(m, path) for path, item in paths.items() for m in item if m in METHODS]
    return [(m.upper(), re.sub(r"\{\w*(id|version)\}|\{\w+\}", "1", path)) for m, path in found]


def code(answer: httpx2.Response) -> str:
    assert answer.headers["Content-Type"] == "application/problem+json"
    return str(answer.json()["code"])


def test_every_route_asks_for_a_token(api: TestClient) -> None:
    protected = [
        *(route for route in routes(api) if route[1] not in ("/livez", "/readyz")),
        *(("GET", path) for path in ("/docs", "/redoc", "/openapi.json", "/", "/v1", "/nowhere")),
        ("POST", "/livez/"),
        ("OPTIONS", "/v1/jobs"),
    ]
    for method, path in protected:
        answer = api.request(method, path)
        assert (answer.status_code, code(answer)) == (401, "unauthorized"), (method, path)
        assert "WWW-Authenticate" in answer.headers
    for path in ("/livez", "/readyz"):
        assert api.get(path).status_code == 200


def test_a_wrong_token_is_none(api: TestClient) -> None:
    made_up = ["aparella_0123456789abcdef_" + 43 * char for char in "A\x00"]
    for wrong in (
        *("Bearer wrong", "Bearer", "Bearer ", "Basic dHLDqHM=", OWN, f"Bearer {OWN}x"),
        *(f"Bearer {token}" for token in made_up),
    ):
        answer = api.get("/v1/jobs", headers={b"Authorization": wrong.encode()})
        assert code(answer) == "unauthorized", wrong


def test_a_token_of_the_database_lets_in_until_it_is_revoked(api: TestClient) -> None:
    made = api.post("/v1/tokens", headers=bearer(OWN), json={"name": "bi", "scope": "read"})
    assert made.status_code == 201
    token = made.json()["token"]
    assert api.get("/v1/jobs", headers=bearer(token)).status_code == 200
    # One character of the secret is another one.
    assert code(api.get("/v1/jobs", headers=bearer(token[:-1]))) == "unauthorized"
    other = token[:-1] + ("A" if token[-1] != "A" else "B")
    assert code(api.get("/v1/jobs", headers=bearer(other))) == "unauthorized"

    assert code(api.post("/v1/tokens", headers=bearer(OWN), json=made.json())) == "invalid"
    again = api.post("/v1/tokens", headers=bearer(OWN), json={"name": "bi", "scope": "admin"})
    assert (again.status_code, code(again)) == (409, "conflict")

    (listed,) = api.get("/v1/tokens", headers=bearer(OWN)).json()["items"]
    assert (listed["name"], listed["scope"]) == ("bi", "read")
    assert listed["created_by"] == "APARELLA_TOKEN"
    assert listed["handle"] in token
    assert secret_of(token) not in str(listed)

    assert api.delete("/v1/tokens/bi", headers=bearer(OWN)).status_code == 204
    assert code(api.get("/v1/jobs", headers=bearer(token))) == "unauthorized"
    assert code(api.delete("/v1/tokens/bi", headers=bearer(OWN))) == "not_found"


def test_a_token_is_stored_as_its_hash_only(api: TestClient, db: sa.Engine) -> None:
    made = api.post("/v1/tokens", headers=bearer(OWN), json={"name": "bi", "scope": "read"})
    secret = secret_of(made.json()["token"])
    with transaction(db) as connection:
        row = connection.execute(sa.text("SELECT token::text, digest FROM token")).one()
    assert secret not in row[0]
    assert len(row.digest) == 32


def test_each_route_needs_its_scope(api: TestClient, db: sa.Engine) -> None:
    with transaction(db) as connection:
        given = {scope: tokens.create(connection, scope, scope) for scope in tokens.SCOPES}
    expected = {
        ("POST", "/v1/collections/1/records"): "submit",
        ("POST", "/v1/jobs"): "submit",
        ("POST", "/v1/jobs/1/cancel"): "submit",
        ("POST", "/v1/jobs/1/retry"): "submit",
        ("POST", "/v1/jobs/1/pause"): "submit",
        ("POST", "/v1/jobs/1/resume"): "submit",
        ("POST", "/v1/jobs/1/review/next"): "submit",
        ("POST", "/v1/jobs/1/review/return"): "submit",
        ("POST", "/v1/decisions"): "submit",
        ("POST", "/v1/decisions/import"): "submit",
        ("POST", "/v1/pairs/1"): "submit",
        ("POST", "/v1/pairs/1/decisions"): "submit",
        ("GET", "/v1/tokens"): "admin",
    }
    for route in routes(api):
        if route[1] in auth.OPEN:
            continue
        wanted = expected.get(route) or ("read" if route[0] == "GET" else "admin")
        for scope, token in given.items():
            answer = api.request(*route, headers=bearer(token))
            if tokens.SCOPES.index(scope) >= tokens.SCOPES.index(wanted):
                assert answer.status_code not in (401, 403), (route, scope)
            else:
                assert (answer.status_code, code(answer)) == (403, "forbidden"), (route, scope)
                assert f"scope {wanted}" in answer.json()["detail"]


@pytest.mark.parametrize(
    "request_",
    [
        {"kind": "promote", "model": "m"},
        {"kind": "train", "name": "m", "pairs": ["p"], "promote": True},
    ],
)
def test_a_promotion_needs_an_administrator(
    api: TestClient, db: sa.Engine, request_: dict[str, Any]
) -> None:
    with transaction(db) as connection:
        token = tokens.create(connection, "nightly", "submit")
    assert code(api.post("/v1/jobs", headers=bearer(token), json=request_)) == "forbidden"
    assert code(api.post("/v1/jobs", headers=bearer(OWN), json=request_)) != "forbidden"


def test_a_browser_reads_the_documentation_with_the_token_as_password(api: TestClient) -> None:
    assert "Basic" in api.get("/docs").headers["WWW-Authenticate"]
    right = httpx2.BasicAuth("me", OWN)
    assert api.get("/docs", auth=right).status_code == 200
    # Nothing else takes it: a browser would send it along with a foreign page's form.
    assert api.get("/v1/jobs", auth=right).status_code == 401


def test_without_any_token_nobody_is_let_in(settings: Settings) -> None:
    settings.anonymous = False
    with TestClient(create_app(settings)) as api:
        assert api.get("/v1/jobs").status_code == 401


def test_while_the_database_is_away_the_own_token_is_known_and_others_are_asked_to_wait(
    settings: Settings,
) -> None:
    settings.token = SecretStr(OWN)
    settings.database_url = "postgresql://127.0.0.1:1/nowhere"
    with TestClient(create_app(settings)) as api:
        answer = api.get("/v1/nowhere", headers=bearer("aparella_0123456789abcdef_" + 43 * "A"))
        assert (answer.status_code, code(answer)) == (503, "service_unavailable")
        assert api.get("/v1/nowhere", headers=bearer(OWN)).status_code == 404


def command(settings: Settings, module: str, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if "APARELLA" not in name}
    return subprocess.run(
        [sys.executable, "-m", module, *words],
        env={**environ, "DATABASE_URL": settings.database_url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_first_token_comes_from_the_database(settings: Settings, db: sa.Engine) -> None:
    beyond = command(settings, "aparella.api", "--host", "192.0.2.1")
    assert beyond.returncode == 1
    assert "aparella.api.tokens create" in beyond.stderr

    made = command(settings, "aparella.api.tokens", "create", "first")
    with transaction(db) as connection:
        assert tokens.find(connection, made.stdout.strip()) == ("first", "admin")
    # There is one now, so what keeps it from listening is only that the address is not ours.
    beyond = command(settings, "aparella.api", "--host", "192.0.2.1")
    assert "no address of this machine" in beyond.stderr

    again = command(settings, "aparella.api.tokens", "create", "first")
    assert (again.returncode, len(again.stderr.splitlines())) == (1, 1)
    assert command(settings, "aparella.api.tokens", "revoke", "first").returncode == 0
    assert "revoked" in command(settings, "aparella.api.tokens", "list").stdout


def test_comparisons_of_secrets_take_constant_time() -> None:
    """By the source: time itself cannot be measured so finely in a test."""
    for module in (auth, tokens):
        source = Path(str(module.__file__)).read_text()
        assert "hmac.compare_digest(" in source
        assert not re.search(r"(digest|token|given|_own)\w*\s*==", source)


def test_the_command_makes_lists_and_revokes(settings: Settings) -> None:
    settings.token = SecretStr(OWN.encode("ascii", "ignore").decode())
    own = settings.token.get_secret_value()
    with serving(settings) as (url, _):

        def aparella(*words: str, token: str = own) -> subprocess.CompletedProcess[str]:
            code = "from aparella.client.cli import main; main()"
            return subprocess.run(
                [sys.executable, "-c", code, "--url", url, *words],
                env={**os.environ, "APARELLA_TOKEN": token},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )

        made = aparella("--json", "token", "create", "bi", "--scope", "read")
        token = str(json.loads(made.stdout)["token"])
        assert aparella("jobs", token=token).returncode == 0
        refused = aparella("token", "list", token=token)
        assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
        assert "needs a token of the scope admin" in refused.stderr
        listed = aparella("token", "list").stdout
        assert "bi" in listed
        assert secret_of(token) not in listed
        assert "revoked" in aparella("token", "revoke", "bi").stdout
