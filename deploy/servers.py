"""The two servers that a stack starts for itself, and those that the user names instead."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from aparella.db import roles
from aparella.deploy import account, folder, ports, postgres, processes, valkey
from aparella.deploy.child import Child
from aparella.deploy.stackfile import Stack
from aparella.deploy.supervisor import Supervisor
from aparella.errors import ConfigurationError


@dataclass(frozen=True)
class Services:
    """Where the database and the broker listen, with their passwords."""

    database_url: str
    redis_url: str
    api_url: str = field(default="", compare=False)
    """The database's, for the API: in a role of its own where the server is the folder's own."""
    worker_url: str = field(default="", compare=False)
    """The same for workers and the reconciler."""

    def __post_init__(self) -> None:
        """On a server that the user names, everybody connects as the user whom the URL names."""
        for name in ("api_url", "worker_url"):
            object.__setattr__(self, name, getattr(self, name) or self.database_url)


def chosen(stack: Stack, environ: Mapping[str, str]) -> Services:
    """The URLs in use: those of the environment where they are set, else the folder's own."""
    return Services(
        environ.get("DATABASE_URL") or stack.database_url,
        environ.get("REDIS_URL") or stack.redis_url,
    )


def start(
    supervisor: Supervisor,
    data: Path,
    stack: Stack,
    environ: Mapping[str, str],
    *,
    durable: bool = True,
) -> Services:
    """Start what `DATABASE_URL` and `REDIS_URL` do not name, and check what they do.

    Raises:
        ConfigurationError: a server does not start, or one that the user named does not answer.
        ResourceExhaustedError: the disk is full.
        aparella.deploy.supervisor.Interrupted: a signal came.
    """
    services = chosen(stack, environ)
    with folder.sentences(data):
        if environ.get("DATABASE_URL"):
            _require("DATABASE_URL", services.database_url, postgres.answers(services.database_url))
        else:
            start_postgres(supervisor, data, stack, environ, durable=durable)
            services = replace(services, **_logins(stack))
        if environ.get("REDIS_URL"):
            _require("REDIS_URL", services.redis_url, valkey.answers(services.redis_url))
        else:
            start_valkey(supervisor, data, stack, environ)
    return services


def _logins(stack: Stack) -> dict[str, str]:
    """URLs of the database for its roles; their passwords are new at each start and kept nowhere.

    In the folder lies only that of the superuser, by which they can be had anyway.
    """
    logins = {"api_url": roles.API, "worker_url": roles.WORKER}
    passwords = {role: secrets.token_urlsafe(24) for role in logins.values()}
    postgres.set_logins(stack.database_url, passwords)
    owner = f"//{postgres.USER}:{stack.postgres_password}@"
    return {
        name: stack.database_url.replace(owner, f"//{role}:{passwords[role]}@", 1)
        for name, role in logins.items()
    }


def start_postgres(
    supervisor: Supervisor, data: Path, stack: Stack, environ: Mapping[str, str], *, durable: bool
) -> None:
    """Start the folder's PostgreSQL and make its database."""
    pgdata = data / "postgres"
    postgres.prepare(pgdata, stack.postgres_password, durable=durable)
    maintenance_url = stack.database_url.removesuffix(postgres.DATABASE) + "postgres"
    child = Child(
        name="postgres",
        argv=postgres.command(pgdata, port=stack.postgres_port, durable=durable),
        env=environment(environ, data),
        cwd=pgdata,
        answers=lambda: postgres.answers(maintenance_url),
        address=f"{ports.LOOPBACK}:{stack.postgres_port}",
        stop_signal=postgres.STOP_SIGNAL,
        grace=postgres.GRACE,
        # After a crash it replays its log before it answers.
        patience=120.0,
        account=account.current(),
    )
    supervisor.start([child])
    postgres.create_database(maintenance_url)


def start_valkey(
    supervisor: Supervisor, data: Path, stack: Stack, environ: Mapping[str, str]
) -> None:
    """Start the folder's Valkey."""
    cwd = data / "valkey"
    child = Child(
        name="valkey",
        argv=valkey.prepare(cwd, port=stack.valkey_port, password=stack.valkey_password),
        env=environment(environ, data),
        cwd=cwd,
        answers=lambda: valkey.answers(stack.redis_url),
        address=f"{ports.LOOPBACK}:{stack.valkey_port}",
        account=account.current(),
    )
    supervisor.start([child])


def environment(environ: Mapping[str, str], data: Path, **more: str) -> dict[str, str]:
    """The environment of a child: the user's, the marker of its stack, and `more`."""
    # PostgreSQL takes PG* variables for defaults of its own; a stray one must not reach it.
    kept = {name: value for name, value in environ.items() if not name.startswith("PG")}
    return {**kept, processes.MARKER: str(data), **more}


def hidden(url: str) -> str:
    """The URL with its password hidden."""
    password = urlsplit(url).password
    return url.replace(f":{password}@", ":***@", 1) if password else url


def _require(variable: str, url: str, reason: str | None) -> None:
    if reason is not None:
        raise ConfigurationError(
            f"{variable} is set to {hidden(url)}, which does not answer ({reason}). Start that "
            f"server, correct the URL, or unset {variable} to have one started here."
        )
