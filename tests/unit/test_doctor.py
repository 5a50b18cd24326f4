"""What the doctor says of what it is told; each finding that is not ok says what to do."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from aparella.api import doctor
from aparella.api.broker import Broker
from aparella.api.operation_schemas import state
from aparella.db.condition import Server, Work
from aparella.db.queues import Depth
from aparella.db.workers import Worker

NOW = datetime(2026, 1, 5, tzinfo=UTC)
EXTENSIONS: dict[str, str | None] = {"vector": "0.8.6", "pg_trgm": "1.6", "unaccent": "1.1"}
SERVER = Server("18.6", False, 7, 100, 3 << 30, 0.0, 1.0, EXTENSIONS)
WORK = Work(open_jobs=2, expired=0, idle=0, dead={})


def worker(name: str = "worker@a", **values: object) -> Worker:
    facts: dict[str, object] = {
        "id": uuid4(),
        "kind": "worker",
        "name": name,
        "host": name.partition("@")[2],
        "pid": 1,
        "queues": ["import", "embed"],
        "processes": 2,
        "threads": 1,
        "version": "0.1.0",
        "draining": False,
        "skew_seconds": 0.1,
        "disk_free_bytes": 1 << 40,
        "started_at": NOW,
        "seen_at": NOW,
        "stopped_at": None,
        "memory_bytes": 1 << 30,
        "rates": [],
        "alive": True,
        "busy": 0,
    }
    return Worker(**{**facts, **values})  # type: ignore[arg-type]


def judged(finding: doctor.Finding) -> str:
    """Its status, once it is seen that it comes with advice exactly if it is not ok."""
    assert (finding.advice is None) == (finding.status == "ok"), finding
    assert finding.finding
    assert not finding.finding.endswith(".")
    assert finding.advice is None or finding.advice.endswith(".")
    return finding.status


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, ["ok"]),
        ({"read_only": True}, ["failed"]),
        ({"connections": 81}, ["warning"]),
        ({"oldest_transaction_seconds": 7_200.0}, ["ok", "warning"]),
    ],
)
def test_the_database(change: dict[str, object], status: list[str]) -> None:
    server = replace(SERVER, **change)  # type: ignore[arg-type]
    assert [judged(finding) for finding in doctor.database(server)] == status


@pytest.mark.parametrize(
    ("extensions", "status"),
    [
        (EXTENSIONS, "ok"),
        ({**EXTENSIONS, "vector": "0.8.0"}, "ok"),
        ({**EXTENSIONS, "vector": "0.10.0"}, "ok"),
        ({**EXTENSIONS, "vector": "0.7.4"}, "failed"),
        ({**EXTENSIONS, "unaccent": None}, "failed"),
    ],
)
def test_extensions(extensions: dict[str, str | None], status: str) -> None:
    assert judged(doctor.extensions(replace(SERVER, extensions=extensions))) == status


@pytest.mark.parametrize(("current", "status"), [("5", "ok"), ("4", "failed"), (None, "failed")])
def test_migrations(current: str | None, status: str) -> None:
    assert judged(doctor.migrations(current, "5")) == status


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (Broker(policy="noeviction"), "ok"),
        (Broker(policy="noeviction", memory=70, memory_most=100), "ok"),
        (Broker(policy="noeviction", memory=90, memory_most=100), "warning"),
        (Broker(policy="allkeys-lru"), "failed"),
        (Broker("no answer"), "failed"),
    ],
)
def test_redis(found: Broker, status: str) -> None:
    assert judged(doctor.broker(found)) == status


@pytest.mark.parametrize(
    ("api", "skews", "status", "who"),
    [
        (0.1, [0.2, -0.3], "ok", ""),
        (0.1, [0.2, -5.0], "warning", "w1@b is 5.0 s behind"),
        (45.0, [0.2], "failed", "the API's host is 45.0 s ahead of"),
        (0.0, [], "ok", ""),
    ],
)
def test_clocks(api: float, skews: list[float], status: str, who: str) -> None:
    there = [worker(f"w{n}@b", skew_seconds=skew) for n, skew in enumerate(skews)]
    found = doctor.clocks(api, there)
    assert judged(found) == status
    assert who in found.finding


def test_nothing_starts_without_a_reconciler() -> None:
    there = [worker(), worker("reconciler@a", kind="reconciler")]
    assert judged(doctor.reconciler(there, WORK)) == "ok"
    lost = [worker("reconciler@a", kind="reconciler", alive=False)]
    found = doctor.reconciler(lost, WORK)
    assert judged(found) == "failed"
    assert "2 jobs wait" in found.finding


def test_workers_that_vanished_are_named() -> None:
    assert judged(doctor.fleet([worker()])) == "ok"
    assert judged(doctor.fleet([])) == "failed"
    assert judged(doctor.fleet([worker(alive=False)])) == "failed"
    found = doctor.fleet([worker(), worker("worker@b", alive=False)])
    assert judged(found) == "warning"
    assert "worker@b vanished" in found.finding


def queue(*depths: Depth, oldest: float = 0.0, paused: bool = False, there: object = ()) -> str:
    (found,) = doctor.queues(
        ["embed"],
        depths,
        {"embed": oldest},
        ["embed"] if paused else [],
        {"embed": 4},
        list(there),  # type: ignore[call-overload]
    )
    assert "4 hints in Redis" in found.finding
    return judged(found)


WAITING = Depth("embed", "embed", waiting=9, paused=0, leased=2)


def test_a_queue_whose_work_nobody_takes_fails() -> None:
    assert queue() == "ok"
    assert queue(WAITING, there=[worker()]) == "ok"
    assert queue(WAITING) == "failed"
    assert queue(WAITING, there=[worker(draining=True)]) == "failed"
    assert queue(WAITING, there=[worker(queues=["match"])]) == "failed"
    assert queue(WAITING, there=[worker(alive=False)]) == "failed"
    assert queue(WAITING, there=[worker()], oldest=900.0) == "warning"
    assert queue(replace(WAITING, waiting=0, paused=9), paused=True) == "warning"


def test_leases_and_dead_chunks() -> None:
    assert judged(doctor.leases(WORK)) == "ok"
    assert judged(doctor.leases(replace(WORK, idle=1))) == "warning"
    assert judged(doctor.leases(replace(WORK, expired=1, idle=1))) == "failed"
    assert judged(doctor.dead(WORK)) == "ok"
    found = doctor.dead(replace(WORK, dead={12: 1, 9: 3}))
    assert judged(found) == "warning"
    assert found.finding.startswith("4 chunks were given up, in jobs 12, 9")
    assert "aparella job errors 12" in (found.advice or "")


@pytest.mark.parametrize(
    ("free", "status"),
    [
        ({}, "ok"),
        ({"the store": 50 << 30, "a": 6 << 30}, "ok"),
        ({"the store": 2 << 30, "a": 6 << 30}, "warning"),
        ({"the store": 50 << 30, "a": 100 << 20}, "failed"),
    ],
)
def test_disks(free: dict[str, int], status: str) -> None:
    assert judged(doctor.disk(free)) == status


def test_without_a_database_it_still_says_what_to_do() -> None:
    assert judged(doctor.no_database("does not answer")) == "failed"


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({}, "idle"),
        ({"busy": 2}, "working"),
        ({"busy": 2, "draining": True}, "draining"),
        ({"draining": True}, "drained"),
        ({"busy": 2, "draining": True, "alive": False}, "lost"),
    ],
)
def test_a_workers_state_in_a_word(values: dict[str, object], word: str) -> None:
    assert state(worker(**values)) == word
