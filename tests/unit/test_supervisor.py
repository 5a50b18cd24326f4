"""The local stack's pure parts: back-off, settings, addresses, files."""

import json
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aparella.client import datafolder, stack
from aparella.deploy import backoff, local, ports, postgres, processes, servers, stackfile, state
from aparella.errors import ConfigurationError

STACK = stackfile.Stack(8000, 20_001, 20_002, "pg-secret", "vk-secret", "token")


def test_restart_delay_doubles_up_to_its_bound() -> None:
    delays = [backoff.restart_delay(n) for n in range(1, 10)]
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


@given(st.integers(min_value=1, max_value=10**9))
def test_restart_delay_is_bounded_and_never_falls(failures: int) -> None:
    delay = backoff.restart_delay(failures)
    assert 0 < delay <= backoff.LONGEST_DELAY
    assert backoff.restart_delay(failures + 1) >= delay


@given(st.integers(min_value=0, max_value=10**6), st.floats(min_value=0, max_value=1e9))
def test_a_stable_life_forgets_earlier_deaths(failures: int, uptime: float) -> None:
    after = backoff.failures_after(failures, uptime)
    assert after == (1 if uptime >= backoff.STABLE_AFTER else failures + 1)


@given(st.integers(min_value=2**28, max_value=2**42), st.none() | st.integers(0, 2**42))
def test_tuning_leaves_most_of_the_memory_to_the_workers(memory: int, shared: int | None) -> None:
    settings = postgres.tuning(memory, 2, shared=shared)

    def megabytes(name: str) -> int:
        assert settings[name].endswith("MB")
        return int(settings[name].removesuffix("MB"))

    assert 128 <= megabytes("shared_buffers") <= 1024
    assert 64 <= megabytes("maintenance_work_mem") <= 1024
    assert megabytes("shared_buffers") * 2**20 <= memory // 2
    assert settings["synchronous_commit"] == "on"
    # A parallel index build must never need more of /dev/shm than there is.
    if shared is not None and "dynamic_shared_memory_type" not in settings:
        assert megabytes("maintenance_work_mem") * 2**20 <= shared


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:p4ss@h:1/d", "postgresql://u:***@h:1/d"),
        ("redis://:k%40y@h:2/0", "redis://:***@h:2/0"),
        ("redis://h:2/0", "redis://h:2/0"),
    ],
)
def test_passwords_are_hidden(url: str, shown: str) -> None:
    assert servers.hidden(url) == shown


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg2", "postgresql+psycopg"])
def test_a_drivers_name_is_not_for_libpq(scheme: str) -> None:
    assert postgres.plain(f"{scheme}://u:p@h/d?a=b+c") == "postgresql://u:p@h/d?a=b+c"


def test_own_processes_get_secrets_by_environment_only(tmp_path: Path) -> None:
    urls = STACK.database_url, STACK.redis_url, "postgresql://api@h/d", "postgresql://worker@h/d"
    found = servers.Services(*urls)
    options = local.Options(tmp_path, workers=3)
    environ = {"HF_HUB_OFFLINE": "1", "APARELLA_TOKEN": STACK.token}
    plan = local.own_processes(options, STACK, found, environ)
    children = [plan.migration, *(child for group in plan.groups for child in group)]
    commands = [" ".join(child.argv[1:]) for child in children]
    cores = local.cores()
    assert commands == [
        "-m aparella.db.migrate",
        "-m aparella.api --port 8000",
        "-m aparella.workers --queues import,embed,match --concurrency 3",
        f"-m aparella.workers --queues train --name trainer --concurrency 1 --threads {cores}",
        "-m aparella.workers.reconciler",
    ]
    for child in children:
        url = {"migrate": urls[0], "api": urls[2]}.get(child.name, urls[3])
        assert child.env["DATABASE_URL"] == url
        assert child.env["REDIS_URL"] == STACK.redis_url
        assert child.env.get("APARELLA_TOKEN") == (STACK.token if child.name == "api" else None)
        assert child.env["APARELLA_ARTIFACTS"] == f"file://{tmp_path}/artifacts"
        assert child.env["APARELLA_CATALOGUE_FOLDER"] == f"{tmp_path}/catalogues"
        assert child.env["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize("named", [None, "postgresql://pooler/d"])
def test_an_address_for_sessions_goes_with_the_database_that_is_named(
    tmp_path: Path, named: str | None
) -> None:
    session = {"DATABASE_SESSION_URL": "postgresql://server/d"}
    environ = session | ({"DATABASE_URL": named} if named else {})
    plan = local.own_processes(
        local.Options(tmp_path, workers=1), STACK, servers.chosen(STACK, environ), environ
    )
    for child in (plan.migration, *(child for group in plan.groups for child in group)):
        assert ("DATABASE_SESSION_URL" in child.env) == (named is not None)


def test_environment_marks_children_and_drops_stray_postgres_variables(tmp_path: Path) -> None:
    found = servers.environment({"PGDATABASE": "x", "LANG": "C"}, tmp_path, A="1")
    assert found == {"LANG": "C", "A": "1", processes.MARKER: str(tmp_path)}


def test_stack_file_is_private_and_read_back(tmp_path: Path) -> None:
    STACK.save(tmp_path)
    path = tmp_path / datafolder.STACK_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stackfile.Stack.load(tmp_path) == STACK
    assert [file.name for file in tmp_path.iterdir()] == [datafolder.STACK_FILE]


def test_secrets_are_not_in_a_repr() -> None:
    assert not any(secret in repr(STACK) for secret in ("pg-secret", "vk-secret", "token'"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "damaged"),
        ("[]", "version None"),
        ('{"version": 99}', "another version"),
        ('{"version": 1, "api_port": "8000"}', "api_port is missing or of the wrong type"),
    ],
)
def test_a_strange_stack_file_gets_a_sentence(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / datafolder.STACK_FILE).write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=words):
        stackfile.Stack.load(tmp_path)


def test_ports_move_except_the_apis(tmp_path: Path) -> None:
    lines: list[str] = []
    STACK.save(tmp_path)
    # The user gives the API the port that PostgreSQL had.
    found = stackfile.prepare(tmp_path, {}, port=20_001, api=False, say=lines.append)
    assert found.api_port == 20_001
    assert found.postgres_port not in {20_001, 20_002}
    assert found == stackfile.Stack.load(tmp_path)
    assert any("PostgreSQL listens on" in line for line in lines)


def test_the_users_token_is_the_stacks(tmp_path: Path) -> None:
    stackfile.prepare(tmp_path, {"APARELLA_TOKEN": "mine"}, api=False, say=print)
    assert json.loads((tmp_path / datafolder.STACK_FILE).read_text())["token"] == "mine"


def test_chosen_ports_are_outside_what_the_system_hands_out() -> None:
    assert ports.choose() in ports.RANGE
    assert ports.choose(preferred=1, avoid=(1,)) in ports.RANGE


def test_a_damaged_state_counts_as_none(tmp_path: Path) -> None:
    for content in ("", "[]", "{}", '{"processes": [{}]}'):
        (tmp_path / state.STATE_FILE).write_text(content, encoding="utf-8")
        assert state.read(tmp_path) is None


def test_a_process_is_found_by_pid_and_time_only() -> None:
    me = psutil.Process()
    assert processes.find(me.pid, me.create_time()) is not None
    assert processes.find(me.pid, me.create_time() - 3600) is None


def test_a_zombie_has_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        process = psutil.Process(child.pid)
        deadline = time.monotonic() + 20
        while not processes.ended(process):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert process.status() == psutil.STATUS_ZOMBIE


def test_data_option_wins_over_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(datafolder.VARIABLE, str(tmp_path / "env"))
    assert datafolder.locate() == tmp_path / "env"
    assert datafolder.locate(tmp_path / "option") == tmp_path / "option"


def test_no_stack_is_found_where_none_runs(tmp_path: Path) -> None:
    assert stack.find_stack(tmp_path) is None
    STACK.save(tmp_path)
    assert stack.find_stack(tmp_path) is None


def test_finding_the_stack_imports_nothing_of_the_server() -> None:
    code = (
        "import sys; from aparella.client import stack; stack.find_stack(); "
        "print([m for m in sys.modules if m.startswith(('psutil', 'aparella.deploy', 'psycopg2'))])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
