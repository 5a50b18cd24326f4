"""Aparella as a user runs it: real processes, real HTTP, through the command and the client."""

import json
import os
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeVar

import psutil
import pytest
import sqlalchemy as sa

from aparella.client import Client
from aparella.deploy import ports
from aparella.settings import Settings

ROOT = Path(__file__).parents[2]
BIN = ROOT / ".venv" / "bin"
LEASE = 4.0


@dataclass
class Stack:
    """A running local stack, and ways to use and to hurt it."""

    data: Path
    environment: dict[str, str]

    def run(
        self, *words: str, code: int = 0, timeout: float = 280, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run the command; fails the test unless it ends with this exit code."""
        result = subprocess.run(
            [BIN / "aparella", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **options,
        )
        assert result.returncode == code, result.stdout + result.stderr
        assert "Traceback" not in result.stdout + result.stderr
        return result

    def json(self, *words: str, code: int = 0) -> dict[str, Any]:
        """Run the command with --json and read its answer."""
        answer: dict[str, Any] = json.loads(self.run("--json", *words, code=code).stdout)
        return answer

    @property
    def content(self) -> dict[str, Any]:
        """What stack.json says."""
        found: dict[str, Any] = json.loads((self.data / "stack.json").read_text())
        return found

    def client(self) -> Client:
        """A client of the stack's API."""
        return Client(self.content["url"], self.content["token"])

    def database(self) -> sa.Engine:
        """An engine on the stack's database."""
        url = self.environment.get("DATABASE_URL") or self.content["database_url"]
        return sa.create_engine(Settings(DATABASE_URL=url).sqlalchemy_url)

    def process(self, name: str) -> psutil.Process:
        """The supervised process of that name."""
        status = self.json("status")
        (found,) = (child for child in status["processes"] if child["name"] == name)
        return psutil.Process(found["pid"])

    def pool(self) -> list[psutil.Process]:
        """The processes of the worker's pool."""
        return [
            child
            for child in self.process("workers").children()
            if child.status() != psutil.STATUS_ZOMBIE and "spawn_main" in " ".join(child.cmdline())
        ]


T = TypeVar("T")


def eventually(look: Callable[[], T], *, seconds: float = 60.0) -> T:
    """What `look` returns as soon as that is true."""
    deadline = monotonic() + seconds
    while not (found := look()):
        assert monotonic() < deadline, f"not within {seconds} s"
        sleep(0.02)
    return found


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """A stack with two workers, the stand-in encoder (a moment a text), and short leases."""
    with tempfile.TemporaryDirectory(prefix="aparella-acceptance-") as folder, database() as url:
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("APARELLA_")},
            **url,
            **redis_database(),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "APARELLA_DATA": folder,
            "APARELLA_ENCODER": "hash:0.001",
            "APARELLA_LEASE_SECONDS": str(LEASE),
            "APARELLA_HEARTBEAT_SECONDS": "1",
            "APARELLA_RECONCILE_SECONDS": "1",
            "APARELLA_REPORT_SECONDS": "0.5",
            "APARELLA_CHECKPOINT_SECONDS": "0.2",
            "APARELLA_EMBED_CHUNK": "200",
            "APARELLA_MATCH_CHUNK": "150",
        }
        running = Stack(Path(folder), environment)
        try:
            running.run("up", "--workers", "2", "--port", str(ports.choose()), "--detach")
            yield running
        finally:
            running.run("down")


def redis_database() -> dict[str, str]:
    """A Redis database of this pytest process's own, beyond those of the integration tests.

    Stacks that share one would take each other's messages.
    """
    given = os.environ.get("REDIS_URL")
    if not given:
        return {}
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return {"REDIS_URL": f"{given.rsplit('/', 1)[0]}/{number + 8}"}


@contextmanager
def database() -> Iterator[dict[str, str]]:
    """A database of the session's own on the server of DATABASE_URL, if one is named."""
    given = os.environ.get("DATABASE_URL")
    if not given:
        yield {}
        return
    url = sa.make_url(Settings(DATABASE_URL=given).sqlalchemy_url)
    name = f"aparella_acceptance_{uuid.uuid4().hex[:8]}"
    server = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    own = url.set(drivername="postgresql", database=name)
    yield {"DATABASE_URL": own.render_as_string(hide_password=False)}
    with server.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()
