"""The HTTP interface over a real database: no worker runs, so jobs stay as they were asked for."""

import gzip
import io
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from aparella.api.app import create_app
from aparella.api.routes import matches as matches_routes
from aparella.db import jobs, matches
from aparella.db.engine import transaction
from aparella.settings import Settings
from aparella.workers import engine
from aparella.workers.context import Context
from tests.integration import drive

ROWS = b"id,name\n1,AGULLA 20G\n2,SONDA FOLEY\n"
MATCH = {"kind": "match", "source": "list", "target": "catalogue"}


@pytest.fixture
def filled(context: Context, api: TestClient) -> TestClient:
    """With the collections `list` and `catalogue`."""
    drive.imported(context, "list", [("1", "AGULLA 20G"), ("2", "SONDA FOLEY"), ("3", "GUANT")])
    drive.imported(context, "catalogue", [(f"C{i}", f"AGULLES, AGULLA {i}G") for i in range(9)])
    return api


def upload(api: TestClient, content: bytes, name: str = "list", **params: Any) -> httpx2.Response:
    params = {"key": "id", "text": "name", "filename": "buyers.csv", **params}
    return api.post(f"/v1/collections/{name}/records", params=params, content=content)


def count(db: sa.Engine, table: str) -> int:
    with transaction(db) as connection:
        query = sa.select(sa.func.count()).select_from(sa.table(table))
        return int(connection.execute(query).scalar_one())


def problem(response: httpx2.Response, status: int) -> Any:
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    document = response.json()
    assert document["type"] == "about:blank"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"].endswith((".", "COLUMN")), document["detail"]
    assert "Traceback" not in response.text
    return document


# --- uploads --------------------------------------------------------------------------------------


def test_an_upload_becomes_an_import_job(context: Context, api: TestClient) -> None:
    answer = upload(api, ROWS)
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert (job["kind"], job["state"], job["errors"]) == ("import", "queued", 0)
    assert job["params"] == {
        "collection": "list",
        "filename": "buyers.csv",
        "mode": "replace",
        "strict": False,
        "columns": {"key": "id", "texts": ["name"], "attributes": []},
    }
    assert [(stage["name"], stage["state"]) for stage in job["stages"]] == [
        ("clean", "running"),
        ("apply", "waiting"),
    ]
    drive.run(context)
    ended = api.get(answer.headers["Location"]).json()
    assert ended["state"] == "succeeded"
    assert (ended["summary"]["rows"], ended["summary"]["new"]) == (2, 2)
    assert ended["progress"]["done"] == ended["progress"]["total"] > 0
    assert ended["rate"] > 0
    assert ended["eta_seconds"] is None
    (collection,) = api.get("/v1/collections").json()["items"]
    assert (collection["name"], collection["records"], collection["edition"]) == ("list", 2, 1)
    assert api.get("/v1/collections/list").json() == collection


def parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"id": [1, 2], "name": ["AGULLA", "SONDA"], "n": [5, None]}), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "params", "headers"),
    [
        (gzip.compress(ROWS, mtime=0), {}, {}),
        (gzip.compress(ROWS, mtime=0), {}, {"Content-Encoding": "gzip"}),
        (b'{"id": 1, "name": "AGULLA"}\n{"id": 2, "name": "SONDA"}\n', {"format": "ndjson"}, {}),
        (parquet(), {"attribute": "n"}, {}),
        (ROWS.replace(b",", b";"), {"delimiter": ";"}, {}),
        ("id,name\n1,ESTÈRIL\n2,SONDA\n".encode("latin-1"), {"encoding": "latin-1"}, {}),
    ],
)
def test_every_format_is_read(
    context: Context, api: TestClient, content: bytes, params: Any, headers: Any
) -> None:
    given = {"key": "id", "text": "name", **params}
    answer = api.post(
        "/v1/collections/list/records", params=given, content=content, headers=headers
    )
    assert answer.status_code == 202, answer.text
    drive.run(context)
    job = api.get(answer.headers["Location"]).json()
    assert (job["state"], job["summary"]["new"]) == ("succeeded", 2)


@pytest.mark.parametrize(
    ("content", "params", "code", "field", "words"),
    [
        (b"code,name\n1,A\n", {}, "unknown_column", "key", "'id'"),
        (b"id,name,id\n1,A,2\n", {}, "duplicate_column", "key", "2 columns"),
        (b"id|name\n1|A\n", {}, "wrong_delimiter", "delimiter", "--delimiter '|'"),
        (b"", {}, "empty_file", None, "empty"),
        (b"id,name\n", {}, "empty_file", None, "buyers.csv"),
        (b"not a parquet", {"format": "parquet"}, "not_parquet", None, "buyers.csv"),
        (gzip.compress(ROWS * 9_999, mtime=0)[:-20], {}, "truncated_gzip", None, "cut short"),
        (ROWS, {"encoding": "klingon"}, "unknown_encoding", "encoding", "klingon"),
        (b'id,name\n1,"' + b"x" * 17_000_000, {}, "unclosed_quote", None, "line 2"),
    ],
)
def test_a_file_that_is_wrong_as_a_whole_leaves_nothing(
    db: sa.Engine,
    api: TestClient,
    content: bytes,
    params: Any,
    code: str,
    field: str | None,
    words: str,
) -> None:
    document = problem(upload(api, content, **params), 422)
    assert document["code"] == code, document
    assert words in document["detail"]
    assert [error["field"] for error in document["errors"]] == ([field] if field else [])
    tables = ("collection", "upload", "upload_row", "job", "chunk")
    assert {table: count(db, table) for table in tables} == dict.fromkeys(tables, 0)


def test_rows_that_are_wrong_by_themselves_become_the_jobs_errors(
    context: Context, api: TestClient
) -> None:
    rows = [
        b"id,name",
        b"1,AGULLA",
        b"1,REPETIDA",
        b"3,",
        b"4,SONDA,SOBRA",
        b"5,EST\xc9RIL",
        b"6,NUL\0",
        b"7," + b"x" * 10_000_000,
        b",SENSE CLAU",
        b"9,GUANT",
    ]
    answer = upload(api, b"\n".join(rows))
    assert answer.status_code == 202, answer.text
    drive.run(context)
    job = api.get(answer.headers["Location"]).json()
    assert job["state"] == "succeeded_with_errors"
    assert (job["summary"]["new"], job["summary"]["refused"], job["errors"]) == (2, 7, 7)
    page = api.get(f"/v1/jobs/{job['id']}/errors", params={"limit": 5}).json()
    rest = api.get(
        f"/v1/jobs/{job['id']}/errors", params={"limit": 5, "after": page["next"]}
    ).json()
    assert len(page["items"]) == 5
    assert rest["next"] is None
    found = {(error["row"], error["code"]) for error in page["items"] + rest["items"]}
    assert found == {
        (3, "duplicate_key"),
        (4, "empty_text"),
        (5, "ragged_row"),
        (6, "undecodable"),
        (7, "nul_character"),
        (8, "cell_too_long"),
        (9, "empty_key"),
    }
    assert all(error["message"] for error in page["items"])


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/collections/list/records", ["key", "text"]),
        ("/v1/collections/list/records?key=id&text=name&colour=red", ["colour"]),
        ("/v1/collections/list/records?key=id&text=name&mode=append", ["mode"]),
        ("/v1/collections/list/records?key=id&key=name&text=name", ["key"]),
        ("/v1/collections/list/records?key=&text=name", ["key"]),
        ("/v1/collections/list/records?key=id&text=name&filename=a%00.csv", ["filename"]),
        ("/v1/collections/a%20b/records?key=id&text=name", ["name"]),
        ("/v1/collections/a%00b/records?key=id&text=name", ["name"]),
    ],
)
def test_wrong_parameters_are_named(
    db: sa.Engine, api: TestClient, path: str, fields: list[str]
) -> None:
    document = problem(api.post(path, content=ROWS), 422)
    assert [error["field"] for error in document["errors"]] == fields
    assert count(db, "collection") == 0


def test_a_body_that_is_not_encoded_as_it_says(db: sa.Engine, api: TestClient) -> None:
    path = "/v1/collections/list/records?key=id&text=name"
    for encoding in ("gzip", "br"):
        answer = api.post(path, content=ROWS, headers={"Content-Encoding": encoding})
        assert problem(answer, 422)["errors"][0]["field"] == "Content-Encoding"
    assert count(db, "job") == 0


def test_a_body_over_the_limit(db: sa.Engine, settings: Settings) -> None:
    settings.max_upload_mb = settings.max_unpacked_mb = 1
    rows = ROWS + b"3,GUANT DE NITRIL\n" * 70_000

    def blocks() -> Iterator[bytes]:
        yield rows

    with TestClient(create_app(settings)) as api:
        for content in (rows, blocks()):
            answer = api.post("/v1/collections/list/records?key=id&text=name", content=content)
            assert "1,000,000" in problem(answer, 413)["detail"]
        bomb = problem(upload(api, gzip.compress(rows)), 422)
        assert bomb["code"] == "too_large"
        assert problem(api.post("/v1/jobs", json={**MATCH, "x": "y" * 70_000}), 413)
        assert problem(api.post("/v1/jobs", content=blocks()), 413)
    assert count(db, "job") == count(db, "upload_row") == 0


def test_a_gzip_bomb_ends_at_the_limit(db: sa.Engine, settings: Settings) -> None:
    settings.max_unpacked_mb = 2
    member = gzip.compress(b"3,GUANT DE NITRIL\n" * 1_000_000, 9)
    bomb = gzip.compress(ROWS) + member * 100  # 1.7 GB in 5 MB
    assert len(bomb) < settings.max_upload_mb * 1_000_000
    with TestClient(create_app(settings)) as api:
        started = time.monotonic()
        refusal = problem(upload(api, bomb), 422)
        taken = time.monotonic() - started
    assert refusal["code"] == "too_large"
    assert "2,000,000 bytes" in refusal["detail"]
    assert taken < 30  # all of it would take an hour
    assert count(db, "job") == count(db, "upload_row") == 0


@pytest.mark.parametrize(
    ("limit", "value", "code"),
    [("max_rows", 1, "too_many_rows"), ("max_columns", 1, "too_many_columns")],
)
def test_a_file_over_another_limit(
    db: sa.Engine, settings: Settings, limit: str, value: int, code: str
) -> None:
    setattr(settings, limit, value)
    with TestClient(create_app(settings)) as api:
        assert problem(upload(api, ROWS), 422)["code"] == code
    assert count(db, "job") == count(db, "upload_row") == count(db, "collection") == 0


def test_a_cell_over_the_limit_refuses_its_row(db: sa.Engine, settings: Settings) -> None:
    settings.max_cell = 9
    with TestClient(create_app(settings)) as api:
        assert upload(api, ROWS).status_code == 202
    with transaction(db) as connection:
        rows = connection.execute(sa.text("SELECT number, code FROM upload_row ORDER BY number"))
        assert [tuple(row) for row in rows] == [(2, "cell_too_long"), (3, "cell_too_long")]


# --- jobs -----------------------------------------------------------------------------------------


def test_a_match_job_is_stored_with_its_stages(filled: TestClient) -> None:
    answer = filled.post("/v1/jobs", json={**MATCH, "k": 3})
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert job["params"] == {
        "source": "list",
        "target": "catalogue",
        "k": 3,
        "scoring": "fused",
        "auto_accept": None,
        "since": None,
        "one_to_one": False,
    }
    assert job["model"] == "all-MiniLM-L6-v2@1"
    names = [stage["name"] for stage in job["stages"]]
    assert names == ["embed source", "embed target", "drift", "index", "match"]
    assert filled.get(answer.headers["Location"]).json() == job


@pytest.mark.parametrize("kind", ["embed", "index"])
def test_embed_and_index_jobs(filled: TestClient, kind: str) -> None:
    answer = filled.post("/v1/jobs", json={"kind": kind, "collection": "list"})
    assert answer.status_code == 202
    assert answer.json()["params"] == {"collection": "list"}


def test_a_collection_may_be_matched_with_itself(filled: TestClient) -> None:
    answer = filled.post("/v1/jobs", json={**MATCH, "target": "list"})
    assert [stage["name"] for stage in answer.json()["stages"]] == [
        "embed source",
        "drift",
        "index",
        "match",
    ]


def test_an_idempotency_key_gives_one_job(db: sa.Engine, filled: TestClient) -> None:
    before = count(db, "job")
    key = {"Idempotency-Key": "abc"}
    first = filled.post("/v1/jobs", json=MATCH, headers=key)
    # Another order, and a default spelt out: the same request.
    again = filled.post("/v1/jobs", json={"k": 10, **dict(reversed(MATCH.items()))}, headers=key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["Location"] == first.headers["Location"]
    other = problem(filled.post("/v1/jobs", json={**MATCH, "k": 11}, headers=key), 409)
    assert other["code"] == "conflict"
    assert "abc" in other["detail"]
    assert count(db, "job") == before + 1
    without = {filled.post("/v1/jobs", json=MATCH).json()["id"] for _ in range(2)}
    assert len(without) == 2


@pytest.mark.parametrize(
    ("change", "status", "field", "words"),
    [
        ({"k": 0}, 422, "k", "k is 0: give a whole number from 1 to 1,000."),
        ({"k": -1}, 422, "k", "k is -1"),
        ({"k": 10**9}, 422, "k", "k is 1000000000"),
        ({"source": "lst"}, 404, "source", "There is no collection 'lst'"),
        ({"target": "nowhere"}, 404, "target", "'catalogue', 'list'"),
        ({"model": "gpt"}, 404, "model", "all-MiniLM-L6-v2@1"),
        ({"model": "all-MiniLM-L6-v2@9"}, 404, "model", "@9"),
        ({"model": "a b"}, 422, "model", "NAME@VERSION"),
        ({"model": "a\0b"}, 422, "model", "NAME@VERSION"),
        ({"colour": "red"}, 422, "colour", "colour"),
        ({"kind": "mach"}, 422, "kind", "'match'"),
    ],
)
def test_a_wrong_job_is_refused_by_name(
    db: sa.Engine, filled: TestClient, change: Any, status: int, field: str, words: str
) -> None:
    before = count(db, "job")
    document = problem(filled.post("/v1/jobs", json={**MATCH, **change}), status)
    assert [error["field"] for error in document["errors"]] == [field]
    assert words in document["detail"]
    assert count(db, "job") == before


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b"", "application/json", 422),
        (b"{", "application/json", 422),
        (b"[]", "application/json", 422),
        (b'"\xff"', "application/json", 400),
        (b"[" * 60_000, "application/json", 400),
        (b'{"kind": "embed", "collection": ' + b"9" * 5_000 + b"}", "application/json", 400),
        (json.dumps(MATCH).encode(), "text/plain", 422),
    ],
)
def test_a_body_that_is_no_json_object(
    api: TestClient, content: bytes, media_type: str, status: int
) -> None:
    answer = api.post("/v1/jobs", content=content, headers={"Content-Type": media_type})
    document = problem(answer, status)
    assert document["code"] == "invalid"
    assert "JSON" in document["detail"]


def test_an_empty_collection_says_that_its_import_still_runs(
    context: Context, api: TestClient
) -> None:
    job = upload(api, ROWS).json()
    wanted = {"kind": "embed", "collection": "list"}
    document = problem(api.post("/v1/jobs", json=wanted), 422)
    assert document["errors"][0]["field"] == "collection"
    assert f"job {job['id']}, has not ended" in document["detail"]
    api.post(f"/v1/jobs/{job['id']}/cancel")
    engine.carry_out_cancels(context.db)
    assert "Import a file" in problem(api.post("/v1/jobs", json=wanted), 422)["detail"]


def test_jobs_are_listed_in_pages(filled: TestClient) -> None:
    made = [filled.post("/v1/jobs", json=MATCH).json()["id"] for _ in range(5)]
    seen: list[int] = []
    params: dict[str, Any] = {"limit": 2, "kind": "match"}
    while True:
        page = filled.get("/v1/jobs", params=params).json()
        seen += [job["id"] for job in page["items"]]
        assert all(len(job["stages"]) == 5 for job in page["items"])
        if page["next"] is None:
            break
        params["before"] = page["next"]
    assert seen == made[::-1]
    ended = filled.get("/v1/jobs", params={"state": "succeeded"}).json()["items"]
    assert {job["kind"] for job in ended} == {"import"}


def test_a_page_of_jobs_takes_as_many_queries_as_one_job(filled: TestClient) -> None:
    for _ in range(9):
        filled.post("/v1/jobs", json=MATCH)
    statements: list[str] = []

    def note(*arguments: Any) -> None:
        statements.append(arguments[2])

    app: Any = filled.app
    sa.event.listen(app.state.engine, "before_cursor_execute", note)
    assert len(filled.get("/v1/jobs", params={"limit": 1}).json()["items"]) == 1
    for_one = len(statements)
    assert len(filled.get("/v1/jobs").json()["items"]) == 11
    assert len(statements) == 2 * for_one


def test_cancel(context: Context, filled: TestClient) -> None:
    job = filled.post("/v1/jobs", json=MATCH).json()
    path = f"/v1/jobs/{job['id']}"
    for _ in range(2):  # asking twice is not wrong
        answer = filled.post(f"{path}/cancel")
        assert (answer.status_code, answer.json()["state"]) == (202, "cancelling")
    engine.carry_out_cancels(context.db)
    ended = filled.get(path).json()
    assert ended["state"] == "cancelled"
    assert {stage["state"] for stage in ended["stages"]} == {"cancelled"}
    assert "was cancelled" in problem(filled.post(f"{path}/cancel"), 409)["detail"]
    again = filled.post(f"{path}/retry").json()
    assert (again["state"], again["stages"][0]["state"]) == ("running", "running")


def test_retry_takes_up_what_died(context: Context, filled: TestClient) -> None:
    job_id = filled.post("/v1/jobs", json=MATCH).json()["id"]
    with transaction(context.db) as connection:
        connection.execute(
            sa.text("UPDATE chunk SET state = 'dead', error = 'x' WHERE job_id = :id"),
            {"id": job_id},
        )
        jobs.end(connection, job_id, "failed", "x")
    answer = filled.post(f"/v1/jobs/{job_id}/retry")
    assert (answer.status_code, answer.json()["state"]) == (202, "running")
    drive.run(context)
    assert filled.get(f"/v1/jobs/{job_id}").json()["state"] == "succeeded"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("POST", "/cancel"),
        ("POST", "/retry"),
        ("GET", "/errors"),
        ("GET", "/matches"),
        ("GET", "/matches/export"),
    ],
)
def test_a_job_that_does_not_exist(api: TestClient, method: str, path: str) -> None:
    document = problem(api.request(method, f"/v1/jobs/77{path}"), 404)
    assert "There is no job 77." in document["detail"]
    assert problem(api.request(method, f"/v1/jobs/x{path}"), 422)["errors"][0]["field"] == "job_id"
    assert problem(api.request(method, f"/v1/jobs/{2**64}{path}"), 422)


# --- matches --------------------------------------------------------------------------------------


@pytest.fixture
def matched(context: Context, filled: TestClient) -> tuple[TestClient, str]:
    """A match job whose third source record has no candidate."""
    job_id = filled.post("/v1/jobs", json={**MATCH, "k": 2}).json()["id"]
    ids = "SELECT id FROM record WHERE key = ANY(:keys) ORDER BY id"
    with transaction(context.db) as connection:
        sources = list(connection.execute(sa.text(ids), {"keys": ["1", "2"]}).scalars())
        targets = list(connection.execute(sa.text(ids), {"keys": ["C1", "C2"]}).scalars())
        matches.store(
            connection,
            job_id,
            np.repeat(np.array(sources, dtype=np.int64), 2),
            np.array([1, 2, 1, 2], dtype=np.int16),
            np.array([*targets, *targets[::-1]], dtype=np.int64),
            np.array([0.75, 0.5, 0.875, 0.25], dtype=np.float32),
        )
        jobs.end(connection, job_id, "succeeded")
    return filled, f"/v1/jobs/{job_id}/matches"


EXPECTED = [
    ("1", 1, "C1", 0.75),
    ("1", 2, "C2", 0.5),
    ("2", 1, "C2", 0.875),
    ("2", 2, "C1", 0.25),
    ("3", None, None, None),
]


def test_matches_come_in_pages_of_source_records(matched: tuple[TestClient, str]) -> None:
    api, path = matched
    seen: list[Any] = []
    after, pages = 0, 0
    while True:
        page = api.get(path, params={"limit": 1, "after": after}).json()
        seen += page["items"]
        pages += 1
        if page["next"] is None:
            break
        after = page["next"]
    assert pages == 4
    assert [
        (row["source_key"], row["rank"], row["target_key"], row["score"]) for row in seen
    ] == EXPECTED
    assert seen[0]["source_text"] == "AGULLA 20G"
    assert seen[0]["target_text"] == "AGULLES, AGULLA 1G"
    assert seen[0]["confidence"] is None
    assert api.get(path).json() == {"items": seen, "next": None}


def test_a_page_holds_fewer_source_records_where_each_has_many(
    matched: tuple[TestClient, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    api, path = matched
    monkeypatch.setattr(matches_routes, "PAGE_ROWS", 4)
    page = api.get(path).json()
    assert [row["source_key"] for row in page["items"]] == ["1", "1", "2", "2"]
    rest = api.get(path, params={"after": page["next"]}).json()
    assert [row["source_key"] for row in rest["items"]] == ["3"]
    assert len(api.get(f"{path}/export").text.splitlines()) == 1 + len(EXPECTED)


def test_matches_are_exported_as_one_file(matched: tuple[TestClient, str]) -> None:
    api, path = matched
    answer = api.get(f"{path}/export")
    assert answer.headers["Content-Type"].startswith("text/csv")
    job_id = path.split("/")[3]
    assert f'filename="job-{job_id}.csv"' in answer.headers["Content-Disposition"]
    lines = answer.text.splitlines()
    head = "source_key,source_text,rank,target_key,target_text,score,confidence,accepted,why"
    assert lines[0] == head
    assert lines[1] == '1,AGULLA 20G,1,C1,"AGULLES, AGULLA 1G",0.750000,,,'
    assert lines[5] == "3,GUANT,,,,,,,"
    ndjson = api.get(f"{path}/export", params={"format": "ndjson"})
    documents = [json.loads(line) for line in ndjson.text.splitlines()]
    table = pq.read_table(
        io.BytesIO(api.get(f"{path}/export", params={"format": "parquet"}).content)
    )
    for rows in (documents, table.to_pylist()):
        assert [
            (row["source_key"], row["rank"], row["target_key"], row["score"]) for row in rows
        ] == EXPECTED


def test_matches_of_what_has_none(matched: tuple[TestClient, str]) -> None:
    api, path = matched
    imports = api.get("/v1/jobs", params={"kind": "import"}).json()["items"]
    for more in ("", "/export"):
        answer = api.get(f"/v1/jobs/{imports[0]['id']}/matches{more}")
        assert "only match jobs" in problem(answer, 409)["detail"]
    assert problem(api.get(f"{path}/export?format=xlsx"), 422)["errors"][0]["field"] == "format"
    assert problem(api.get(f"{path}?limit=0"), 422)["errors"][0]["field"] == "limit"
    assert problem(api.get(f"{path}?after=x"), 422)["errors"][0]["field"] == "after"


# --- the rest -------------------------------------------------------------------------------------


def test_models(api: TestClient) -> None:
    (model,) = api.get("/v1/models").json()["items"]
    assert (model["name"], model["version"], model["status"]) == ("all-MiniLM-L6-v2", 1, "promoted")
    assert set(model) == {
        "name",
        "version",
        "dim",
        "max_seq_length",
        "base_model",
        "status",
        "sha256",
        "created_at",
        "parent",
        "accuracy",
    }


def test_what_is_not_there(api: TestClient) -> None:
    assert problem(api.get("/v2/jobs"), 404)["code"] == "not_found"
    assert problem(api.get("/v1/collections/nowhere"), 404)["code"] == "not_found"
    refused = api.put("/v1/models")
    assert problem(refused, 405)["code"] == "method_not_allowed"
    assert refused.headers["Allow"] == "GET"


def test_health(api: TestClient) -> None:
    assert api.get("/livez").json() == {"status": "ok"}
    answer = api.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "checks": {"database": "ok", "migrations": "ok", "redis": "ok"},
    }


def test_without_redis_jobs_are_taken(settings: Settings, context: Context) -> None:
    drive.imported(context, "list", [("1", "AGULLA")])
    settings.redis_url = "redis://127.0.0.1:1/0"
    with TestClient(create_app(settings)) as api:
        answer = api.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        assert answer.json()["checks"]["redis"] == "no answer"
        wanted = {"kind": "embed", "collection": "list"}
        assert api.post("/v1/jobs", json=wanted).status_code == 202


def test_another_schema_is_not_ready(db: sa.Engine, api: TestClient) -> None:
    with transaction(db) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0000'"))
    answer = api.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
    assert "aparella.db.migrate" in answer.json()["checks"]["migrations"]


def test_a_database_that_is_away(settings: Settings) -> None:
    settings.database_url = "postgresql://user:secret@127.0.0.1:1/none"
    with TestClient(create_app(settings)) as api:
        for answer in (api.get("/v1/jobs"), api.post("/v1/jobs", json=MATCH), upload(api, ROWS)):
            document = problem(answer, 503)
            assert document["code"] == "service_unavailable"
            assert "127.0.0.1" not in answer.text
            assert int(answer.headers["Retry-After"]) > 0
        assert api.get("/readyz").json()["checks"]["database"] == "no answer"
        assert api.get("/livez").status_code == 200


def test_what_nobody_expected_is_logged_and_not_shown(
    db: sa.Engine, api: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with transaction(db) as connection:
        connection.execute(sa.text("ALTER TABLE job_error RENAME TO secret"))
    document = problem(api.get("/v1/jobs"), 500)
    assert document["code"] == "internal"
    assert "job_error" not in json.dumps(document)
    (record,) = [entry for entry in caplog.records if document["instance"] in entry.getMessage()]
    assert record.exc_info is not None
    assert "job_error" in str(record.exc_info[1])
