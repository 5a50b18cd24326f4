"""Kill a worker in the middle of a chunk, and Redis once: every row is as in an undisturbed run."""

import csv
import signal
from pathlib import Path
from time import monotonic

import psutil
import pytest
import redis
import sqlalchemy as sa

from aparella.client import Client
from tests.acceptance.conftest import Stack, eventually

LINES, RECORDS = 1_500, 2_500


def write(path: Path, name: str, rows: int) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["id", "text"])
        out.writerows((f"{name}{i}", f"{name} XERINGA {i % (rows - 20)} ML") for i in range(rows))
    return path


def runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def leased(stack: Stack, handler: str) -> int:
    query = sa.text(
        "SELECT count(*) FROM chunk c JOIN stage s ON s.id = c.stage_id "
        "WHERE c.state = 'leased' AND c.kind = 'work' AND s.handler = :handler"
    )
    engine = stack.database()
    with engine.connect() as connection:
        found = int(connection.execute(query, {"handler": handler}).scalar_one())
    engine.dispose()
    return found


def rows_of(client: Client, job_id: int, out: Path) -> list[tuple[str, ...]]:
    """All rows by keys and scores: both runs have collections of the same texts."""
    client.export(job_id, out)
    with out.open(encoding="utf-8", newline="") as file:
        return sorted(
            (r["source_key"], r["rank"], r["target_key"], r["score"]) for r in csv.DictReader(file)
        )


def prepare(client: Client, folder: Path, run: str) -> None:
    for name, rows in (("list", LINES), ("catalogue", RECORDS)):
        path = write(folder / f"{name}.csv", name, rows)
        job = client.import_file(f"{run}-{name}", path, key="id", text=["text"])
        assert client.wait(job.id).state == "succeeded"


def forget_vectors(stack: Stack) -> None:
    """So that the second run encodes everything again instead of taking it from the first."""
    engine = stack.database()
    with engine.begin() as connection:
        connection.execute(sa.text("TRUNCATE embedding"))
    engine.dispose()


@pytest.fixture(scope="module")
def undisturbed(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, ...]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    with stack.client() as client:
        prepare(client, folder, "calm")
        job = client.wait(client.match("calm-list", "calm-catalogue", k=5).id)
        assert job.state == "succeeded"
        rows = rows_of(client, job.id, folder / "out.csv")
    assert len(rows) == LINES * 5
    forget_vectors(stack)
    return rows


def test_killed_worker_and_killed_redis_change_no_row(
    stack: Stack, undisturbed: list[tuple[str, ...]], tmp_path: Path
) -> None:
    with stack.client() as client:
        prepare(client, tmp_path, "stormy")
        victim = stack.pool()[0]
        broker = None if stack.environment.get("REDIS_URL") else stack.process("valkey")
        job = client.match("stormy-list", "stormy-catalogue", k=5)
        eventually(lambda: leased(stack, "embed"))
        victim.send_signal(signal.SIGKILL)
        eventually(lambda: not runs(victim), seconds=10)
        if broker is not None:
            broker.send_signal(signal.SIGKILL)
        else:
            redis.Redis.from_url(stack.environment["REDIS_URL"]).flushall()
        seen: list[int] = []
        job = client.wait(job.id, lambda now: seen.append(now.progress.done))
        assert job.state == "succeeded", job
        assert seen == sorted(seen)
        assert rows_of(client, job.id, tmp_path / "out.csv") == undisturbed


def test_killed_worker_command_is_replaced(stack: Stack, tmp_path: Path) -> None:
    """SIGKILL of the pool's parent: nothing is orphaned, and the job ends."""
    with stack.client() as client:
        forget_vectors(stack)
        path = write(tmp_path / "list.csv", "list", 2_500)
        assert client.wait(client.import_file("again", path, key="id", text=["text"]).id)
        parent, pool = stack.process("workers"), stack.pool()
        job = client.embed("again")
        eventually(lambda: leased(stack, "embed"))
        parent.send_signal(signal.SIGKILL)
        eventually(lambda: not any(runs(process) for process in pool), seconds=10)
        assert client.wait(job.id).state == "succeeded"
        assert stack.process("workers").pid != parent.pid


def test_enqueueing_answers_while_redis_is_down(stack: Stack) -> None:
    if stack.environment.get("REDIS_URL"):
        pytest.skip("the Redis of REDIS_URL is not ours to stop")
    with stack.client() as client:
        broker = stack.process("valkey")
        broker.send_signal(signal.SIGSTOP)
        try:
            started = monotonic()
            job = client.match("calm-list", "calm-list", k=1)
            assert monotonic() - started < 2.0
            assert client.job(job.id).state == "queued"
        finally:
            broker.send_signal(signal.SIGCONT)
        assert client.wait(job.id).state == "succeeded"
