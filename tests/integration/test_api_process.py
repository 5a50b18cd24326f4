"""The API as a process of its own, over real sockets."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
import sqlalchemy as sa

from aparella.db import jobs
from aparella.db.engine import transaction
from aparella.settings import Settings
from aparella.workers.context import Context
from tests.integration import drive

LISTENS = re.compile(r"listens on (http://127\.0\.0\.1:(\d+))")


def command(settings: Settings, *arguments: str) -> subprocess.Popen[str]:
    environ = {name: value for name, value in os.environ.items() if "APARELLA" not in name}
    environ |= {"DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url}
    for name in ("anonymous", "uploads_at_once", "exports_at_once", "writes_at_once"):
        environ[f"APARELLA_{name.upper()}"] = str(getattr(settings, name))
    if settings.token is not None:
        environ["APARELLA_TOKEN"] = settings.token.get_secret_value()
    return subprocess.Popen(
        [sys.executable, "-m", "aparella.api", *arguments],
        env=environ,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def serving(settings: Settings) -> Iterator[tuple[str, list[str]]]:
    """A server on a free port: its URL, and the lines that it writes."""
    process = command(settings, "--port", "0")
    assert process.stderr is not None
    lines = [process.stderr.readline()]
    reader = threading.Thread(target=lines.extend, args=(process.stderr,))
    reader.start()
    try:
        found = LISTENS.search(lines[0])
        assert found, lines
        yield found[1], lines
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        reader.join(5)
        process.stderr.close()


@pytest.fixture
def url(settings: Settings) -> Iterator[str]:
    with serving(settings) as (found, _):
        yield found


def count(db: sa.Engine, table: str) -> int:
    with transaction(db) as connection:
        query = sa.select(sa.func.count()).select_from(sa.table(table))
        return int(connection.execute(query).scalar_one())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--host", "0.0.0.0", "--port", "0"], "APARELLA_TOKEN"),  # noqa: S104
        (["--host", "nowhere.invalid", "--port", "0"], "APARELLA_TOKEN"),
        (["--host", "192.0.2.1"], "APARELLA_TOKEN"),
    ],
)
def test_it_does_not_listen_to_everybody_without_a_token(
    settings: Settings, arguments: list[str], sentence: str
) -> None:
    settings.anonymous = False
    process = command(settings, *arguments)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.startswith("aparella: ")
    assert sentence in errors
    assert len(errors.splitlines()) == 1


def test_a_taken_port_is_a_sentence(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        process = command(settings, "--port", str(other.getsockname()[1]))
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "another program listens" in errors
    assert len(errors.splitlines()) == 1


def test_it_says_one_line_and_stops_quietly(settings: Settings) -> None:
    with serving(settings) as (url, lines):
        assert httpx.get(f"{url}/readyz").json()["status"] == "ready"
        assert httpx.get(f"{url}/v1/nowhere").status_code == 404
    assert len(lines) == 1


def test_an_upload_that_breaks_off_leaves_nothing(db: sa.Engine, url: str) -> None:
    address = url.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1]))) as client:
        client.sendall(
            b"POST /v1/collections/list/records?key=id&text=name HTTP/1.1\r\nHost: x\r\n"
            b"Content-Length: 9999999\r\n\r\nid,name\n1,AGULLA\n"
        )
        time.sleep(0.3)
    answer = httpx.get(f"{url}/v1/collections")
    time.sleep(0.3)
    assert answer.json() == {"items": []}
    assert count(db, "job") == count(db, "upload_row") == count(db, "collection") == 0


def test_a_refusal_reaches_a_client_that_is_still_sending(url: str) -> None:
    def blocks() -> Iterator[bytes]:
        for _ in range(200):
            yield b"1,AGULLA\n" * 20_000

    answer = httpx.post(f"{url}/v1/collections/list/records?key=id", content=blocks(), timeout=30)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "text"


def test_an_export_that_fails_midway_does_not_end_as_if_whole(db: sa.Engine, url: str) -> None:
    drive.upload(db, "list", [])
    with transaction(db) as connection:
        connection.execute(
            sa.text(
                "INSERT INTO record (collection_id, key, text, text_hash, cleaner_version) "
                "SELECT 1, i, repeat('x', 4000), decode(md5(i::text), 'hex'), 1 "
                "FROM generate_series(1, 20000) i"
            )
        )
    job_id = drive.match(db, "list", "list", k=10)
    with transaction(db) as connection:
        jobs.end(connection, job_id, "succeeded")
    received = 0
    with httpx.stream("GET", f"{url}/v1/jobs/{job_id}/matches/export") as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):  # noqa: PT012  (the break is in the loop)
            for block in answer.iter_raw():
                if not received:
                    with transaction(db) as connection:
                        connection.execute(sa.text("ALTER TABLE match RENAME TO gone"))
                received += len(block)
    assert 0 < received < 20_000 * 4_000
    # The server goes on.
    assert httpx.get(f"{url}/livez").status_code == 200


def test_a_job_is_taken_in_milliseconds_while_redis_is_down(
    context: Context, settings: Settings
) -> None:
    drive.imported(context, "list", [("1", "AGULLA")])
    settings.redis_url = "redis://127.0.0.1:1/0"
    wanted = {"kind": "match", "source": "list", "target": "list"}
    with serving(settings) as (url, _), httpx.Client(base_url=url) as client:
        taken = []
        for _ in range(20):
            started = time.perf_counter()
            assert client.post("/v1/jobs", json=wanted).status_code == 202
            taken.append(time.perf_counter() - started)
    # A median of about 15 ms on one busy core; a broker's connection timeout would be seconds.
    assert sorted(taken)[10] < 0.25
