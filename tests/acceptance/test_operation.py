"""What an operator does while a job runs: look, pause, drain, stop; no chunk is lost or redone."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from aparella.client import Client
from tests.acceptance.conftest import Stack, eventually
from tests.acceptance.test_faults import forget_vectors, leased, write

HOST = socket.gethostname()
LINES = 6_000


@pytest.fixture(scope="module")
def client(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """With a collection whose embedding takes a few seconds: 30 chunks of 0.2 s, two at a time."""
    path = write(tmp_path_factory.mktemp("operated") / "list.csv", "operated", LINES)
    with stack.client() as found:
        job = found.import_file("operated", path, key="id", text=["text"])
        assert found.wait(job.id).state == "succeeded"
        yield found


def query(stack: Stack, words: str, **values: Any) -> Any:
    engine = stack.database()
    with engine.connect() as connection:
        found = connection.execute(sa.text(words), values).scalar_one()
    engine.dispose()
    return found


def attempts(stack: Stack, job_id: int) -> int:
    """The most that any of the job's chunks needed."""
    return int(query(stack, "SELECT max(attempt) FROM chunk WHERE job_id = :id", id=job_id))


def workers(stack: Stack) -> dict[str, Any]:
    """By name; of one that was killed and its replacement, the replacement, which comes last."""
    with stack.client() as client:
        return {worker.name: worker for worker in client.workers()}


@pytest.mark.usefixtures("client")
def test_workers_are_listed(stack: Stack) -> None:
    names = {f"worker@{HOST}", f"trainer@{HOST}", f"reconciler@{HOST}"}
    eventually(lambda: names <= set(workers(stack)))
    out = stack.run("workers").stdout
    assert all(name in out for name in names)
    assert "import,embed,match" in out
    # Tests before this one may have killed a worker a moment ago.
    pid = stack.process("workers").pid
    eventually(lambda: workers(stack)[f"worker@{HOST}"].pid == pid)
    found = workers(stack)[f"worker@{HOST}"]
    assert found.processes == 2
    assert found.memory_bytes > 100 << 20


@pytest.mark.usefixtures("client")
def test_the_doctor_is_content(stack: Stack) -> None:
    eventually(lambda: f"worker@{HOST}" in workers(stack))
    done = stack.run("doctor")
    assert "FAIL" not in done.stdout
    assert "ok    database: PostgreSQL" in done.stdout
    assert "ok    clocks: within" in done.stdout


def test_the_doctor_says_in_a_sentence_that_no_api_answers(stack: Stack) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        done = stack.run("doctor", "--url", url, code=1)
    assert done.stdout == ""
    assert done.stderr.startswith(f"aparella: Cannot reach the Aparella server at {url}")


def test_a_paused_job_rests_and_goes_on(stack: Stack, client: Client, tmp_path: Path) -> None:
    forget_vectors(stack)
    job = client.embed("operated")
    eventually(lambda: leased(stack, "embed"))
    client.pause(job.id)  # at once, then by the command, which takes its time to start
    eventually(lambda: leased(stack, "embed") == 0)
    assert "is paused" in stack.run("job", "pause", str(job.id)).stdout
    rests = client.job(job.id)
    assert (rests.state, rests.eta_seconds) == ("paused", None)
    assert 0 < rests.progress.done < LINES
    assert "paused" in stack.run("jobs", "--state", "paused").stdout
    # Another job is done meanwhile, by the same workers.
    path = write(tmp_path / "other.csv", "other", 300)
    other = client.import_file("other", path, key="id", text=["text"])
    assert client.wait(other.id).state == "succeeded"
    assert client.job(job.id).progress.done == rests.progress.done
    stack.run("job", "resume", str(job.id))
    assert client.wait(job.id).state == "succeeded"
    assert attempts(stack, job.id) == 1


def test_a_drained_worker_finishes_and_takes_no_more(stack: Stack, client: Client) -> None:
    forget_vectors(stack)
    name = f"worker@{HOST}"
    eventually(lambda: name in workers(stack))
    job = client.embed("operated")
    eventually(lambda: leased(stack, "embed"))
    client.drain(name)
    assert "takes no more" in stack.run("worker", "drain", name).stdout
    eventually(lambda: workers(stack)[name].state == "drained")
    before = client.job(job.id)
    assert before.state == "running"
    assert before.progress.done < LINES
    failed = stack.run("doctor", code=1).stdout
    assert "FAIL  queue embed" in failed
    stack.run("worker", "resume", "worker")
    assert client.wait(job.id).state == "succeeded"
    assert attempts(stack, job.id) == 1


def test_a_terminated_worker_loses_nothing(stack: Stack, client: Client) -> None:
    forget_vectors(stack)
    job = client.embed("operated")
    eventually(lambda: leased(stack, "embed"))
    parent = stack.process("workers")
    parent.send_signal(signal.SIGTERM)
    parent.wait(30)
    assert leased(stack, "embed") == 0
    assert client.wait(job.id).state == "succeeded"
    assert attempts(stack, job.id) == 1
    assert stack.process("workers").pid != parent.pid


@pytest.mark.usefixtures("client")
def test_metrics_tell_of_the_workers(stack: Stack) -> None:
    def chunks() -> float:
        token = {"Authorization": f"Bearer {stack.content['token']}"}
        url = f"{stack.content['url']}/metrics"
        text = httpx.get(url, headers=token, trust_env=False).text
        lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
        return float(lines.get('aparella_worker_chunk_seconds_count{stage="embed"}', 0))

    eventually(lambda: chunks() >= LINES / 200)
