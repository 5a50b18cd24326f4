"""Traces from the request to the commit, as a collector gets them over HTTP."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from pydantic import SecretStr

from aparella import traces
from aparella.api.app import create_app
from aparella.db.leases import Claimed
from aparella.errors import RecordError
from aparella.settings import Settings
from aparella.workers.app import make_app
from aparella.workers.broker import Broker
from aparella.workers.context import Context, Tick, Write
from aparella.workers.reconciler import Reconciler
from aparella.workers.runner import run_chunk
from tests.composefile import ROOT
from tests.integration import drive, toy
from tests.integration.collector import Collector, Span, collecting
from tests.integration.test_api_process import serving

TRACE, CLIENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = {"traceparent": f"00-{TRACE}-{CLIENT}-01"}
TOKEN = "a-token-that-must-not-be-seen"
ROWS = b"id,name\nK-77,XERINGA MOLT SECRETA\nK-78,AGULLA MOLT SECRETA\n"
SECRETS = (TOKEN, "SECRETA", "K-77", "private-list", "private-file")


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Whoever starts to trace now sends there."""
    with collecting() as running:
        for name in [name for name in os.environ if name.startswith("OTEL_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.url)
        yield running
        traces.shut_down()


@pytest.fixture
def reconciler(context: Context) -> Iterator[Reconciler]:
    app = make_app(context.settings)
    yield Reconciler(context.db, context.settings, Broker(context.settings, app))
    app.close()


def asked_for(context: Context, items: int, size: int) -> int:
    """A toy job that was created within a span `request`; its id. Traces from here on."""
    traces.start("aparella-test")
    with traces.span("request"):
        return toy.enqueue(context.db, items=items, size=size)


def request(collector: Collector) -> Span:
    traces.shut_down()
    (found,) = collector.named("request")
    return found


def traceparent(db: sa.Engine, job_id: int) -> object:
    return toy.execute(db, "SELECT traceparent FROM job WHERE id = :id", id=job_id)[0][0]


def test_one_trace_from_the_request_to_the_commit(
    context: Context, settings: Settings, collector: Collector
) -> None:
    settings.anonymous, settings.token = False, SecretStr(TOKEN)
    with serving(settings) as (url, _):
        answer = httpx.post(
            f"{url}/v1/collections/private-list/records",
            params={"key": "id", "text": "name", "filename": "private-file.csv"},
            content=ROWS,
            headers={"Authorization": f"Bearer {TOKEN}", **GIVEN},
        )
        job_id = answer.json()["id"]
        traces.start("aparella-worker")
        drive.run(context)
        traces.shut_down()
    assert drive.find(context.db, job_id).state == "succeeded"

    route = "/v1/collections/{name}/records"
    (asked,) = collector.named(f"POST {route}")
    assert (asked.service, asked.trace, asked.parent) == ("aparella-api", TRACE, CLIENT)
    assert (asked.server, asked.failed) == (True, False)
    assert asked.attributes == {
        "http.request.method": "POST",
        "http.route": route,
        "http.response.status_code": 202,
    }
    assert traceparent(context.db, job_id) == f"00-{TRACE}-{asked.id}-01"

    attempts = collector.children(asked)
    rows = toy.execute(context.db, "SELECT id, kind, size FROM chunk ORDER BY id")
    assert [
        (s.name, s.attributes["kind"], s.attributes["items"], s.attributes["stage"])
        for s in attempts
    ] == [
        ("chunk clean", "plan", 0, "clean"),
        ("chunk clean", "work", 2, "clean"),
        ("chunk apply", "plan", 0, "apply"),
        ("chunk apply", "work", 2, "apply"),
    ]
    assert [s.attributes["chunk"] for s in attempts] == [row.id for row in rows]
    for attempt in attempts:
        assert attempt.service == "aparella-worker"
        assert not attempt.failed
        common = {"job": job_id, "attempt": 1, "queue": "import", "outcome": "done"}
        assert common.items() <= attempt.attributes.items()
        claim, work, commit = collector.children(attempt)
        assert (claim.name, work.name, commit.name) == ("claim", "work", "commit")
        assert attempt.began == claim.began < claim.ended <= work.began
        assert work.ended <= commit.began < commit.ended <= attempt.ended
    sent = b"".join(collector.bodies)
    assert [secret for secret in SECRETS if secret.encode() in sent] == []
    assert set(collector.paths) == {"/v1/traces"}


def test_a_pool_s_process_traces_and_sends_the_rest_when_it_ends(
    context: Context, settings: Settings, collector: Collector, reconciler: Reconciler
) -> None:
    traces.start("aparella-test")
    with traces.span("request"):
        job_id = drive.upload(context.db, "list", [("1", "AGULLA 20G")])
    asked = request(collector)
    worker = subprocess.Popen(
        [sys.executable, "-m", "aparella.workers", "--queues", "import", "--concurrency", "1"],
        env={
            **{name: value for name, value in os.environ.items() if "APARELLA" not in name},
            "DATABASE_URL": settings.database_url,
            "REDIS_URL": settings.redis_url,
            # Nothing is sent but at the end.
            "OTEL_BSP_SCHEDULE_DELAY": "600000",
        },
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while drive.find(context.db, job_id).state != "succeeded":
            assert time.monotonic() < deadline
            assert worker.poll() is None
            reconciler.reconcile()
            reconciler.dispatch()
            time.sleep(0.1)
        assert collector.named("chunk apply") == []
        worker.send_signal(signal.SIGTERM)
        worker.wait(40)
    finally:
        if worker.poll() is None:
            worker.kill()
            worker.wait()
    attempts = collector.children(asked)
    assert [s.name for s in attempts] == [*["chunk clean"] * 2, *["chunk apply"] * 2]
    assert {s.service for s in attempts} == {"aparella-worker"}
    assert all(s.resource["process.pid"] not in (worker.pid, os.getpid()) for s in attempts)


def test_a_failed_attempt_says_what_kind_of_failure_it_is_and_nothing_more(
    context: Context, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = toy.ToyStage()
    toy.install(context, monkeypatch, stage)
    job_id = asked_for(context, items=3, size=2)
    stage.poison = {(job_id, 3)}
    drive.run(context)
    asked = request(collector)
    ended = {
        s.attributes["outcome"]: s
        for s in collector.children(asked)
        if s.attributes["kind"] == "work"
    }
    assert set(ended) == {"done", "record"}
    failed = ended["record"]
    assert failed.failed
    assert failed.attributes["error.type"] == "RecordError"
    assert failed.attributes["code"] == RecordError.code
    claim, work, settle = collector.children(failed)
    assert (claim.name, work.name, settle.name) == ("claim", "work", "settle")
    assert (claim.failed, work.failed, settle.failed) == (False, True, False)
    assert work.attributes == {"error.type": "RecordError", "code": RecordError.code}
    assert (settle.attributes["cause"], settle.attributes["decision"]) == ("record", "bury")
    assert sum(s.events for s in collector.spans()) == 0
    assert b"poison" not in b"".join(collector.bodies)


class Overtaken(toy.ToyStage):
    """Somebody else takes the chunk while it is in work."""

    def work(self, context: Context, chunk: Claimed, tick: Tick) -> Write:
        toy.execute(
            context.db, "UPDATE chunk SET lease_token = lease_token + 1 WHERE id = :id", id=chunk.id
        )
        return super().work(context, chunk, tick)


@pytest.mark.parametrize(
    ("poison", "failing", "error"), [(0, "commit", "LeaseLostError"), (1, "work", "RecordError")]
)
def test_an_attempt_whose_lease_was_lost(
    context: Context,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    poison: int,
    failing: str,
    error: str,
) -> None:
    stage = Overtaken()
    toy.install(context, monkeypatch, stage)
    job_id = asked_for(context, items=1, size=1)
    stage.poison = {(job_id, poison)}
    run_chunk(context, toy.chunk_ids(context.db, job_id)[0], worker="test")
    (chunk_id,) = toy.chunk_ids(context.db, job_id, "ready")
    run_chunk(context, chunk_id, worker="test")
    asked = request(collector)
    (lost,) = [s for s in collector.children(asked) if s.attributes["kind"] == "work"]
    assert lost.attributes["outcome"] == "lease_lost"
    last = collector.children(lost)[-1]
    assert (last.name, last.attributes["error.type"]) == (failing, error)


def test_a_vanished_worker_s_attempt_is_settled_in_its_job_s_trace(
    context: Context,
    collector: Collector,
    reconciler: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    toy.install(context, monkeypatch, toy.ToyStage())
    job_id = asked_for(context, items=2, size=2)
    run_chunk(context, toy.chunk_ids(context.db, job_id)[0], worker="test")
    (chunk_id,) = toy.chunk_ids(context.db, job_id, "ready")
    assert drive.claim(context, chunk_id)
    toy.expire(context.db, [chunk_id])
    reconciler.reconcile()
    asked = request(collector)
    (settle,) = [s for s in collector.children(asked) if s.name == "settle"]
    assert settle.attributes == {
        "job": job_id,
        "chunk": chunk_id,
        "attempt": 1,
        "cause": "lost",
        "decision": "split",
    }


def test_each_request_is_known_by_its_route(settings: Settings, collector: Collector) -> None:
    asked = {
        "/v1/jobs/77": "/v1/jobs/{job_id}",
        "/v1/jobs?state=queued": "/v1/jobs",
        "/v1/models/a/1/card": "/v1/models/{name}/{version}/card",
        "/v1/collections/private-list/search?q=SECRETA": "/v1/collections/{name}/search",
        "/v1/nowhere/private-list": None,
        "/metrics": "/metrics",
        "/livez": "/livez",
    }
    with TestClient(create_app(settings)) as api:
        for path in asked:
            api.get(path)
        api.request("SECRETA", "/v1/jobs")
        api.delete("/v1/jobs/77")
    *found, brewed, deleted = collector.spans()
    routes = [span.attributes.get("http.route") for span in found]
    assert routes == list(asked.values())
    assert [s.name for s in found] == [f"GET {route}" if route else "GET" for route in routes]
    assert (brewed.attributes["http.request.method"], brewed.server) == ("_OTHER", True)
    assert deleted.attributes["http.response.status_code"] == 405
    assert len({span.trace for span in collector.spans()}) == len(asked) + 2
    sent = b"".join(collector.bodies)
    assert [secret for secret in SECRETS if secret.encode() in sent] == []


def test_refused_and_failed_requests(settings: Settings, collector: Collector) -> None:
    settings.anonymous, settings.token = False, SecretStr(TOKEN)
    settings.database_url = "postgresql://nobody@127.0.0.1:1/nothing"
    with TestClient(create_app(settings)) as api:
        api.get("/v1/jobs")
        api.get("/v1/jobs", headers={"Authorization": f"Bearer {TOKEN}"})
    refused, failed = collector.spans()
    assert (refused.attributes["http.response.status_code"], refused.failed) == (401, False)
    assert (failed.attributes["http.response.status_code"], failed.failed) == (503, True)
    assert failed.attributes["error.type"] == "503"
    assert TOKEN.encode() not in b"".join(collector.bodies)


def test_a_client_that_does_not_sample_is_followed(
    context: Context, settings: Settings, collector: Collector
) -> None:
    unsampled = {"traceparent": f"00-{TRACE}-{CLIENT}-00"}
    with TestClient(create_app(settings)) as api:
        answer = api.post(
            "/v1/collections/list/records?key=id&text=name", content=ROWS, headers=unsampled
        )
        job_id = answer.json()["id"]
        drive.run(context)
    carried = str(traceparent(context.db, job_id)).split("-")
    assert (carried[1], carried[3]) == (TRACE, "00")
    assert collector.spans() == []


@pytest.mark.parametrize("header", ["", "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_a_traceparent_that_is_none_begins_a_trace(
    settings: Settings, collector: Collector, header: str
) -> None:
    with TestClient(create_app(settings)) as api:
        assert api.get("/livez", headers={"traceparent": header}).status_code == 200
    (span,) = collector.spans()
    assert (span.parent, len(span.trace)) == ("", 32)


def test_the_service_s_name_can_be_given(
    settings: Settings, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "pairing")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
    with TestClient(create_app(settings)) as api:
        api.get("/livez")
    (span,) = collector.spans()
    assert (span.service, span.resource["deployment.environment"]) == ("pairing", "test")


CHUNKS = """
import sys
from aparella.db import engine
from aparella.settings import load
from aparella.workers.context import Context
from tests.integration import drive
settings = load()
db = engine.create(settings, name="test")
job_id = drive.upload(db, "list", [("1", "AGULLA")])
drive.run(Context(db, settings))
print(drive.find(db, job_id).state)
print(*(name for name in sys.modules if name.startswith("opentelemetry")))
"""
PROCESSES = """
import sys
import threading
from fastapi.testclient import TestClient
import aparella.workers.reconciler, aparella.workers.tasks
from aparella.api.app import create_app
from aparella.settings import load
with TestClient(create_app(load())) as api:
    path = "/v1/collections/list/records?key=id&text=name"
    headers = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
    print(api.post(path, content=b"id,name\\n1,AGULLA\\n", headers=headers).status_code)
parts = ("opentelemetry.exporter", "opentelemetry.proto")
print(*(name for name in sys.modules if name.startswith(parts)))
print(*(thread.name for thread in threading.enumerate() if "Otel" in thread.name))
"""


@pytest.mark.parametrize(("code", "expected"), [(CHUNKS, "succeeded"), (PROCESSES, "202")])
def test_unconfigured_nothing_is_sent_imported_or_stored(
    settings: Settings, db: sa.Engine, code: str, expected: str
) -> None:
    """FastAPI and redis-py import parts of OpenTelemetry themselves; of what sends, nothing."""
    environ = {name: value for name, value in os.environ.items() if "APARELLA" not in name}
    environ = {name: value for name, value in environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={
            **environ,
            "DATABASE_URL": settings.database_url,
            "REDIS_URL": settings.redis_url,
            "APARELLA_ANONYMOUS": "true",
            "APARELLA_ENCODER": "hash",
        },
    )
    first, *rest = done.stdout.splitlines()
    assert first == expected
    assert "".join(rest) == ""
    (job,) = toy.execute(db, "SELECT traceparent FROM job")
    assert job.traceparent is None
