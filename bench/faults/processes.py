"""The processes of a campaign, and who starts them again when they have died."""

import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Protocol, TypeVar

import httpx
import psutil
import sqlalchemy as sa

from aparella.client import Client
from aparella.db import engine, migrate
from aparella.db.budget import Pool
from aparella.deploy import account, ports, postgres, valkey
from aparella.deploy.child import Child, Running
from aparella.settings import Settings
from bench.faults import audit, points, poison
from bench.faults.proxy import Proxy

LEASE = 4.0
PROGRESS = 12.0
K = 3
TOKEN = "of-this-campaign"  # noqa: S105
_PASSWORD = "of-this-campaign-too"  # noqa: S105
_DATABASE_SIZE = 160 << 20
T = TypeVar("T")


def until(look: Callable[[], T], seconds: float, every: float = 0.05) -> T | None:
    """What `look` returns as soon as that is true; None if it is not in time."""
    deadline = monotonic() + seconds
    while not (found := look()):
        if monotonic() > deadline:
            return None
        sleep(every)
    return found


def settings(database_url: str, redis_url: str) -> Settings:
    """Settings of the harness itself."""
    return Settings.model_validate({"DATABASE_URL": database_url, "REDIS_URL": redis_url})


class Cable(Protocol):
    """A host whose link can be taken down."""

    name: str

    def cable(self, state: str) -> None:
        """`down` or `up`."""


@dataclass
class Stack:
    """Servers, proxies before them, and Aparella's processes on top; everything that dies returns.

    Attributes:
        folder: a temporary one; logs and armed points are there.
        children: what runs, by name.
        planned: deaths that the harness has caused, by name.
        deaths: all deaths, by name.
    """

    folder: Path
    children: dict[str, Running] = field(default_factory=dict)
    planned: Counter[str] = field(default_factory=Counter)
    deaths: Counter[str] = field(default_factory=Counter)
    held: set[str] = field(default_factory=set)
    pids: dict[int, str] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    database: Proxy = field(init=False)
    broker: Proxy = field(init=False)
    environment: dict[str, str] = field(init=False, repr=False)
    db: sa.Engine = field(init=False)
    redis_url: str = field(init=False, repr=False)
    api_url: str = field(init=False)
    full_disk: Path | None = None
    far: "Cable | None" = None
    far_reason: str = "no host of its own was asked for"
    _stopped: threading.Event = field(default_factory=threading.Event, repr=False)
    _keeper: threading.Thread | None = field(default=None, repr=False)

    def start_servers(self) -> None:
        """PostgreSQL and Valkey with their proxies, and the schema with the audit."""
        own, user = account.current(), os.environ
        bare = {k: v for k, v in user.items() if not k.startswith(("PG", "APARELLA_"))}
        pg, redis = ports.choose(), ports.choose()
        data = self.folder / "postgres"
        postgres.prepare(data, _PASSWORD)
        log = ("-c", "deadlock_timeout=500ms", "-c", "max_connections=120")
        argv = (*postgres.command(data, port=pg), *log)
        maintenance = f"postgresql://{postgres.USER}:{_PASSWORD}@127.0.0.1:{pg}/postgres"
        self.add(Child("postgres", argv, bare, cwd=data, account=own, stop_signal=signal.SIGINT))
        argv = valkey.prepare(self.folder / "valkey", port=redis, password=_PASSWORD)
        self.add(Child("valkey", argv, bare, cwd=self.folder / "valkey", account=own))
        if not until(lambda: postgres.answers(maintenance) is None, 60):
            raise RuntimeError("PostgreSQL does not start: see logs/postgres.log")
        postgres.create_database(maintenance)
        self.redis_url = f"redis://:{_PASSWORD}@127.0.0.1:{redis}/0"
        direct = maintenance.removesuffix("postgres") + postgres.DATABASE
        self.db = engine.create(settings(direct, self.redis_url), name="campaign", pool=Pool(4, 8))
        with self.db.connect() as connection:
            migrate.upgrade(connection)
        with self.db.begin() as connection:
            audit.install(connection)
        self.database, self.broker = Proxy(pg), Proxy(redis)
        for proxy in (self.database, self.broker):
            proxy.start()
        traps = self.folder / "points"
        traps.mkdir()
        self.environment = {
            **bare,
            "DATABASE_URL": self.url_of_database("127.0.0.1", self.database.port),
            "REDIS_URL": self.url_of_broker("127.0.0.1", self.broker.port),
            "APARELLA_ARTIFACTS": f"file://{self.folder}/artifacts",
            "APARELLA_CATALOGUE_FOLDER": f"{self.folder}/catalogues",
            "APARELLA_TOKEN": TOKEN,
            "APARELLA_ENCODER": "hash",
            "APARELLA_LEASE_SECONDS": str(LEASE),
            "APARELLA_HEARTBEAT_SECONDS": "1",
            "APARELLA_PROGRESS_SECONDS": str(PROGRESS),
            "APARELLA_RECONCILE_SECONDS": "1",
            "APARELLA_REPORT_SECONDS": "2",
            "HF_HUB_OFFLINE": "1",
            points.FOLDER: str(traps),
        }

    def url_of_database(self, host: str, port: int) -> str:
        """What a process is told that finds the database there."""
        return f"postgresql://{postgres.USER}:{_PASSWORD}@{host}:{port}/{postgres.DATABASE}"

    def url_of_broker(self, host: str, port: int) -> str:
        """The same for the broker."""
        return f"redis://:{_PASSWORD}@{host}:{port}/0"

    @property
    def traps(self) -> Path:
        """Where points are armed."""
        return Path(self.environment[points.FOLDER])

    def pace(self, seconds: float) -> None:
        """Let each chunk take so much longer from now on."""
        aside = self.traps / "pace.new"
        aside.write_text(str(seconds), encoding="ascii")
        aside.rename(self.traps / "pace")

    def start(self, name: str, role: str, *arguments: str, **environment: str) -> None:
        """Start one of Aparella's processes with the points in it."""
        argv = (sys.executable, "-m", "bench.faults.entry", role, *arguments)
        env = {**self.environment, **environment}
        self.add(Child(name, argv, env, cwd=Path(__file__).parents[2], grace=40.0))

    def start_api(self) -> None:
        """Start the API."""
        port = ports.choose()
        self.api_url = f"http://127.0.0.1:{port}"
        self.start("api", "api", "--port", str(port))
        if not until(self.answers, 60):
            raise RuntimeError("the API does not start: see logs/api.log")

    def answers(self) -> bool:
        """Whether the API does."""
        try:
            return httpx.get(f"{self.api_url}/readyz", timeout=5).is_success
        except httpx.HTTPError:
            return False

    def add(self, child: Child) -> None:
        """Start a process, and keep it."""
        (self.folder / "logs").mkdir(exist_ok=True)
        running = Running(child, self.folder / "logs" / f"{child.name}.log")
        with self.lock:
            self._spawn(running)
            self.children[child.name] = running
        if self._keeper is None:
            self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)
            self._keeper.start()

    def remove(self, name: str, signal_first: signal.Signals | None = signal.SIGTERM) -> int:
        """End a process for good; returns its exit code, negative for a signal."""
        with self.lock:
            running = self.children.pop(name)
        process = running.process
        if process is None:
            return 0
        if signal_first is not None:
            process.send_signal(signal_first)
            until(lambda: running.died, running.child.grace)
        if not running.died:
            process.kill()
            until(lambda: running.died, 10)
        return running.bury()

    def pid(self, name: str) -> int:
        """Of the process of that name; 0 while it is away."""
        with self.lock:
            process = self.children[name].process
            return process.pid if process else 0

    def name_of(self, pid: int) -> str:
        """Whose process id that is, or was."""
        return self.pids.get(pid, "")

    def kill(
        self, name: str, number: signal.Signals = signal.SIGKILL, *, group: bool = False
    ) -> None:
        """Let a signal end a process; it returns unless it is held."""
        self.planned[name] += 1
        with self.lock:
            process = self.children[name].process
            if process is not None:
                (os.killpg if group else os.kill)(process.pid, number)

    def workers(self) -> list[str]:
        """Names of the workers."""
        with self.lock:
            return [name for name in self.children if name.startswith("worker")]

    def pool(self, name: str) -> list[psutil.Process]:
        """The living processes of a worker's pool."""
        try:
            return [
                child
                for child in psutil.Process(self.pid(name)).children()
                if child.status() != psutil.STATUS_ZOMBIE
                and "spawn_main" in " ".join(child.cmdline())
            ]
        except psutil.Error:
            return []

    def client(self) -> Client:
        """A client of the API."""
        return Client(self.api_url, TOKEN, timeout=10)

    def log(self, name: str) -> str:
        """What a process wrote."""
        path = self.folder / "logs" / f"{name}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def logs(self, names: str) -> Iterator[str]:
        """What the processes wrote whose names fit a pattern."""
        for path in (self.folder / "logs").glob(f"{names}.log"):
            yield path.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """End everything, the last started first."""
        self._stopped.set()
        if self._keeper is not None:
            self._keeper.join()
        with self.lock:
            for running in reversed(self.children.values()):
                if running.process is not None:
                    server = running.child.name in ("postgres", "valkey")
                    running.process.send_signal(
                        running.child.stop_signal if server else signal.SIGKILL
                    )
                    until(lambda r=running: r.died, 20)  # type: ignore[misc]
                    running.bury()
        for name in ("db", "database", "broker"):
            if hasattr(self, name):
                getattr(self, name).dispose() if name == "db" else getattr(self, name).stop()

    def _keep(self) -> None:
        while not self._stopped.wait(0.1):
            with self.lock:
                for name, running in self.children.items():
                    if running.process is not None and running.died:
                        running.bury()
                        self.deaths[name] += 1
                    if running.process is None and name not in self.held:
                        self._spawn(running)

    def _spawn(self, running: Running) -> None:
        running.spawn()
        if running.process is not None:
            self.pids[running.process.pid] = running.child.name


def poison_allowed(on: Stack, *, yes: bool) -> None:
    """Let poison be poison, or harmless."""
    poison.allow(on.traps, yes=yes)
