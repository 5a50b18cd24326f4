"""Memory is bounded by the chunk, not by the job: ten times the rows need no more of it."""

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from time import monotonic

import psutil
import pytest
import sqlalchemy as sa

from aparella.db import engine, jobs, migrate, models, records, stages
from aparella.db.engine import transaction
from aparella.deploy.local import services
from aparella.settings import Settings
from aparella.workers import pipelines
from aparella.workers.text import CLEANER_VERSION, text_hash
from tests.acceptance.conftest import eventually

log = logging.getLogger(__name__)  # shown by pytest --log-cli-level=INFO

MOST = 1.10
"""Peak of the large job over that of the small one."""
MIB = 1 << 20
INSERT = sa.text("""
    INSERT INTO record (collection_id, key, text, text_hash, cleaner_version)
    SELECT :collection, line, line, hash, :version
    FROM unnest(CAST(:lines AS text[]), CAST(:hashes AS bytea[])) AS rows(line, hash)
""")


class Peaks(Thread):
    """Samples the resident memory of a process and all below it; keeps each one's highest."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._top = psutil.Process(pid)
        self._ended = Event()
        self.bytes: dict[int, int] = {}

    def run(self) -> None:
        while not self._ended.wait(0.05):
            with suppress(psutil.NoSuchProcess):
                for process in (self._top, *self._top.children(recursive=True)):
                    self._sample(process)

    def _sample(self, process: psutil.Process) -> None:
        with suppress(psutil.NoSuchProcess):
            seen = process.memory_info().rss
            self.bytes[process.pid] = max(seen, self.bytes.get(process.pid, 0))

    def end(self) -> int:
        """Stop; the highest peak of a single process, in bytes."""
        self._ended.set()
        self.join()
        return max(self.bytes.values())


@pytest.fixture
def settings() -> Iterator[Settings]:
    """Servers of the test's own: other tests' workers must not take its hints."""
    environ = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL")}
    with tempfile.TemporaryDirectory(prefix="aparella-memory-") as folder:
        Path(folder).chmod(0o755)  # as root, PostgreSQL runs as a user of its own
        with services(Path(folder), durable=False, environ=environ) as found:
            urls = {"DATABASE_URL": found.database_url, "REDIS_URL": found.redis_url}
            yield Settings.model_validate({**urls, "catalogue_folder": f"{folder}/catalogues"})


@pytest.fixture
def db(settings: Settings) -> Iterator[sa.Engine]:
    own = engine.create(settings, name="test")
    with own.connect() as connection:
        migrate.upgrade(connection)
    yield own
    own.dispose()


@contextmanager
def workers(settings: Settings, processes: int) -> Iterator[psutil.Process]:
    """A fresh worker of so many processes, and a reconciler; the worker's main process."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("APARELLA_")},
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "APARELLA_CATALOGUE_FOLDER": settings.catalogue_folder,
        "APARELLA_ENCODER": "hash",
        # Quick to encode: fewer and larger chunks leave more of the time to the work.
        "APARELLA_EMBED_CHUNK": "1000",
    }
    with ExitStack() as running:
        started = []
        for module, *arguments in (
            ["workers", "--concurrency", str(processes)],
            ["workers.reconciler"],
        ):
            process = psutil.Popen(
                [sys.executable, "-m", f"aparella.{module}", *arguments],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            running.callback(stop, process)
            started.append(process)
        yield started[0]


def stop(process: psutil.Popen) -> None:
    below = process.children(recursive=True)
    process.terminate()
    with suppress(subprocess.TimeoutExpired, psutil.TimeoutExpired):
        process.wait(30)
    for left in (process, *below):
        with suppress(psutil.NoSuchProcess):
            left.kill()
    psutil.wait_procs((process, *below), timeout=10)


def fill(db: sa.Engine, name: str, rows: int) -> None:
    """A collection of so many records, as an import would leave it."""
    lines = [f"{name.upper()} {i} ML ESTERIL" for i in range(rows)]
    values = {
        "lines": lines,
        "hashes": [text_hash(line) for line in lines],
        "version": CLEANER_VERSION,
    }
    with transaction(db) as connection:
        values["collection"] = records.ensure_collection(connection, name)
        connection.execute(INSERT, values)
        connection.execute(sa.text("ANALYZE record"))


def match(db: sa.Engine, source: str, target: str, *, k: int = 10) -> int:
    """Enqueue a match job as the API does."""
    with transaction(db) as connection:
        model = models.find_model(connection, None)
        plan = pipelines.match_stages(
            model.id,
            records.collection_id(connection, source),
            records.collection_id(connection, target),
            k,
        )
        return jobs.create(
            connection,
            kind="match",
            params={"source": source, "target": target, "k": k},
            plan=plan,
            model_id=model.id,
        )[0]


def peak(
    settings: Settings, db: sa.Engine, sources: int, targets: int, processes: int, *, seconds: float
) -> int:
    """The highest memory of a worker process over a whole match job, in bytes."""
    source, target = f"list{sources}", f"catalogue{sources}"
    fill(db, source, sources)
    fill(db, target, targets)
    with workers(settings, processes) as worker:
        peaks = Peaks(worker.pid)
        peaks.start()
        start = monotonic()
        job_id = match(db, source, target)

        def ended() -> jobs.Job | None:
            with transaction(db) as connection:
                job = jobs.find(connection, job_id)
            return None if job.state in jobs.OPEN else job

        job = eventually(ended, seconds=seconds)
        assert job is not None
        took = monotonic() - start
        highest = peaks.end()
    assert job.state == "succeeded", job
    assert job.summary["plan"]["matrix_shared"], job.summary
    with transaction(db) as connection:
        progress = stages.progress(connection, [job_id])
        found = connection.execute(
            sa.text("SELECT count(*) FROM match WHERE job_id = :id"), {"id": job_id}
        ).scalar_one()
    assert [stage.done for stage in progress] == [sources, targets, 0, 1, sources]
    assert found == sources * 10
    spans = ", ".join(
        f"{stage.name} {(stage.finished_at - stage.started_at).total_seconds():.1f} s"
        for stage in progress
        if stage.started_at is not None and stage.finished_at is not None
    )
    log.info("%d x %d: %.0f MiB, %.1f s (%s)", sources, targets, highest / MIB, took, spans)
    return highest


@pytest.mark.parametrize(
    ("few", "many", "targets", "processes"),
    [
        # One process: shared between two, a leak of all vectors would stay within the tenth.
        (2_000, 20_000, 2_000, 1),
        pytest.param(
            *(20_000, 200_000, 20_000, 2), marks=[pytest.mark.slow, pytest.mark.timeout(900)]
        ),
    ],
)
def test_ten_times_the_rows_take_no_more_memory(
    settings: Settings, db: sa.Engine, few: int, many: int, targets: int, processes: int
) -> None:
    small = peak(settings, db, few, targets, processes, seconds=120)
    large = peak(settings, db, many, targets, processes, seconds=600)
    assert large <= MOST * small, f"{large / MIB:.0f} MiB, {small / MIB:.0f} MiB with a tenth"
