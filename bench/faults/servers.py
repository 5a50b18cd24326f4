"""The faults that strike the servers: PostgreSQL and Redis die, forget, freeze, and refuse."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import sleep, time

import redis
import sqlalchemy as sa

from aparella.deploy import postgres, valkey
from bench.faults import entry, points
from bench.faults.faults import missed, query, walk_into
from bench.faults.journal import Happening
from bench.faults.processes import Stack, until
from bench.faults.schedule import Event

_BACK = 60.0
FREEZE = 60.0
SHORT_FREEZE = 3.0


def _database_back(on: Stack) -> bool:
    url = on.db.url.set(drivername="postgresql").render_as_string(hide_password=False)
    return bool(until(lambda: postgres.answers(url) is None, _BACK))


def _broker_back(on: Stack) -> bool:
    return bool(until(lambda: valkey.answers(on.redis_url) is None, _BACK))


@contextmanager
def broker(on: Stack) -> Iterator["redis.Redis"]:
    """A connection to Redis, past the proxy."""
    with redis.Redis.from_url(on.redis_url, socket_timeout=5) as server:
        yield server


def redis_kill(on: Stack, event: Event) -> Happening:
    """SIGKILL; it comes back empty."""
    now = time()
    on.kill("valkey")
    sleep(0.2)
    _broker_back(on)
    return Happening(event.kind, now, time())


def redis_flush(on: Stack, event: Event) -> Happening:
    """FLUSHALL: the messages are gone, and the bindings of the queues."""
    with broker(on) as server:
        server.flushall()
    return Happening(event.kind, time(), time())


def redis_freeze(seconds: float, on: Stack, event: Event) -> Happening:
    """SIGSTOP for a while: it takes connections and does not answer."""
    now, pid = time(), on.pid("valkey")
    os.kill(pid, signal.SIGSTOP)
    sleep(seconds)
    os.kill(pid, signal.SIGCONT)
    return Happening(event.kind, now, time())


def redis_other_run(on: Stack, event: Event) -> Happening:
    """Restarted in order: another run id, and empty."""

    def run_id() -> str:
        with broker(on) as server:
            return str(server.info("server")["run_id"])

    now, before = time(), run_id()
    on.kill("valkey", signal.SIGTERM)
    sleep(0.2)
    _broker_back(on)
    after = run_id()
    return Happening(event.kind, now, time(), note="" if before != after else "it has the same id")


def redis_evicts(on: Stack, event: Event) -> Happening:
    """A policy that drops keys: a worker that starts now must refuse, with a sentence."""
    now, before = time(), on.deaths.copy()
    with broker(on) as server:
        server.config_set("maxmemory-policy", "allkeys-lru")
        try:
            command = [sys.executable, "-m", "bench.faults.entry", "workers", "--concurrency", "1"]
            ended = subprocess.run(
                command,
                env={**on.environment, entry.CLOCK: "0"},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            server.config_set("maxmemory-policy", "noeviction")
    # A reconciler that finds it when it connects anew ends with the same sentence.
    on.planned.update({n: on.deaths[n] - before[n] for n in on.deaths if n != "api"})
    said = ended.stderr.strip().splitlines()[-1:] or [""]
    fine = ended.returncode == 1 and "noeviction" in said[0] and "Traceback" not in ended.stderr
    return Happening(event.kind, now, time(), note="refused" if fine else f"it said: {said[0]}")


def postgres_restart(on: Stack, event: Event) -> Happening:
    """A fast restart: all connections end, open transactions are rolled back."""
    now = time()
    on.kill("postgres", signal.SIGINT)
    sleep(0.5)
    _database_back(on)
    return Happening(event.kind, now, time())


def postgres_kill(on: Stack, event: Event) -> Happening:
    """SIGKILL of the whole server; it replays its log."""
    now = time()
    on.kill("postgres", group=True)
    sleep(0.5)
    _database_back(on)
    return Happening(event.kind, now, time())


def postgres_kill_backend(on: Stack, event: Event) -> Happening:
    """SIGKILL of one backend: the server throws everybody out and recovers."""
    rows = query(
        on,
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'aparella worker' ORDER BY pid",
    )
    if not rows:
        return missed(event, "no worker was connected")
    now = time()
    os.kill(rows[int(event.pick * len(rows))].pid, signal.SIGKILL)
    sleep(0.5)
    _database_back(on)
    return Happening(event.kind, now, time())


def postgres_cut(on: Stack, event: Event) -> Happening:
    """A worker's connection breaks between its results and their COMMIT."""
    hit = walk_into(on, "written", "cut")
    if hit is None:
        return missed(event, "nobody came by")
    return Happening(event.kind, time(), time(), hit[0])


def postgres_swallow(on: Stack, event: Event) -> Happening:
    """The server hears everything, and no answer arrives: COMMITs whose outcome is unknown."""
    now = time()
    on.database.behave("deaf")
    sleep(0.5)
    on.database.reset()
    on.database.behave("pass")
    return Happening(event.kind, now, time())


def postgres_statement_timeout(on: Stack, event: Event) -> Happening:
    """Statements may take a millisecond, for two seconds."""
    now = time()
    _set(on, "ALTER SYSTEM SET statement_timeout = '1ms'")
    try:
        sleep(2)
    finally:
        _set(on, "ALTER SYSTEM RESET statement_timeout")
    return Happening(event.kind, now, time())


def postgres_deadlock(on: Stack, event: Event) -> Happening:
    """A real one, between a commit and the harness; the server chooses whom it hits."""
    with on.db.connect() as connection:
        connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({points.DEADLOCK_LOCK})"))
        hit = walk_into(on, "written", "deadlock")
        if hit is None:
            return missed(event, "nobody came by")
        now, note = time(), "the worker was chosen"
        try:
            connection.execute(
                sa.text("SELECT FROM chunk WHERE id = :id FOR UPDATE"), {"id": hit[0]}
            )
        except sa.exc.OperationalError:
            note = "the harness was chosen"
        connection.rollback()
    return Happening(event.kind, now, time(), hit[0], note=note)


def postgres_full_disk(on: Stack, event: Event) -> Happening:
    """The small file system that holds matches and chunks is full for a while."""
    if on.full_disk is None:
        return missed(event, "no small file system could be made")
    now, ballast = time(), on.full_disk / "ballast"
    before = on.log("postgres").count("No space left on device")
    with suppress(OSError), ballast.open("wb") as file:
        while True:
            file.write(bytes(1 << 16))
            file.flush()
    seen = until(lambda: on.log("postgres").count("No space left on device") > before, 20)
    sleep(2 if seen else 0)
    ballast.unlink()
    if not seen:
        return missed(event, "nothing had to be written there just then")
    return Happening(event.kind, now, time())


def _set(on: Stack, statement: str) -> None:
    with on.db.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("SET statement_timeout = 0"))
        connection.execute(sa.text(statement))
        connection.execute(sa.text("SELECT pg_reload_conf()"))
        connection.invalidate()
