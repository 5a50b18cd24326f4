"""The procedure of docs/operations.md: dumped while a job runs, restored beside an empty Valkey."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import sqlalchemy as sa

from aparella.deploy import postgres
from aparella.deploy.local import services
from aparella.deploy.servers import Services
from aparella.settings import Settings
from tests.acceptance.conftest import Stack, eventually
from tests.acceptance.test_faults import leased, prepare

PENDING = sa.text("""
    SELECT count(*) FILTER (WHERE state IN ('ready', 'leased')) AS open,
           count(*) FILTER (WHERE state = 'leased') AS leased FROM chunk
""")


def tool(name: str, *arguments: str) -> None:
    done = subprocess.run(
        [str(postgres.binaries() / name), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@contextmanager
def process(environment: dict[str, str], module: str, *arguments: str) -> Iterator[None]:
    running = subprocess.Popen(
        [sys.executable, "-m", f"aparella.{module}", *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        running.kill()  # its pool ends with it, and nobody needs what it would hand back
        running.wait(10)


@contextmanager
def elsewhere() -> Iterator[Services]:
    """Another PostgreSQL and another Valkey, both empty."""
    environ = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL")}
    with tempfile.TemporaryDirectory(prefix="aparella-restored-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with services(folder, durable=False, environ=environ) as found:
            yield found


def test_all_jobs_finish_after_a_restore(stack: Stack, tmp_path: Path) -> None:
    dump = tmp_path / "aparella.dump"
    url = stack.environment.get("DATABASE_URL") or stack.content["database_url"]
    with stack.client() as client:
        prepare(client, tmp_path, "saved")
        job = client.match("saved-list", "saved-catalogue", k=3)
        eventually(lambda: leased(stack, "embed"))
        tool("pg_dump", "--format=custom", f"--file={dump}", url)
        job = client.wait(job.id)
        assert job.state == "succeeded"
        undisturbed = [
            (m.source_key, m.rank, m.target_key) for m in client.matches(job.id, page=500)
        ]
    with elsewhere() as servers, ExitStack() as running:
        create = f"--dbname={servers.database_url}"
        tool("psql", create, "-c", "CREATE ROLE aparella_report NOLOGIN")
        tool("pg_restore", "--no-owner", "--exit-on-error", create, str(dump))
        environment = {
            **stack.environment,
            "DATABASE_URL": servers.database_url,
            "REDIS_URL": servers.redis_url,
            "APARELLA_ARTIFACTS": f"file://{stack.data}/artifacts",
            "APARELLA_CATALOGUE_FOLDER": f"{stack.data}/catalogues",
        }
        db = sa.create_engine(Settings(DATABASE_URL=servers.database_url).sqlalchemy_url)
        with db.connect() as connection:
            assert connection.execute(PENDING).one().leased, "nothing was in hand at that moment"
        migrated = subprocess.run(
            [sys.executable, "-m", "aparella.db.migrate"], env=environment, check=False
        )
        assert migrated.returncode == 0
        running.enter_context(process(environment, "workers.reconciler"))
        queues = ("--queues", "import,embed,match", "--concurrency", "2")
        running.enter_context(process(environment, "workers", *queues))
        states = sa.text("SELECT DISTINCT state FROM job")
        with db.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT")

            def ended() -> bool:
                found = set(connection.execute(states).scalars())
                return not found & {"queued", "running", "cancelling"}

            eventually(ended, seconds=120)
            assert connection.execute(PENDING).one().open == 0
            state = connection.execute(
                sa.text("SELECT state FROM job WHERE id = :id"), {"id": job.id}
            )
            assert state.scalar_one() == "succeeded"
            rows = connection.execute(
                sa.text(
                    "SELECT s.key, m.rank, t.key FROM match m JOIN record s ON s.id = m.source_id "
                    "JOIN record t ON t.id = m.target_id WHERE m.job_id = :id"
                ),
                {"id": job.id},
            )
            assert sorted(map(tuple, rows)) == sorted(undisturbed)
        db.dispose()
