"""The local stack with real processes: a real PostgreSQL, a real Valkey, real children."""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from aparella.client import datafolder, stack
from aparella.deploy import control, folder, local, ports, postgres, processes, stackfile, state
from aparella.errors import ConfigurationError, ResourceExhaustedError

BARE = {"PATH": os.environ.get("PATH", "/usr/bin:/bin")}
"""An environment that names no servers."""

# The supervisor as `aparella up` runs it, on small children of its own.
SUPERVISOR = """
import sys
from pathlib import Path
from aparella.client.stack import say
from aparella.deploy import local, servers
from aparella.deploy.child import Child

def planner(options, stack, found, environ):
    env = servers.environment(environ, options.data)
    def child(name, code):
        return Child(name, (sys.executable, "-c", code), env, cwd=options.data, grace=5)
    sleep = "import time; time.sleep(600)"
    family = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{sleep}'])"
    fragile = (
        "import pathlib, sys, time\\n"
        "while not pathlib.Path('break').exists(): time.sleep(0.05)\\n"
        "pathlib.Path('break').unlink(); print('these are my last words'); sys.exit(3)"
    )
    return local.Plan(
        child("migrate", "print('migrated')"),
        ((child("steady", sleep),), (child("family", family), child("fragile", fragile))),
    )

port = int(sys.argv[2]) if len(sys.argv) > 2 else None
local.up(local.Options(Path(sys.argv[1]), port=port), say, planner)
"""

ALL = 6
"""Its processes: five children and the child of one of them."""


@pytest.fixture
def data() -> Iterator[Path]:
    # Not tmp_path: for root, that lies under a folder that the servers' account cannot enter.
    with tempfile.TemporaryDirectory(prefix="aparella-test-") as name:
        path = Path(name).resolve()
        yield path
        control.down(path, lambda _line: None)


class Up:
    """A running supervisor and what it has said."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.lines: list[str] = []
        # Any port but the preferred one, which a test beside this one may be using.
        first = not (data / "stack.json").exists()
        port = [str(ports.choose())] if first else []
        self.process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISOR, str(data), *port],
            env={**os.environ, "DATABASE_URL": "", "REDIS_URL": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            self.lines.extend(line.rstrip("\n") for line in output)

    def until(self, true: Callable[[], object], seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            assert self.process.poll() is None, self.lines
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.05)

    def child(self, name: str) -> state.ProcessState:
        found = state.read(self.data)
        assert found is not None
        return next(child for child in found.processes if child.name == name)

    def runs(self) -> bool:
        found = state.read(self.data)
        return found is not None and found.pid == self.process.pid and found.phase == "running"

    def end(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        self.process.wait(timeout=60)
        self._reader.join(timeout=10)


@contextlib.contextmanager
def up(data: Path) -> Iterator[Up]:
    running = Up(data)
    try:
        running.until(running.runs)
        yield running
    finally:
        if running.process.poll() is None:
            running.end(signal.SIGTERM)
        running.process.wait()
        running._reader.join(timeout=10)


def everything(data: Path) -> list[psutil.Process]:
    """All processes of the folder, PostgreSQL's backends aside: they end with their server."""
    server = postgres.leftover(data / "postgres")
    marked = processes.marked(data)
    return marked if server is None or server in marked else [*marked, server]


def value(url: str, query: str) -> object:
    with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        row = cursor.fetchone()
        connection.commit()
        return row[0] if row else None


def test_services_keep_data_ports_and_passwords(data: Path) -> None:
    with local.services(data, durable=False, environ=BARE) as first:
        assert value(first.database_url, "create table kept as select 7 as n; select 1") == 1
        extension = "select name from pg_available_extensions where name = 'vector'"
        assert value(first.database_url, extension) == "vector"
        with redis.Redis.from_url(first.redis_url, decode_responses=True) as client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert everything(data) == []
    with local.services(data, durable=False, environ=BARE) as second:
        assert second == first
        assert value(second.database_url, "select n from kept") == 7


def test_services_ask_for_passwords_and_listen_on_loopback(data: Path) -> None:
    with local.services(data, durable=False, environ=BARE) as services:
        kept = stackfile.Stack.load(data)
        assert kept is not None
        wrong = services.database_url.replace(kept.postgres_password, "wrong")
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            psycopg2.connect(wrong)
        with (
            redis.Redis(port=kept.valkey_port, retry=Retry(NoBackoff(), 0)) as client,
            pytest.raises(redis.AuthenticationError),
        ):
            client.ping()
        found = state.read(data)
        assert found is not None
        for child in found.processes:
            process = psutil.Process(child.pid)
            listening = [
                connection.laddr.ip
                for connection in process.net_connections(kind="inet")
                if connection.status == psutil.CONN_LISTEN
            ]
            assert listening == ["127.0.0.1"]
            secrets = (kept.postgres_password, kept.valkey_password, kept.token)
            assert not any(secret in " ".join(process.cmdline()) for secret in secrets)
    for path in ("stack.json", "state.json", "valkey/valkey.conf"):
        assert stat.S_IMODE((data / path).stat().st_mode) == 0o600
    assert not (data / "postgres.password").exists()


def test_servers_that_the_environment_names_are_used(data: Path) -> None:
    other = data / "other"
    with local.services(data, durable=False, environ=BARE) as named:
        environ = {**BARE, "DATABASE_URL": named.database_url, "REDIS_URL": named.redis_url}
        with local.services(other, environ=environ) as found:
            assert found == named
            assert not (other / "postgres").exists()
            assert not (other / "valkey").exists()
    with (
        pytest.raises(ConfigurationError, match=r"DATABASE_URL is set to .*\*\*\*.* not answer"),
        local.services(other, environ=environ),
    ):
        pass


def test_starting_twice_gets_a_sentence(data: Path) -> None:
    with (
        local.services(data, durable=False, environ=BARE),
        pytest.raises(ConfigurationError, match=rf"runs already .*pid {os.getpid()}.* down"),
        local.services(data, durable=False, environ=BARE),
    ):
        pass


def test_another_postgresqls_cluster_gets_a_sentence(data: Path) -> None:
    with local.services(data, durable=False, environ=BARE):
        pass
    (data / "postgres" / "PG_VERSION").write_text("12\n", encoding="ascii")
    with (
        pytest.raises(ConfigurationError, match="was made by PostgreSQL 12"),
        local.services(data, durable=False, environ=BARE),
    ):
        pass


def test_another_versions_folder_gets_a_sentence(data: Path) -> None:
    (data / "stack.json").write_text('{"version": 99}', encoding="utf-8")
    with (
        pytest.raises(ConfigurationError, match="another version of Aparella"),
        local.services(data, environ=BARE),
    ):
        pass


def test_a_full_disk_gets_a_sentence(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "MINIMUM_FREE", 2**62)
    with (
        pytest.raises(ResourceExhaustedError, match=r"disk of .* is full: \d+ MB are free"),
        local.services(data, environ=BARE),
    ):
        pass


def test_a_file_for_a_folder_gets_a_sentence(data: Path) -> None:
    (data / "file").touch()
    for path in (data / "file", data / "file" / "below"):
        with pytest.raises(ConfigurationError, match="--data"), local.services(path, environ=BARE):
            pass


def test_a_taken_port_of_a_server_is_replaced_and_the_apis_is_not(data: Path) -> None:
    kept = stackfile.prepare(data, {}, api=False, say=print)
    lines: list[str] = []
    with socket.create_server(("127.0.0.1", kept.postgres_port)):
        moved = stackfile.prepare(data, {}, api=False, say=lines.append)
    assert moved.postgres_port != kept.postgres_port
    assert moved.valkey_port == kept.valkey_port
    assert f"Port {kept.postgres_port} is taken by" in lines[0]
    assert f"pid {os.getpid()}" in lines[0]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"Port {port} is taken .*--port"):
            stackfile.prepare(data, {}, port=port, say=print)
    assert stackfile.Stack.load(data) == moved


def test_up_runs_everything_and_down_stops_it(data: Path) -> None:
    with up(data) as running:
        assert (data / "logs" / "migrate.log").read_text(encoding="utf-8") == "migrated\n"
        found = control.status(data)
        assert found.running
        assert found.phase == "running"
        names = ["postgres", "valkey", "steady", "family", "fragile"]
        assert [child["name"] for child in found.processes] == names
        assert {child["state"] for child in found.processes} == {"running"}
        assert "***" in found.addresses["database"]
        assert stack.find_stack(data) is not None
        with pytest.raises(ConfigurationError, match=f"pid {running.process.pid}"):
            local.up(local.Options(data), print)
        control.down(data, running.lines.append)
        assert running.process.wait(timeout=10) == 0
        assert everything(data) == []
        assert stack.find_stack(data) is None
        assert not control.status(data).running


def test_a_child_that_dies_is_restarted_and_its_last_lines_are_shown(data: Path) -> None:
    with up(data) as running:
        before = running.child("fragile")
        (data / "break").touch()
        running.until(lambda: running.child("fragile").restarts == 1)
        running.until(lambda: running.child("fragile").state == "running")
        assert running.child("fragile").pid != before.pid
        text = "\n".join(running.lines)
        assert "fragile ended (exit code 3); it starts again in 0.5 s" in text
        assert "  | these are my last words" in text
        assert running.child("steady").restarts == 0


def test_what_a_killed_child_leaves_behind_is_killed(data: Path) -> None:
    with up(data) as running:
        parent = psutil.Process(running.child("family").pid)
        running.until(parent.children)
        [grandchild] = parent.children()
        parent.kill()
        running.until(lambda: running.child("family").restarts == 1)
        assert processes.ended(grandchild)


def test_a_killed_database_comes_back_with_its_data(data: Path) -> None:
    with up(data) as running:
        kept = stackfile.Stack.load(data)
        assert kept is not None
        value(kept.database_url, "create table kept as select 7 as n; select 1")
        psutil.Process(running.child("postgres").pid).kill()
        running.until(lambda: running.child("postgres").restarts >= 1)
        running.until(lambda: running.child("postgres").state == "running", seconds=60)
        assert value(kept.database_url, "select n from kept") == 7


@pytest.mark.parametrize("state_lost", [False, True], ids=["state", "no state"])
def test_kill_9_of_the_supervisor_orphans_nothing(data: Path, state_lost: bool) -> None:
    with up(data) as first:
        first.until(lambda: len(everything(data)) == ALL)
        old = everything(data)
        url = stack.find_stack(data)
        first.end(signal.SIGKILL)
        assert not any(processes.ended(process) for process in old)
        assert control.status(data).phase == "abandoned"
        assert stack.find_stack(data) is None
    if state_lost:
        (data / "state.json").unlink()
    with up(data) as second:
        assert all(processes.ended(process) for process in old)
        second.until(lambda: len(everything(data)) == ALL)
        assert any("left behind" in line for line in second.lines)
        # Stopped in order, even where only its own postmaster.pid told of it.
        log = (data / "logs" / "postgres.log").read_text(encoding="utf-8")
        assert "not properly shut down" not in log
        assert stack.find_stack(data) == url
        assert control.status(data).running
    assert everything(data) == []


def test_down_stops_what_a_killed_supervisor_left_behind(data: Path) -> None:
    with up(data) as running:
        running.end(signal.SIGKILL)
    lines: list[str] = []
    assert everything(data)
    control.down(data, lines.append)
    assert everything(data) == []
    assert "left behind" in lines[0]


def test_ctrl_c_stops_in_order(data: Path) -> None:
    with up(data) as running:
        running.end(signal.SIGINT)
        assert running.process.returncode == 0
        assert running.lines[-2:] == ["Stopping.", "Stopped."]
    assert everything(data) == []
    # In order, so PostgreSQL has nothing to recover at its next start.
    log = (data / "logs" / "postgres.log").read_text(encoding="utf-8")
    assert log.rstrip().endswith("database system is shut down")


def test_detach_reports_why_the_stack_did_not_start(data: Path) -> None:
    stackfile.prepare(data, {}, api=False, say=print)
    content = json.loads((data / datafolder.STACK_FILE).read_text(encoding="utf-8"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        content["api_port"] = server.getsockname()[1]
        (data / datafolder.STACK_FILE).write_text(json.dumps(content), encoding="utf-8")
        with pytest.raises(ConfigurationError, match="is taken by"):
            control.detach(local.Options(data), print)
    assert everything(data) == []
