"""Too much at once is answered 429 with Retry-After, over real sockets and real concurrency."""

import socket
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import httpx
import pytest
import sqlalchemy as sa

from aparella.api.throttle import kind_of
from aparella.client import Client
from aparella.db import jobs, tokens
from aparella.db.engine import transaction
from aparella.settings import Settings
from aparella.workers.context import Context
from tests.integration import drive
from tests.integration.test_api_process import serving

BODY = b"id,name\n1,AGULLA\n"
PATH = "/v1/collections/list/records?key=id&text=name"


def begin_upload(url: str, token: str | None = None) -> socket.socket:
    """An upload that the server has begun to read, and whose body has not come yet."""
    host, port = url.removeprefix("http://").split(":")
    client = socket.create_connection((host, int(port)), timeout=20)
    lines = [f"POST {PATH} HTTP/1.1", "Host: x", f"Content-Length: {len(BODY)}"]
    lines += ["Expect: 100-continue", "Connection: close"]
    lines += [f"Authorization: Bearer {token}"] if token else []
    client.sendall("\r\n".join([*lines, "", ""]).encode())
    # The server says so once it wants the body: by then the upload is counted.
    assert b" 100 " in client.recv(1_000)
    return client


def end_upload(client: socket.socket) -> bytes:
    client.sendall(BODY)
    answer = b""
    while block := client.recv(65_536):
        answer += block
    client.close()
    return answer


def test_uploads(settings: Settings, db: sa.Engine) -> None:
    settings.uploads_at_once = 2
    with transaction(db) as connection:
        other = tokens.create(connection, "other", "submit")
    with serving(settings) as (url, _):
        first, second = begin_upload(url), begin_upload(url)
        refused = httpx.post(url + PATH, content=BODY)
        assert refused.status_code == 429
        assert refused.headers["Retry-After"] == "2"
        assert refused.json()["code"] == "too_many_requests"
        assert "2 files are being uploaded" in refused.json()["detail"]
        # Whoever has another token is not shut out, nor is what is no upload.
        assert b" 202 " in end_upload(begin_upload(url, other))
        assert httpx.get(f"{url}/v1/collections").status_code == 200
        assert b" 202 " in end_upload(first)
        assert httpx.post(url + PATH, content=BODY).status_code == 202
        # One that breaks off gives its place back.
        second.close()
        with Client(url) as client:
            assert client.collections()
        for _ in range(2):
            assert b" 202 " in end_upload(begin_upload(url))


def test_an_export_in_work_keeps_its_place(db: sa.Engine, settings: Settings) -> None:
    drive.upload(db, "list", [])
    with transaction(db) as connection:
        connection.execute(
            sa.text(
                "INSERT INTO record (collection_id, key, text, text_hash, cleaner_version) "
                "SELECT 1, i, repeat('x', 4000), decode(md5(i::text), 'hex'), 1 "
                "FROM generate_series(1, 6000) i"
            )
        )
    job_id = drive.match(db, "list", "list", k=10)
    with transaction(db) as connection:
        jobs.end(connection, job_id, "succeeded")
    settings.exports_at_once = 1
    with serving(settings) as (url, _):
        path = f"{url}/v1/jobs/{job_id}/matches/export"
        with httpx.stream("GET", path) as slow:  # nobody reads its 24 MB
            assert slow.status_code == 200
            assert httpx.get(path).status_code == 429
        # The place is free as soon as the server sees that the reader has left.
        with httpx.Client(transport=httpx.HTTPTransport(retries=0)) as client:
            for _ in range(2_000):
                with client.stream("GET", path) as answer:
                    if answer.status_code == 200:
                        break
            else:
                pytest.fail("the place of an export that was left is never free")


def test_many_who_enqueue_at_once(context: Context, db: sa.Engine, settings: Settings) -> None:
    drive.imported(context, "list", [("1", "AGULLA")])
    settings.writes_at_once = 2
    people, each = 24, 4
    gate = Barrier(people)

    with serving(settings) as (url, lines):

        def ask(_: int) -> list[int]:
            request = {"kind": "embed", "collection": "list"}
            with httpx.Client(base_url=url, timeout=60) as client:
                gate.wait()
                return [client.post("/v1/jobs", json=request).status_code for _ in range(each)]

        with ThreadPoolExecutor(people) as pool:
            codes = [code for found in pool.map(ask, range(people)) for code in found]
        assert len(lines) == 1  # nothing was worth a line in the log
    taken = codes.count(202)
    assert set(codes) == {202, 429}
    assert codes.count(429) + taken == people * each
    with transaction(db) as connection:
        query = "SELECT count(*) FROM job WHERE kind = 'embed'"
        assert connection.execute(sa.text(query)).scalar_one() == taken


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/v1/collections/list/records", "uploads"),
        ("POST", "/v1/models/m/import", "uploads"),
        ("POST", "/v1/pairs/known", "uploads"),
        ("POST", "/v1/pairs/known/decisions", "writes"),
        ("POST", "/v1/jobs", "writes"),
        ("DELETE", "/v1/pairs/known", "writes"),
        ("GET", "/v1/jobs/7/matches/export", "exports"),
        ("GET", "/v1/models/m/2/export", "exports"),
        ("GET", "/v1/jobs/7/matches", "reads"),
    ],
)
def test_what_a_request_counts_as(method: str, path: str, expected: str) -> None:
    assert kind_of(method, path) == expected
