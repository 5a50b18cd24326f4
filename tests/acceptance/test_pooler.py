"""A whole job behind a real PgBouncer in transaction mode, compared with one without it."""

import os
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen, run

import httpx
import psutil
import pytest
import sqlalchemy as sa

from aparella.client import Client
from aparella.db import budget
from aparella.deploy import ports
from aparella.deploy.local import services
from aparella.deploy.servers import Services
from aparella.settings import Settings
from tests.acceptance.conftest import database, eventually, redis_database
from tests.acceptance.test_faults import rows_of, write
from tests.pooler import needs_pgbouncer, pooler, servers, waiting

LINES, RECORDS, LONG, K = 500, 600, 4_000, 3
PROCESSES = 3
READERS = 25
TOKEN = "of-this-test"
MOST = {
    "api": budget.API.most,
    "worker": budget.WORKER.most,
    "process": budget.PROCESS.most,
    "reconciler": budget.RECONCILER.most + budget.LISTENER.most,
}


@dataclass
class Site:
    """Aparella's processes at one URL of the database."""

    api: str
    database_url: str
    processes: dict[str, psutil.Process] = field(default_factory=dict)

    def client(self) -> Client:
        """A client of its API."""
        return Client(self.api, TOKEN)

    def connections(self) -> list[tuple[str, int]]:
        """For each process its kind, and how many connections it has to the URL's port."""
        port = sa.make_url(self.database_url).port
        found = list(self.processes.items())
        pool = self.processes["worker"].children()
        found += [("process", p) for p in pool if "spawn_main" in " ".join(p.cmdline())]
        return [
            (
                kind,
                sum(
                    c.status == psutil.CONN_ESTABLISHED and c.raddr.port == port
                    for c in process.net_connections("tcp")
                ),
            )
            for kind, process in found
        ]


@dataclass
class Watch:
    """The most that was seen at once.

    Attributes:
        most: connections of one process, by its kind.
        clients: connections of all processes.
        servers: sessions of the server.
        waited: clients that waited for one.
    """

    most: Counter[str] = field(default_factory=Counter)
    clients: int = 0
    servers: int = 0
    waited: int = 0


@contextmanager
def two_servers() -> Iterator[Services]:
    """A database and a broker of the test's own."""
    with database() as url, tempfile.TemporaryDirectory(prefix="aparella-pooler-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with services(folder, durable=False, environ={**url, **redis_database()}) as found:
            yield found


@contextmanager
def site(environment: dict[str, str], folder: Path) -> Iterator[Site]:
    """API, worker and reconciler, until the block ends; what they said if it fails."""
    port = ports.choose()
    commands = {
        "api": ("api", "--port", str(port)),
        "worker": ("workers", "--queues", "import,embed,match", "--concurrency", str(PROCESSES)),
        "reconciler": ("workers.reconciler",),
    }
    running: dict[str, Popen[bytes]] = {}
    folder.mkdir()
    try:
        for name, (module, *arguments) in commands.items():
            with (folder / name).open("wb") as log:
                running[name] = Popen(
                    [sys.executable, "-m", f"aparella.{module}", *arguments],
                    env=environment,
                    stdout=log,
                    stderr=STDOUT,
                )
        found = Site(f"http://127.0.0.1:{port}", environment["DATABASE_URL"])
        found.processes = {name: psutil.Process(p.pid) for name, p in running.items()}
        eventually(lambda: answers(found.api))
        yield found
    except BaseException as error:
        for name in running:
            error.add_note(f"{name}:\n{(folder / name).read_text()[-3_000:]}")
        raise
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait(40)
    said = "".join((folder / name).read_text() for name in running)
    assert "Traceback" not in said, said
    assert "no free database connection" not in said, said


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def work(client: Client, db: sa.Engine, folder: Path, name: str) -> list[tuple[str, ...]]:
    """Import, embed and match, and cancel another job in the middle; the rows that come of it."""
    folder.mkdir()
    for kind, rows in (("list", LINES), ("catalogue", RECORDS), ("long", LONG)):
        path = write(folder / f"{kind}.csv", kind, rows)
        job = client.import_file(f"{name}-{kind}", path, key="id", text=["text"])
        assert client.wait(job.id).state == "succeeded"
    long = client.embed(f"{name}-long")
    some = sa.text("SELECT count(*) FROM chunk WHERE job_id = :id AND state = 'done'")

    def begun() -> bool:
        with db.connect() as connection:
            return connection.execute(some, {"id": long.id}).scalar_one() > 3

    eventually(begun)
    matched = client.match(f"{name}-list", f"{name}-catalogue", k=K)
    client.cancel(long.id)
    ended = client.wait(long.id)
    assert ended.state == "cancelled"
    assert ended.progress.done < LONG
    assert client.wait(matched.id).state == "succeeded"
    return rows_of(client, matched.id, folder / "out.csv")


@contextmanager
def read_by_many(on: Site) -> Iterator[None]:
    """So many clients of the API at once, none of which may be refused or see an error."""
    done = threading.Event()

    def read() -> int:
        answered = 0
        with on.client() as client:
            while not done.wait(0.5):
                list(client.jobs())
                client.collections()
                answered += 1
        return answered

    with ThreadPoolExecutor(READERS) as pool:
        readers = [pool.submit(read) for _ in range(READERS)]
        try:
            yield
        finally:
            done.set()
        assert all(reader.result() for reader in readers)


@contextmanager
def watched(on: Site, db: sa.Engine) -> Iterator[Watch]:
    """Counts connections all the while."""
    done, seen = threading.Event(), Watch()
    query = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name LIKE 'aparella %'"
    )

    def look() -> None:
        while not done.wait(0.1):
            counts = on.connections()
            for kind, count in counts:
                seen.most[kind] = max(seen.most[kind], count)
            seen.clients = max(seen.clients, sum(count for _, count in counts))
            with db.connect() as connection:
                seen.servers = max(seen.servers, connection.execute(query).scalar_one())
            seen.waited = max(seen.waited, waiting(on.database_url))

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        try:
            yield seen
        finally:
            done.set()
        looking.result()


@pytest.mark.slow  # tests/integration/test_pooler.py is the quick one
@needs_pgbouncer
def test_a_job_behind_a_pooler_is_as_one_without(tmp_path: Path) -> None:
    with two_servers() as found, ExitStack() as opened:
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("APARELLA_", "DATABASE_"))},
            "DATABASE_URL": found.database_url,
            "REDIS_URL": found.redis_url,
            "APARELLA_ARTIFACTS": f"file://{tmp_path}/artifacts",
            "APARELLA_TOKEN": TOKEN,
            "APARELLA_ENCODER": "hash:0.001",
            "APARELLA_RECONCILE_SECONDS": "1",
            "APARELLA_REPORT_SECONDS": "0.5",
            "APARELLA_HEARTBEAT_SECONDS": "1",
            "APARELLA_LEASE_SECONDS": "20",
            "APARELLA_EMBED_CHUNK": "50",
            "APARELLA_MATCH_CHUNK": "50",
        }
        migrate = [sys.executable, "-m", "aparella.db.migrate"]
        made = run(migrate, env=environment, stdout=PIPE, stderr=STDOUT, text=True, check=False)
        assert made.returncode == 0, made.stdout
        db = sa.create_engine(Settings(DATABASE_URL=found.database_url).sqlalchemy_url)
        opened.callback(db.dispose)
        with site(environment, tmp_path / "direct") as on, on.client() as client:
            expected = work(client, db, tmp_path / "calm", "direct")
        assert len(expected) == LINES * K
        with db.begin() as connection:
            connection.execute(sa.text("TRUNCATE embedding"))  # all is to be encoded again

        url = opened.enter_context(pooler(found.database_url))
        behind = {**environment, "DATABASE_URL": url}
        with (
            site(behind, tmp_path / "pooled") as on,
            on.client() as client,
            watched(on, db) as seen,
            read_by_many(on),
        ):
            rows = work(client, db, tmp_path / "crowded", "pooled")
        assert rows == expected
        assert set(seen.most) == set(MOST)
        assert all(seen.most[kind] <= most for kind, most in MOST.items()), seen
        assert seen.clients > servers() >= seen.servers > 0, seen
        assert seen.waited > 0, seen

        # Nothing is left behind in the sessions that others are given next.
        own = sa.create_engine(Settings(DATABASE_URL=url).sqlalchemy_url, pool_size=servers())
        with ExitStack() as held:
            for _ in range(servers()):
                connection = held.enter_context(own.connect())
                changed = sa.text(
                    "SELECT name FROM pg_settings WHERE source = 'session' "
                    "AND name NOT LIKE 'transaction_%' AND name NOT IN ('application_name', "
                    "'client_encoding', 'DateStyle', 'TimeZone', 'standard_conforming_strings')"
                )
                assert connection.execute(changed).all() == []
                assert connection.execute(sa.text("SELECT pg_listening_channels()")).all() == []
                locks = sa.text(
                    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' "
                    "AND pid = pg_backend_pid()"
                )
                assert connection.execute(locks).scalar_one() == 0
        own.dispose()
