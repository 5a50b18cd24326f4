"""Workers that report themselves, and what the API tells operators: workers, doctor, metrics."""

import json
import logging
import os
import socket
import threading
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from aparella import logs
from aparella.api.app import create_app
from aparella.db import jobs, models, records, workers
from aparella.db.engine import transaction
from aparella.errors import NotFoundError, RecordError
from aparella.settings import Settings
from aparella.workers import figures, pipelines, presence
from aparella.workers.context import Context
from aparella.workers.presence import Identity, Presence
from aparella.workers.runner import run_chunk
from tests.integration import drive, toy

HOST = socket.gethostname()


@pytest.fixture(autouse=True)
def _own_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted from zero in each test."""
    monkeypatch.setattr(figures, "own", figures.Figures(age=3_600.0))


def report(db: sa.Engine, identity: Identity) -> bool:
    with transaction(db) as connection:
        draining = workers.report(connection, identity.report())
        presence.report_process(connection, identity.id)
    return draining


def worker(db: sa.Engine, name: str = "worker", *queues: str) -> Identity:
    identity = Identity.make("worker", name, queues=queues or ("embed", "match"), processes=2)
    report(db, identity)
    return identity


def listed(api: TestClient) -> dict[str, Any]:
    return {item["name"]: item for item in api.get("/v1/workers").json()["items"]}


def findings(api: TestClient) -> dict[str, Any]:
    document = api.get("/v1/doctor").json()
    worst = {item["status"] for item in document["items"]}
    assert document["status"] == max(worst, key=["ok", "warning", "failed"].index)
    return {item["check"]: item for item in document["items"]}


def samples(api: TestClient) -> dict[tuple[str, ...], float]:
    """Every figure by its name and its labels' values, in the order of the labels' names."""
    answer = api.get("/metrics")
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def vanish(db: sa.Engine, identity: Identity, seconds: float) -> None:
    for table, column in (("worker", "id"), ("worker_process", "worker_id")):
        toy.execute(
            db,
            f"UPDATE {table} SET seen_at = now() - make_interval(secs => :s) WHERE {column} = :id",
            s=seconds,
            id=identity.id,
        )


# --- workers --------------------------------------------------------------------------------------


def test_a_worker_is_seen_with_what_it_does(
    db: sa.Engine, context: Context, api: TestClient
) -> None:
    figures.own.chunk("embed", 2.0, 600)
    identity = worker(db)
    (found,) = listed(api).values()
    assert found["name"] == f"worker@{HOST}"
    assert (found["state"], found["queues"]) == ("idle", ["embed", "match"])
    assert (found["host"], found["pid"], found["processes"]) == (HOST, os.getpid(), 2)
    assert found["rates"] == {"embed": 10.0}
    assert found["memory_bytes"] > 50 << 20
    assert abs(found["skew_seconds"]) < 2.0
    assert found["seen_at"] >= found["started_at"]

    upload = drive.upload(context.db, "list", [("1", "AGULLA")])
    (plan,) = toy.chunk_ids(context.db, upload, "ready")
    assert drive.claim(context, plan, worker=f"{HOST}:{os.getpid()}")
    (found,) = listed(api).values()
    assert (found["state"], found["busy"]) == ("working", 1)

    with transaction(db) as connection:
        workers.stopped(connection, identity.id)
    assert listed(api) == {}


def test_a_worker_without_a_sign_of_life_is_lost(db: sa.Engine, api: TestClient) -> None:
    identity = worker(db)
    vanish(db, identity, 10)
    assert listed(api)[f"worker@{HOST}"]["state"] == "idle"
    vanish(db, identity, 20)
    assert listed(api)[f"worker@{HOST}"]["state"] == "lost"


def test_a_worker_is_drained_by_its_name(db: sa.Engine, api: TestClient) -> None:
    one, other = worker(db, "one"), worker(db, "other")
    answer = api.post(f"/v1/workers/one@{HOST}/drain")
    assert (answer.status_code, answer.json()["items"][0]["state"]) == (202, "drained")
    assert (report(db, one), report(db, other)) == (True, False)
    assert api.post("/v1/workers/one/resume").json()["items"][0]["state"] == "idle"
    assert report(db, one) is False

    ambiguous = api.post(f"/v1/workers/{HOST}/drain")
    assert ambiguous.status_code == 404
    assert f"one@{HOST}, other@{HOST}" in ambiguous.json()["detail"]
    nobody = api.post("/v1/workers/nobody/drain")
    assert (nobody.status_code, nobody.json()["code"]) == (404, "not_found")
    vanish(db, other, 60)
    with transaction(db) as connection, pytest.raises(NotFoundError):
        workers.drain(connection, "other")


def test_what_is_long_gone_is_forgotten_but_for_its_sums(db: sa.Engine, api: TestClient) -> None:
    for _ in range(2):
        figures.own.count("retries")
        gone = worker(db)
        vanish(db, gone, workers.FORGOTTEN_AFTER + 60)
        with transaction(db) as connection:
            presence.tidy(connection)
        assert listed(api) == {}
    assert samples(api)["aparella_chunk_retries_total",] == 3.0
    present = worker(db)
    with transaction(db) as connection:
        presence.tidy(connection)
    assert len(listed(api)) == 1
    assert samples(api)["aparella_chunk_retries_total",] == 5.0
    assert toy.execute(db, "SELECT worker_id FROM worker_process ORDER BY 1") == [
        (workers.NOBODY,),
        (present.id,),
    ]


def test_presence_reports_at_once_and_again_and_at_the_end(db: sa.Engine) -> None:
    identity = Identity.make("worker", "quick")
    two = Waited(2)

    def tell(connection: sa.Connection) -> None:
        workers.report(connection, identity.report())
        two.note()

    own = Presence(db, tell, seconds=0.01)
    own.start()
    two.wait()
    own.stop(lambda connection: workers.stopped(connection, identity.id))
    assert toy.execute(
        db, "SELECT name, stopped_at >= seen_at, seen_at > started_at FROM worker"
    ) == [(f"quick@{HOST}", True, True)]


def test_presence_outlives_an_absence_of_the_database(
    db: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    two = Waited(2)

    def tell(_connection: sa.Connection) -> None:
        two.note()
        raise RecordError("the server is away")

    own = Presence(db, tell, seconds=0.01)
    own.start()
    two.wait()
    own.stop()
    assert "this process cannot report itself: the server is away" in caplog.text


class Waited:
    """Lets a test wait until something has happened so many times."""

    def __init__(self, times: int) -> None:
        self._left = times
        self._done = threading.Event()

    def note(self) -> None:
        self._left -= 1
        if self._left <= 0:
            self._done.set()

    def wait(self) -> None:
        assert self._done.wait(10)


# --- queues ---------------------------------------------------------------------------------------


def test_queues_say_what_waits_and_who_takes(db: sa.Engine, api: TestClient) -> None:
    worker(db, "worker", "import")
    drive.upload(db, "list", [("1", "AGULLA")])
    queues = {queue["name"]: queue for queue in api.get("/v1/queues").json()["items"]}
    assert list(queues) == ["import", "embed", "match", "train"]
    assert (queues["import"]["waiting"], queues["import"]["workers"]) == (1, 1)
    assert queues["import"]["oldest_seconds"] >= 0.0
    assert (queues["embed"]["waiting"], queues["embed"]["oldest_seconds"]) == (0, None)

    paused = api.post("/v1/queues/import/pause")
    assert paused.status_code == 202
    document = paused.json()
    assert (document["state"], document["waiting"], document["paused"]) == ("paused", 0, 1)
    assert document["paused_at"]
    assert api.post("/v1/queues/import/resume").json()["state"] == "open"
    assert api.post("/v1/queues/import/resume").status_code == 409
    unknown = api.post("/v1/queues/nothing/pause")
    assert (unknown.status_code, "import, embed" in unknown.json()["detail"]) == (404, True)


def test_a_job_is_paused_over_http(db: sa.Engine, api: TestClient) -> None:
    job_id = drive.upload(db, "list", [("1", "AGULLA")])
    paused = api.post(f"/v1/jobs/{job_id}/pause")
    assert (paused.status_code, paused.json()["state"]) == (202, "paused")
    assert api.get("/v1/jobs", params={"state": "paused"}).json()["items"][0]["id"] == job_id
    assert api.get("/v1/jobs", params={"state": "queued"}).json()["items"] == []
    assert api.post(f"/v1/jobs/{job_id}/resume").json()["state"] == "queued"
    refused = api.post(f"/v1/jobs/{job_id}/resume")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")


# --- the doctor -----------------------------------------------------------------------------------


def healthy(db: sa.Engine) -> None:
    worker(db, "worker", "import", "embed", "match", "train")
    report(db, Identity.make("reconciler", "reconciler"))


def test_the_doctor_finds_nothing_where_all_is_well(db: sa.Engine, api: TestClient) -> None:
    healthy(db)
    found = findings(api)
    assert {name: item["status"] for name, item in found.items() if item["status"] != "ok"} == {}
    assert found["database"]["finding"].startswith("PostgreSQL ")
    assert found["migrations"]["finding"].startswith("at ")
    assert {f"queue {name}" for name in ("import", "embed", "match", "train")} < set(found)


def test_the_doctor_finds_what_is_wrong(context: Context, api: TestClient) -> None:
    job_id = drive.upload(context.db, "list", [("1", "AGULLA")])
    found = findings(api)
    failed = {name for name, item in found.items() if item["status"] == "failed"}
    assert failed == {"reconciler", "workers", "queue import"}
    assert "1 jobs wait" in found["reconciler"]["finding"]

    healthy(context.db)
    (plan,) = toy.chunk_ids(context.db, job_id, "ready")
    assert drive.claim(context, plan)
    toy.execute(context.db, "UPDATE chunk SET progress_at = now() - interval '6 min'")
    assert findings(api)["leases"]["status"] == "warning"
    toy.execute(context.db, "UPDATE chunk SET lease_until = now() - interval '2 min'")
    assert findings(api)["leases"]["status"] == "failed"
    toy.execute(context.db, "UPDATE chunk SET state = 'dead', finished_at = now()")
    found = findings(api)
    assert found["leases"]["status"] == "ok"
    assert f"in jobs {job_id}" in found["dead chunks"]["finding"]
    toy.execute(context.db, "UPDATE worker SET skew_seconds = -7 WHERE kind = 'worker'")
    assert "7.0 s behind" in findings(api)["clocks"]["finding"]
    toy.execute(context.db, "UPDATE alembic_version SET version_num = '0001'")
    found = findings(api)
    assert found["migrations"]["status"] == "failed"
    assert "workers" not in found


def test_the_doctor_sees_a_redis_that_drops_keys(
    db: sa.Engine, settings: Settings, api: TestClient
) -> None:
    healthy(db)
    with redis.Redis.from_url(settings.redis_url) as server:
        server.config_set("maxmemory-policy", "allkeys-lru")
        try:
            found = findings(api)["redis"]
        finally:
            server.config_set("maxmemory-policy", "noeviction")
    assert (found["status"], "noeviction" in found["advice"]) == ("failed", True)


def test_the_doctor_answers_without_database_and_redis(settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        away = settings.model_copy(
            update={
                "database_url": f"postgresql://me@127.0.0.1:{port}/x",
                "redis_url": f"redis://127.0.0.1:{port}/0",
            }
        )
        with TestClient(create_app(away)) as api:
            found = findings(api)
    assert {name: item["status"] for name, item in found.items()} == {
        "database": "failed",
        "redis": "failed",
    }


# --- metrics --------------------------------------------------------------------------------------


def test_metrics_of_an_idle_server(db: sa.Engine, api: TestClient) -> None:
    healthy(db)
    found = samples(api)
    assert found["aparella_jobs", "running"] == 0.0
    assert found["aparella_workers_alive", "embed"] == 1.0
    assert found["aparella_worker_processes", "embed"] == 2.0
    assert found["aparella_reconcilers_alive",] == 1.0
    assert found["aparella_broker_up",] == 1.0
    assert found["aparella_broker_queue_length", "embed"] == 0.0
    assert found["aparella_chunks_waiting", "embed", "embed"] == 0.0
    assert found["aparella_chunks_paused", "train", "train"] == 0.0
    assert found["aparella_worker_memory_bytes", f"worker@{HOST}"] > 50 << 20


def test_metrics_tell_of_work_and_of_what_went_wrong(
    context: Context, settings: Settings, api: TestClient
) -> None:
    drive.imported(context, "list", [(f"{i}", f"AGULLA {i}G") for i in range(15)])
    with redis.Redis.from_url(settings.redis_url) as server:
        server.lpush("embed", "hint")
    upload = drive.upload(context.db, "other", [("1", "SONDA")])
    (plan,) = toy.chunk_ids(context.db, upload, "ready")
    assert drive.claim(context, plan)
    toy.expire(context.db, [plan])
    assert drive.claim(context, plan) is None  # settles it
    figures.own.batch(768, 1_024)
    worker(context.db)
    found = samples(api)
    assert found["aparella_jobs", "succeeded"] == 1.0
    assert found["aparella_chunks_waiting", "import", "clean"] == 1.0
    assert found["aparella_chunks_leased", "import"] == 0.0
    assert found["aparella_oldest_waiting_seconds", "embed"] == 0.0
    assert found["aparella_broker_queue_length", "embed"] == 1.0
    # Two chunks of cleaning and one that applies them; the buckets hold what is below them too.
    assert found["aparella_worker_chunk_seconds_count", "clean"] == 2.0
    assert found["aparella_worker_chunk_seconds_count", "apply"] == 1.0
    assert found["aparella_worker_chunk_seconds_bucket", "+Inf", "clean"] == 2.0
    assert found["aparella_worker_chunk_seconds_bucket", "3600", "clean"] == 2.0
    assert found["aparella_worker_items_total", "clean"] == 15.0
    assert found["aparella_leases_expired_total",] == 1.0
    assert found["aparella_chunk_retries_total",] == 1.0
    assert found["aparella_chunks_dead_total",] == 0.0
    assert found["aparella_encoder_batch_fill_ratio",] == 0.75

    api.post(f"/v1/jobs/{upload}/pause")
    found = samples(api)
    assert found["aparella_chunks_waiting", "import", "clean"] == 0.0
    assert found["aparella_chunks_paused", "import", "clean"] == 1.0
    assert found["aparella_jobs", "paused"] == 1.0


def test_metrics_do_without_redis(db: sa.Engine, settings: Settings) -> None:
    worker(db)
    with TestClient(create_app(settings.model_copy(update={"redis_url": ""}))) as api:
        found = samples(api)
    assert found["aparella_broker_up",] == 0.0
    assert ("aparella_broker_queue_length", "embed") not in found


# --- logs -----------------------------------------------------------------------------------------


def test_a_chunks_log_says_whose_it_is(
    context: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    logs.set_up("json")
    try:
        job = drive.imported(context, "list", [("1", "AGULLA")])
    finally:
        root.handlers[:], root.level = before
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    done = [line for line in lines if "done in" in line["message"]]
    assert [(line["job"], line["stage"], line["attempt"]) for line in done] == [
        (job.id, "clean", 1),
        (job.id, "apply", 1),
    ]
    assert all(line["chunk"] > 0 for line in done)


# --- the size of chunks ---------------------------------------------------------------------------


def test_chunks_follow_what_the_workers_have_measured(context: Context) -> None:
    context.settings.embed_chunk = None
    identity = worker(context.db, "worker", "embed")
    for job in ("first", "then"):
        drive.imported(context, job, [(f"{n}", f"{job} {n}") for n in range(1_020)])
    assert sizes(context, "first") == [125] * 8 + [20]
    figures.own.chunk("embed", 10.0, 60)  # in ten seconds: less than a share for each round
    report(context.db, identity)
    assert sizes(context, "then") == [60] * 17


def sizes(context: Context, collection: str) -> list[int]:
    """Of the chunks that embedding a collection is cut into."""
    with transaction(context.db) as connection:
        model = models.find_model(connection, None)
        collection_id = records.find_collection(connection, collection).id
        job_id, _ = jobs.create(
            connection,
            kind="embed",
            params={"collection": collection},
            plan=pipelines.embed_stages(model.id, collection_id),
            model_id=model.id,
        )
    (plan,) = toy.chunk_ids(context.db, job_id, "ready")
    run_chunk(context, plan, worker="test")
    query = "SELECT size FROM chunk WHERE job_id = :job AND kind = 'work' ORDER BY id"
    found = [int(row.size) for row in toy.execute(context.db, query, job=job_id)]
    with transaction(context.db) as connection:
        jobs.cancel(connection, job_id)
    return found
