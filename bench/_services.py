"""What the benchmarks of the whole engine run on: servers of their own, and worker processes."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import sleep

import sqlalchemy as sa

from aparella.db import engine, jobs, migrate
from aparella.db.engine import transaction
from aparella.deploy.local import services
from aparella.settings import Settings

_LOOK = 0.1
"""Seconds between two looks at a job. Looking takes time from the workers: 4 % of it at 0.02 s."""
_GRACE = 30.0
"""Seconds that a process may take to end."""


@dataclass(frozen=True)
class Stack:
    """PostgreSQL, with the schema in place, and Valkey.

    Attributes:
        settings: what a process is told that runs on it.
        db: this process's engine.
        folder: a temporary folder; the logs are there.
    """

    settings: Settings
    db: sa.Engine
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a process that runs on it; variables of the user's go on counting."""
        return {
            **os.environ,
            "DATABASE_URL": self.settings.database_url,
            "REDIS_URL": self.settings.redis_url,
            "APARELLA_ARTIFACTS": self.settings.artifacts,
            "APARELLA_CATALOGUE_FOLDER": self.settings.catalogue_folder,
            "HF_HUB_OFFLINE": "1",
        }


@contextmanager
def stack() -> Iterator[Stack]:
    """Start servers as `aparella up` does, in a temporary folder, never those that a user named.

    Their speed is part of what is measured, and another's queue must not be worked on here.
    """
    environ = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL")}
    with tempfile.TemporaryDirectory(prefix="aparella-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # as root, PostgreSQL runs as a user of its own
        with services(folder, environ=environ) as found:
            settings = Settings.model_validate(
                {
                    "DATABASE_URL": found.database_url,
                    "REDIS_URL": found.redis_url,
                    "artifacts": f"file://{folder}/artifacts",
                    "catalogue_folder": f"{folder}/catalogues",
                }
            )
            db = engine.create(settings, name="bench")
            try:
                with db.connect() as connection:
                    migrate.upgrade(connection)
                yield Stack(settings, db, folder)
            finally:
                db.dispose()


@contextmanager
def variables(**values: str) -> Iterator[None]:
    """Environment variables, for as long as the block lasts."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def workers(on: Stack, processes: int) -> Iterator[None]:
    """A worker of so many processes, and the reconciler."""
    with ExitStack() as started:
        started.enter_context(process(on, "workers", "--concurrency", str(processes)))
        started.enter_context(process(on, "workers.reconciler"))
        yield


@contextmanager
def process(
    on: Stack,
    module: str,
    *arguments: str,
    cores: Sequence[int] | None = None,
    package: str = "aparella",
) -> Iterator[None]:
    """A process that runs on the stack, kept to some cores if any are named."""
    command = [sys.executable, "-m", f"{package}.{module}", *arguments]
    if cores is not None:
        command = ["taskset", "--cpu-list", ",".join(map(str, cores)), *command]
    with (on.folder / f"{module}.log").open("ab") as log:
        process = subprocess.Popen(
            command, env=on.environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def finished(db: sa.Engine, job_id: int) -> jobs.Job:
    """Wait for the end of a job, which must succeed."""
    while True:
        with transaction(db) as connection:
            job = jobs.find(connection, job_id)
        if job.state not in jobs.OPEN:
            assert job.state == "succeeded", f"job {job_id} {job.state}: {job.error}"
            return job
        sleep(_LOOK)
