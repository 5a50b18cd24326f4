"""What not every machine can offer: a host of its own, a small disk, a small control group."""

import contextlib
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from aparella.deploy import account
from bench.faults import poison, proxy
from bench.faults.network import FAR
from bench.faults.processes import Stack

_DISK = "256m"
_MEMORY = 96 << 20


def prepare(on: Stack, opened: ExitStack) -> dict[str, Any]:
    """Offer what this machine allows; what it does not, with the reason."""
    return {
        "small_disk": small_disk(on, opened) or "a tmpfs of " + _DISK,
        "own_host": own_host(on, opened) or "a network namespace with a veth pair",
        "small_memory": small_memory(on, opened) or f"a control group of {_MEMORY >> 20} MiB",
    }


def small_disk(on: Stack, opened: ExitStack) -> str | None:
    """Put matches and chunks on a small file system; why not, if it cannot be.

    Matches are written for a part of the time only, chunks whenever a worker does anything.
    """
    folder = on.folder / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        return f"no tmpfs: {mounted.stderr.strip()}"
    opened.callback(subprocess.run, ["umount", "-l", str(folder)], check=False)
    opened.callback(on.stop)  # before the file system goes
    place = folder / "tablespace"
    place.mkdir(mode=0o700)
    if own := account.current():
        own.own(place)
    with on.db.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text(f"CREATE TABLESPACE small LOCATION '{place}'"))
        for table in ("match", "chunk"):
            connection.execute(sa.text(f"ALTER TABLE {table} SET TABLESPACE small"))
    on.full_disk = folder
    return None


def own_host(on: Stack, opened: ExitStack) -> str | None:
    """Start a worker on a host of its own; why not, if it cannot be."""
    from tests.acceptance import hosts

    if reason := hosts.reason_against():
        on.far_reason = reason
        return reason
    (host,) = opened.enter_context(hosts.network("far"))
    space, address = hosts.SERVER_HOST.namespace, hosts.SERVERS
    on.database.listen(proxy.listener_in(space, address, 5432))
    on.broker.listen(proxy.listener_in(space, address, 6379))
    words = [sys.executable, "-m", "bench.faults.entry", "workers"]
    words += ["--queues", "import,embed,match", "--concurrency", "1", "--name", "far"]
    environment = {
        **on.environment,
        "DATABASE_URL": on.url_of_database(address, 5432),
        "REDIS_URL": on.url_of_broker(address, 6379),
    }
    log = on.folder / "logs" / f"{FAR}.log"
    host.start(words, environment, log, cwd=Path(__file__).parents[2])
    on.far = host
    return None


def small_memory(on: Stack, opened: ExitStack) -> str | None:
    """A control group (version 1 or 2) in which memory is short; why not, if it cannot be."""
    name, root = f"aparella-faults-{os.getpid()}", Path("/sys/fs/cgroup")
    old = (root / "memory").is_dir()
    group = (root / "memory" if old else root) / name
    try:
        group.mkdir()
        opened.callback(_remove, group)
        limit = "memory.limit_in_bytes" if old else "memory.max"
        (group / limit).write_text(str(_MEMORY), encoding="ascii")
    except OSError as error:
        return f"no control group, RLIMIT_AS instead: {error.strerror}"
    for child in list(on.children.values()):
        if child.child.name in on.workers():
            arguments = child.child.argv[4:]
            environment = dict(child.child.env) | {poison.GROUP: str(group)}
            on.remove(child.child.name, None)
            on.start(child.child.name, "workers", *arguments, **environment)
    on.environment[poison.GROUP] = str(group)
    return None


def _remove(group: Path) -> None:
    with contextlib.suppress(OSError):
        group.rmdir()
