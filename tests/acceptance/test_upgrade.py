"""An older version's job goes on while the newer one moves in, as docs/operations.md says."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
import sqlalchemy as sa

from aparella.client import Client
from aparella.deploy import ports
from aparella.deploy.local import services
from aparella.settings import Settings
from tests.acceptance.conftest import ROOT, eventually
from tests.acceptance.test_faults import prepare, rows_of

OLD = "12944971d2f84e3c832fb397b70178439bead7ec"
"""A commit whose last migration is 0010: the versions since have added to it."""
TOKEN = "of-this-test"
DONE = sa.text("""
    SELECT count(*) FROM chunk WHERE job_id = :job AND state = 'done' AND leased_by LIKE :by
""")


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The older version's files; skipped in a clone that is too shallow to have them."""
    folder = tmp_path_factory.mktemp("old")
    archive = folder / "old.tar"
    command = ["git", "-C", str(ROOT), "archive", "--output", str(archive), OLD]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip(f"this clone does not have the commit {OLD[:7]}")
    subprocess.run(["tar", "--extract", "--file", str(archive)], cwd=folder, check=True)
    return folder


class Site:
    """Processes of two versions on one database."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.environment = environment
        self._folder = folder

    def version(self, root: Path) -> dict[str, str]:
        """The environment in which that version's code is the one that is imported."""
        return {**self.environment, "PYTHONPATH": str(root / "src")}

    def migrate(self, root: Path) -> None:
        command = [sys.executable, "-m", "aparella.db.migrate"]
        done = subprocess.run(
            command, env=self.version(root), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    @contextmanager
    def process(self, root: Path, module: str, *arguments: str) -> Iterator[psutil.Popen]:
        """A process of that version; it is asked to end, and must not have broken down."""
        log = self._folder / f"{root.name}-{module}.log"
        with log.open("w") as output:
            running = psutil.Popen(
                [sys.executable, "-m", f"aparella.{module}", *arguments],
                env=self.version(root),
                stdout=output,
                stderr=output,
            )
        try:
            yield running
        finally:
            running.terminate()
            running.wait(60)
        assert "Traceback" not in log.read_text(), log.read_text()

    @contextmanager
    def api(self, root: Path) -> Iterator[Client]:
        port = ports.choose()
        url = f"http://127.0.0.1:{port}"
        with self.process(root, "api", "--port", str(port)), Client(url, TOKEN) as client:
            eventually(lambda: _answers(url))
            yield client


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    environ = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL")}
    with tempfile.TemporaryDirectory(prefix="aparella-upgrade-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with services(folder, durable=False, environ=environ) as found:
            own = {
                "DATABASE_URL": found.database_url,
                "REDIS_URL": found.redis_url,
                "APARELLA_ARTIFACTS": f"file://{folder}/artifacts",
                "APARELLA_CATALOGUE_FOLDER": f"{folder}/catalogues",
                "APARELLA_TOKEN": TOKEN,
                "APARELLA_ENCODER": "hash:0.01",
                "APARELLA_EMBED_CHUNK": "20",
                "APARELLA_MATCH_CHUNK": "50",
                "APARELLA_RECONCILE_SECONDS": "1",
            }
            kept = {k: v for k, v in os.environ.items() if not k.startswith("APARELLA_")}
            yield Site({**kept, **own}, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_running_job_is_carried_across_versions(site: Site, old: Path, tmp_path: Path) -> None:
    worker = ("workers", "--queues", "import,embed,match", "--concurrency", "2")
    db = sa.create_engine(Settings(DATABASE_URL=site.environment["DATABASE_URL"]).sqlalchemy_url)

    def done(job_id: int, by: psutil.Popen) -> int:
        """Chunks of a job that a worker's processes have done."""
        with db.connect() as connection:
            return sum(
                int(connection.execute(DONE, {"job": job_id, "by": f"%:{child.pid}"}).scalar_one())
                for child in by.children()
            )

    def goes_on(job_id: int, by: psutil.Popen) -> None:
        """The worker does two more of the job's chunks."""
        before = done(job_id, by)
        eventually(lambda: done(job_id, by) >= before + 2)

    def revision() -> str:
        with db.connect() as connection:
            query = sa.text("SELECT version_num FROM alembic_version")
            return str(connection.execute(query).scalar_one())

    site.migrate(old)
    assert revision() == "0010"
    with ExitStack() as running:
        with ExitStack() as leaving:
            client = leaving.enter_context(site.api(old))
            hosts = leaving.enter_context(ExitStack())
            old_worker = hosts.enter_context(site.process(old, *worker))
            reconciler = leaving.enter_context(ExitStack())
            reconciler.enter_context(site.process(old, "workers.reconciler"))
            prepare(client, tmp_path, "crossing")
            job_id = client.match("crossing-list", "crossing-catalogue", k=3).id
            goes_on(job_id, old_worker)

            site.migrate(ROOT)
            assert revision() > "0010"
            goes_on(job_id, old_worker)
            reconciler.close()
            running.enter_context(site.process(ROOT, "workers.reconciler"))
            goes_on(job_id, old_worker)
            new_worker = running.enter_context(site.process(ROOT, *worker))
            goes_on(job_id, new_worker)
            goes_on(job_id, old_worker)
            assert client.job(job_id).state == "running"
            hosts.close()
            goes_on(job_id, new_worker)
            asked_of_old = client.match("crossing-list", "crossing-catalogue", k=3).id
        client = running.enter_context(site.api(ROOT))
        assert client.wait(job_id).state == "succeeded"
        assert client.wait(asked_of_old).state == "succeeded"
        with db.connect() as connection:
            again = sa.text("SELECT max(attempt) FROM chunk WHERE job_id = :job")
            assert connection.execute(again, {"job": job_id}).scalar_one() == 1
        rows = rows_of(client, job_id, tmp_path / "crossing.csv")
        assert rows_of(client, asked_of_old, tmp_path / "old.csv") == rows
        prepare(client, tmp_path, "calm")
        calm = client.match("calm-list", "calm-catalogue", k=3).id
        assert client.wait(calm).state == "succeeded"
        assert rows_of(client, calm, tmp_path / "calm.csv") == rows
    db.dispose()
