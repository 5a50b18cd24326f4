"""The local stack: database, broker, API, workers and reconciler on one machine, supervised."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from aparella import machine
from aparella.client import datafolder
from aparella.deploy import folder, postgres, processes, servers, stackfile, state
from aparella.deploy.child import Child
from aparella.deploy.servers import Services
from aparella.deploy.stackfile import Stack
from aparella.deploy.supervisor import Interrupted, Supervisor
from aparella.workers import sizing

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """How a stack is to run.

    Attributes:
        data: its folder, absolute.
        workers: worker processes; one per core by default.
        port: the API's port from now on; the kept one by default.
    """

    data: Path
    workers: int | None = None
    port: int | None = None


@contextlib.contextmanager
def services(
    data: Path, *, durable: bool = True, environ: Mapping[str, str] | None = None
) -> Iterator[Services]:
    """PostgreSQL and Valkey alone, for as long as the context lasts; unwatched.

    `DATABASE_URL` and `REDIS_URL`, where set, are used instead.

    Args:
        data: the data folder; made if missing, and kept.
        durable: False trades safety in a crash of the machine for speed; for tests.
        environ: stands for the environment.

    Raises:
        aparella.errors.ConfigurationError: a stack runs there, or cannot.
        aparella.errors.ResourceExhaustedError: the disk is full.
    """
    data = data.resolve()
    variables = dict(os.environ if environ is None else environ)
    with _opened(data, variables, api=False) as (supervisor, stack):
        try:
            yield servers.start(supervisor, data, stack, variables, durable=durable)
        finally:
            supervisor.stop()


@dataclass(frozen=True)
class Plan:
    """What runs on top of the servers: the migration once, then groups, one after the other."""

    migration: Child
    groups: tuple[tuple[Child, ...], ...]


Planner = Callable[[Options, Stack, Services, Mapping[str, str]], Plan]


def up(options: Options, say: Say, planner: Planner | None = None) -> None:
    """Run the whole stack until a signal ends it.

    Args:
        options: what to run.
        say: shows a line to the user.
        planner: what to run on top of the servers; Aparella's own processes unless given.

    Raises:
        aparella.errors.ConfigurationError: it runs already, or something in it cannot start.
        aparella.errors.ResourceExhaustedError: the disk is full.
    """
    environ = dict(os.environ)
    opening = _opened(options.data, environ, port=options.port, say=say)
    with opening as (supervisor, stack), supervisor.heeding_signals():
        try:
            found = servers.start(supervisor, options.data, stack, environ)
            plan = (planner or own_processes)(options, stack, found, environ)
            supervisor.run(plan.migration)
            for group in plan.groups:
                supervisor.start(group)
            addresses = {
                "API": stack.url,
                "database": servers.hidden(found.database_url),
                "broker": servers.hidden(found.redis_url),
            }
            for line in summary(options.data, addresses):
                say(line)
            supervisor.watch(addresses)
            say("Stopping.")
        except Interrupted:
            say("Stopping, before everything was started.")
        finally:
            supervisor.stop()
    say("Stopped.")


def summary(data: Path, addresses: Mapping[str, str]) -> list[str]:
    """The lines that tell where everything is."""
    places = {**addresses, "data": str(data), "logs": str(data / "logs")}
    secrets = data / datafolder.STACK_FILE
    return [
        "Aparella is running.",
        *(f"  {name:<9} {place}" for name, place in places.items()),
        f"  passwords and the API's token are in {secrets}",
    ]


def reclaim(data: Path, say: Say) -> int:
    """Stop what an earlier run left behind when it was killed; the folder's lock must be held.

    Returns:
        How many processes were stopped.
    """
    stopped = 0
    last = state.read(data)
    for left in reversed(last.processes if last else ()):
        process = processes.find(left.pid, left.create_time) if left.pid else None
        if process is not None:
            processes.ask(process, left.stop_signal)
            processes.finish(process, left.grace)
            stopped += 1
    server = postgres.leftover(data / "postgres")
    if server is not None:
        processes.ask(server, postgres.STOP_SIGNAL)
        processes.finish(server, postgres.GRACE)
        stopped += 1
    # What their leaders could not take with them, such as the pool of a killed worker.
    headless = processes.marked(data)
    for process in headless:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(headless, timeout=10)
    stopped += len(headless)
    if stopped:
        say(f"Stopped {stopped} processes that an earlier run left behind.")
    return stopped


@contextlib.contextmanager
def _opened(
    data: Path,
    environ: dict[str, str],
    *,
    port: int | None = None,
    api: bool = True,
    say: Say = lambda _line: None,
) -> Iterator[tuple[Supervisor, Stack]]:
    """A data folder that is checked, locked, swept and has free ports."""
    folder.make(data)
    with folder.locked(data):
        with folder.sentences(data):
            reclaim(data, say)
            stack = stackfile.prepare(data, environ, port=port, api=api, say=say)
        yield Supervisor(data, say), stack


def own_processes(
    options: Options, stack: Stack, found: Services, environ: Mapping[str, str]
) -> Plan:
    """Aparella's own processes; docs/architecture.md has their commands."""
    artifacts = environ.get("APARELLA_ARTIFACTS") or f"file://{options.data / 'artifacts'}"
    catalogues = environ.get("APARELLA_CATALOGUE_FOLDER") or str(options.data / "catalogues")
    env = servers.environment(
        environ,
        options.data,
        DATABASE_URL=found.worker_url,
        REDIS_URL=found.redis_url,
        APARELLA_ARTIFACTS=artifacts,
        APARELLA_CATALOGUE_FOLDER=catalogues,
        # One process per core: threads of their own would only get in each other's way.
        OMP_NUM_THREADS="1",
        PYTHONUNBUFFERED="1",
    )

    # What only one process needs, only that one gets: the owner's URL, and the API's token.
    env.pop("APARELLA_TOKEN", None)
    if not environ.get("DATABASE_URL"):
        env.pop("DATABASE_SESSION_URL", None)  # of some other database
    owner = {**env, "DATABASE_URL": found.database_url}
    serving = {**env, "DATABASE_URL": found.api_url, "APARELLA_TOKEN": stack.token}

    def module(name: str, *arguments: str) -> tuple[str, ...]:
        return (sys.executable, "-m", f"aparella.{name}", *arguments)

    def child(name: str, argv: tuple[str, ...], grace: float) -> Child:
        return Child(name, argv, env, cwd=options.data, grace=grace)

    api = Child(
        name="api",
        argv=module("api", "--port", str(stack.api_port)),
        env=serving,
        cwd=options.data,
        answers=lambda: _api_answers(stack.url),
        address=stack.url,
    )
    workers = module("workers", "--queues", "import,embed,match")
    workers += ("--concurrency", str(options.workers or fitting()))
    # A training is one process with a thread for each core.
    trainer = module("workers", "--queues", "train", "--name", "trainer", "--concurrency", "1")
    trainer += ("--threads", str(cores()))
    return Plan(
        migration=Child(
            "migrate", module("db.migrate"), owner, cwd=options.data, patience=float(60 * 60)
        ),
        groups=(
            (api,),
            (
                # A chunk in work has 20 s to end, then it is handed back.
                child("workers", workers, grace=30.0),
                child("trainer", trainer, grace=30.0),
                child("reconciler", module("workers.reconciler"), grace=10.0),
            ),
        ),
    )


def _api_answers(url: str) -> str | None:
    try:
        response = httpx.get(f"{url}/readyz", timeout=2, trust_env=False)
    except httpx.HTTPError as error:
        return str(error)
    return None if response.status_code == httpx.codes.OK else response.text[:300]


def fitting() -> int:
    """Worker processes for the cores and the memory that there are."""
    return sizing.processes(cores(), machine.memory_limit())


def cores() -> int:
    """Cores that this process may use."""
    return machine.cores()
