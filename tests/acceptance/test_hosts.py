"""A job on several hosts: one joins in the middle, one is cut off; every row comes out once."""

import csv
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from aparella.deploy import account, postgres, valkey
from tests.acceptance import hosts
from tests.acceptance.conftest import BIN, ROOT, eventually
from tests.acceptance.hosts import SERVER_HOST, SERVERS, Host

LINES, RECORDS, K = 3_000, 300, 3
SECONDS_PER_TEXT = 0.02
TOKEN = "of-this-test"
PASSWORD = "of-this-test-too"

pytestmark = pytest.mark.slow


@dataclass
class Site:
    """The servers' host and those of the workers."""

    folder: Path
    workers: list[Host]
    environment: dict[str, str]
    database: sa.Engine

    def start_worker(self, host: Host) -> None:
        """Start the worker command there, with the address of the servers and nothing else."""
        words = ["-m", "aparella.workers", "--queues", "import,embed,match"]
        words += ["--concurrency", "1", "--name", host.name]
        environment = {**self.environment, "APARELLA_PULSE": str(self.pulse(host))}
        log = self.folder / f"{host.name}.log"
        host.start([sys.executable, *words], environment, log, cwd=self.folder)

    def pulse(self, host: Host) -> Path:
        """What a worker touches when it has come up."""
        return self.folder / f"{host.name}.pulse"

    def aparella(self, *words: str) -> dict[str, object]:
        """The command, on the servers' host."""
        said = SERVER_HOST.run([str(BIN / "aparella"), "--json", *words], self.environment)
        answer: dict[str, object] = json.loads(said.splitlines()[-1])  # the last news of a watch
        return answer

    def rows(self, query: str, **values: object) -> list[tuple[object, ...]]:
        """What a query gives. Over the server's socket: a file, which all namespaces share."""
        with self.database.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(query), values)]

    def hosts_at_work(self, job: int) -> set[object]:
        """Hosts that have done chunks of encoding, or are at it."""
        query = (
            "SELECT DISTINCT split_part(c.leased_by, ':', 1) FROM chunk c "
            "JOIN stage s ON s.id = c.stage_id WHERE c.job_id = :job AND s.handler = 'embed' "
            "AND c.kind = 'work' AND c.state IN ('leased', 'done')"
        )
        return {name for (name,) in self.rows(query, job=job)}

    def in_hand(self, job: int, host: Host) -> list[tuple[object, ...]]:
        """Chunks of encoding that the host has leased."""
        query = (
            "SELECT c.id FROM chunk c JOIN stage s ON s.id = c.stage_id WHERE c.job_id = :job "
            "AND s.handler = 'embed' AND c.kind = 'work' AND c.state = 'leased' "
            "AND c.leased_by LIKE :host"
        )
        return self.rows(query, job=job, host=f"{host.name}:%")


def start_servers(folder: Path) -> sa.Engine:
    """PostgreSQL, Valkey, the API and the reconciler on the servers' host."""
    data, sockets, broker = folder / "postgres", folder / "sockets", folder / "valkey"
    sockets.mkdir()
    system = account.current()
    user = (system.uid, system.gid) if system else None
    if system:
        system.own(sockets)
    postgres.prepare(data, PASSWORD, durable=False)
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write(f"host all all {hosts.NETWORK}.0/24 scram-sha-256\n")
    words = [*postgres.command(data, port=5432, durable=False), "-c", f"listen_addresses={SERVERS}"]
    words += ["-c", f"unix_socket_directories={sockets}"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    SERVER_HOST.start(
        words,
        environment,
        folder / "postgres.log",
        user=user,
        cwd=data,
        stop_signal=postgres.STOP_SIGNAL,
    )
    database = sa.create_engine(
        sa.URL.create(
            "postgresql+psycopg2",
            username=postgres.USER,
            password=PASSWORD,
            database=postgres.DATABASE,
            query={"host": str(sockets)},
        )
    )
    maintenance = f"postgresql://{postgres.USER}:{PASSWORD}@/postgres?host={sockets}"
    eventually(lambda: postgres.answers(maintenance) is None, seconds=30)
    postgres.create_database(maintenance)
    start = valkey.prepare(broker, port=6379, password=PASSWORD)
    words = [*start, "--bind", SERVERS]
    SERVER_HOST.start(words, environment, folder / "valkey.log", user=user, cwd=broker)
    return database


@pytest.fixture
def site() -> Iterator[Site]:
    if why := hosts.reason_against():
        pytest.skip(why)
    with (
        tempfile.TemporaryDirectory(prefix="aparella-hosts-") as name,
        hosts.network("h1", "h2", "h3") as workers,
    ):
        folder = Path(name)
        folder.chmod(0o755)
        environment = {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": name,
            "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT))),
            "DATABASE_URL": f"postgresql://{postgres.USER}:{PASSWORD}@{SERVERS}/{postgres.DATABASE}",
            "REDIS_URL": f"redis://:{PASSWORD}@{SERVERS}:6379/0",
            "APARELLA_URL": f"http://{SERVERS}:8000",
            "APARELLA_TOKEN": TOKEN,
            "APARELLA_ARTIFACTS": f"file://{folder}/artifacts",
            "APARELLA_ENCODER": f"hash:{SECONDS_PER_TEXT}",
            "APARELLA_EMBED_CHUNK": "25",
            "APARELLA_MATCH_CHUNK": "100",
            "APARELLA_LEASE_SECONDS": "4",
            "APARELLA_HEARTBEAT_SECONDS": "1",
            "APARELLA_RECONCILE_SECONDS": "1",
        }
        database = start_servers(folder)
        python = [sys.executable, "-m"]
        SERVER_HOST.run([*python, "aparella.db.migrate"], environment)
        serve = [*python, "aparella.api", "--host", SERVERS, "--port", "8000"]
        SERVER_HOST.start(serve, environment, folder / "api.log")
        reconcile = [*python, "aparella.workers.reconciler"]
        SERVER_HOST.start(reconcile, environment, folder / "reconciler.log")
        yield Site(folder, workers, environment, database)
        database.dispose()


def write(path: Path, name: str, rows: int) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["id", "text"])
        out.writerows((f"{name}{i}", f"{name} XERINGA {i} ML") for i in range(rows))
    return str(path)


def test_a_job_across_hosts(site: Site) -> None:
    first, second, third = site.workers
    for host in (first, second):
        site.start_worker(host)
    for host in (first, second):
        eventually(site.pulse(host).exists, seconds=120)
    for name, rows in (("list", LINES), ("catalogue", RECORDS)):
        path = write(site.folder / f"{name}.csv", name, rows)
        site.aparella("import", name, path, "--key", "id", "--text", "text")

    job = int(str(site.aparella("match", "list", "catalogue", "-k", str(K))["id"]))
    eventually(lambda: site.hosts_at_work(job) >= {"h1", "h2"})
    site.start_worker(third)
    eventually(lambda: "h3" in site.hosts_at_work(job), seconds=120)

    # Cut off with a chunk in hand. Its process lives on and learns nothing.
    def cut_off() -> list[tuple[object, ...]]:
        second.cable("down")
        if found := site.in_hand(job, second):
            return found
        second.cable("up")
        return []

    ((lost,),) = eventually(cut_off)
    ended = site.aparella("job", "watch", str(job))
    assert ended["state"] == "succeeded", ended

    ((matches, sources, pairs),) = site.rows(
        "SELECT count(*), count(DISTINCT source_id), count(DISTINCT (source_id, rank)) "
        "FROM match WHERE job_id = :job",
        job=job,
    )
    assert (matches, sources, pairs) == (LINES * K, LINES, LINES * K)
    ((state, by),) = site.rows("SELECT state, leased_by FROM chunk WHERE id = :id", id=lost)
    assert state == "split" or (state == "done" and not str(by).startswith("h2:")), (state, by)

    # Connected again, it works on: now alone.
    for host in (first, third):
        for program in host.programs:
            program.send_signal(signal.SIGTERM)
            assert program.wait(timeout=60) == 0
    second.cable("up")
    path = write(site.folder / "more.csv", "more", 30)
    site.aparella("import", "more", path, "--key", "id", "--text", "text")
    job = int(str(site.aparella("embed", "more", "--wait")["id"]))
    assert site.hosts_at_work(job) == {"h2"}
    assert psutil.Process(second.programs[0].pid).is_running()
