"""What `aparella report …` does: logins for report writers, and queries as they would run them.

It speaks to the database itself, not to the API: a login is the database's, its making an
administrator's act, and what the API's token is worth must not grow to a database account
(docs/decisions/0014).
"""

import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg2
from psycopg2 import sql

from aparella.client import datafolder
from aparella.db import engine, reporting
from aparella.db.reporting import ROLE
from aparella.errors import (
    AparellaError,
    ConfigurationError,
    ConflictError,
    InputError,
    NotFoundError,
    ServiceUnavailableError,
)
from aparella.settings import Settings

URL = "APARELLA_REPORT_URL"
"""The connection string of a report login, as `role create` prints it."""

LIMITS = {"statement_timeout": "15min", "work_mem": "64MB"}
_MORE_LIMITS = {
    # A report that was opened and forgotten must not hold locks and old rows for days.
    "idle_in_transaction_session_timeout": "5min",
    "lock_timeout": "10s",
    "search_path": "report, public",
}
CONNECTIONS = 10
"""Sessions that a login may have at once."""

_KINDS = {
    **dict.fromkeys((20, 21, 23, 26), "integer"),
    **dict.fromkeys((700, 701, 1700), "number"),
    16: "boolean",
    1082: "date",
    1184: "moment",
}
"""By the types' numbers, which are the same on every server (pg_type.dat)."""
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_BLOCK = 5_000
"""Rows that are fetched at a time."""
_POOLER = "unsupported startup parameter"
"""What PgBouncer says to settings from a connection's start."""
_SESSION = (
    "DATABASE_URL leads to a pooler, which cannot give a report its role and its limits. Set "
    "DATABASE_SESSION_URL to the address of the server itself (docs/deployment.md, Behind a "
    "pooler)."
)


@dataclass(frozen=True)
class Source:
    """Where reports are read: with a login of their own, or as an administrator in their role."""

    url: str
    own: bool


def database_url(data: Path | None, environ: Mapping[str, str] = os.environ) -> str:
    """The administrator's URL: DATABASE_URL, or that of the local stack in the data folder.

    Where DATABASE_URL is a pooler's, DATABASE_SESSION_URL goes before: a pooler knows nothing of
    the logins that are made here.

    Raises:
        ConfigurationError: there is neither, or the stack does not run.
    """
    if environ.get("DATABASE_URL"):
        return environ.get("DATABASE_SESSION_URL") or environ["DATABASE_URL"]
    folder = datafolder.locate(data)
    content = datafolder.read(folder)
    if content is None or not datafolder.running(folder):
        raise ConfigurationError(
            "No database to report on: start one with `aparella up`, or set DATABASE_URL."
        )
    return str(content["database_url"])


def source(data: Path | None, environ: Mapping[str, str] = os.environ) -> Source:
    """The report login of APARELLA_REPORT_URL, or else the administrator's URL."""
    if environ.get(URL):
        return Source(environ[URL], own=True)
    return Source(database_url(data, environ), own=False)


def _plain(url: str) -> str:
    """The URL without the driver's name that SQLAlchemy's have: `postgresql+psycopg2://…`."""
    scheme, found, rest = url.partition("://")
    return scheme.partition("+")[0] + found + rest


def create_login(url: str, name: str) -> str:
    """Create a login that may read reports and nothing else; returns its connection string.

    The password is in it and nowhere else: it cannot be shown again.

    Raises:
        InputError: the name is none that PostgreSQL takes as it stands.
        ConflictError: there is such a role already.
        ConfigurationError: this user may not create roles; says what an administrator runs.
    """
    if not _NAME.fullmatch(name) or name.startswith("pg_") or name == ROLE:
        raise InputError(
            f"'{name}' is no name for a login: give small letters, digits and _ , at most 63.",
            field="name",
        )
    password = secrets.token_urlsafe(24)
    db = engine.create(Settings.model_validate({"DATABASE_URL": url}), name="role")
    try:
        with engine.transaction(db) as connection:
            sentence = reporting.admit(connection)
            if sentence is not None:
                raise ConfigurationError(sentence)
            if reporting.login_exists(connection, name):
                raise ConflictError(
                    f"There is a role '{name}' already. Choose another name, or drop it: "
                    f"DROP ROLE {name}."
                )
            reporting.create_login(
                connection, name, password, {**LIMITS, **_MORE_LIMITS}, connections=CONNECTIONS
            )
    finally:
        db.dispose()
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(("postgresql", f"{name}:{quote(password)}@{host}", *parts[2:4], ""))


def drop_login(url: str, name: str) -> None:
    """Drop a login that `create_login` made.

    Raises:
        NotFoundError: no report login has this name.
    """
    db = engine.create(Settings.model_validate({"DATABASE_URL": url}), name="role")
    try:
        with engine.transaction(db) as connection:
            if not reporting.drop_login(connection, name):
                raise NotFoundError(f"There is no report login '{name}'.")
    finally:
        db.dispose()


def psql(found: Source) -> tuple[list[str], dict[str, str]]:
    """The command that opens psql, and the variables it wants beside the environment.

    The URL stands in none of its arguments, which every user of the machine could read.

    Raises:
        ConfigurationError: there is no psql here, or a pooler is in the way; says how to go on.
        ServiceUnavailableError: the server does not answer.
    """
    program = shutil.which("psql")
    if program is None:
        raise ConfigurationError(
            "There is no psql on the PATH. Install PostgreSQL's client programs, or ask a single "
            'question with: aparella report query "SELECT * FROM report.about"'
        )
    if not found.own:
        _connect(found).close()
    parts = urlsplit(found.url)
    variables = {
        "PGHOST": parts.hostname or "",
        "PGPORT": str(parts.port or 5432),
        "PGUSER": parts.username or "",
        "PGPASSWORD": parts.password or "",
        "PGDATABASE": parts.path.lstrip("/"),
        "PGAPPNAME": "aparella report sql",
        "PGOPTIONS": _options(found),
    }
    return [program], {name: value for name, value in variables.items() if value}


@dataclass(frozen=True)
class Column:
    """A column of an answer; `kind` is boolean, integer, number, moment, date or text."""

    name: str
    kind: str


@dataclass(frozen=True)
class Answer:
    """A query's columns and its rows, which are read as they are asked for."""

    columns: Sequence[Column]
    blocks: Iterator[list[tuple[Any, ...]]]


@contextmanager
def answer(found: Source, query: str) -> Iterator[Answer]:
    """Run one query as the report role, in a transaction that cannot write.

    Raises:
        InputError: PostgreSQL refuses it: its message, SQLSTATE and hint.
        ServiceUnavailableError: the server does not answer.
    """
    connection = _connect(found)
    try:
        connection.set_session(readonly=True)
        with connection.cursor() as cursor:
            # As a cursor of PL/pgSQL it can be one query only: no second statement follows a ; .
            cursor.execute(
                sql.SQL(
                    "DO $do$ DECLARE answer refcursor := 'answer'; "
                    "BEGIN OPEN answer FOR EXECUTE {}; END $do$"
                ).format(sql.Literal(query.strip().rstrip(";")))
            )
            cursor.execute(f"FETCH {_BLOCK} FROM answer")
            columns = [
                Column(c.name, _KINDS.get(c.type_code, "text")) for c in cursor.description or ()
            ]
            yield Answer(columns, _blocks(cursor))
    except psycopg2.Error as error:
        raise _refused(error) from error
    finally:
        connection.close()


def _connect(found: Source) -> Any:
    try:
        connection = psycopg2.connect(
            _plain(found.url),
            application_name="aparella report query",
            connect_timeout=5,
            options=_options(found),
        )
    except psycopg2.OperationalError as error:
        if _POOLER in str(error):
            raise ConfigurationError(_SESSION) from error
        raise ServiceUnavailableError(
            f"The database does not answer: {str(error).strip()}"
        ) from error
    if not found.own and not _in_role(connection):
        connection.close()
        raise ConfigurationError(_SESSION)
    return connection


def _in_role(connection: Any) -> bool:
    """Whether the options were heeded: a pooler may be set to drop them without a word."""
    with connection, connection.cursor() as cursor:
        cursor.execute("SHOW role")
        return bool(cursor.fetchone()[0] == ROLE)


def _blocks(cursor: Any) -> Iterator[list[tuple[Any, ...]]]:
    while rows := cursor.fetchall():
        yield rows
        cursor.execute(f"FETCH {_BLOCK} FROM answer")


def _options(found: Source) -> str:
    """Settings from the connection's start; a login of its own has them already."""
    if found.own:
        return ""
    settings = {"role": ROLE, **LIMITS, "search_path": "report,public"}
    return " ".join(f"-c {name}={value}" for name, value in settings.items())


def _refused(error: psycopg2.Error) -> AparellaError:
    if error.pgcode is None or error.pgcode.startswith(("08", "57P")):
        return ServiceUnavailableError(f"PostgreSQL: {str(error).strip()}")
    # The lines about our own cursor help nobody.
    sentence = (error.diag.message_primary or str(error)).strip()
    refused = InputError(f"PostgreSQL refuses the query: {sentence} ({error.pgcode})")
    if error.diag.message_hint:
        refused.add_note(f"hint: {error.diag.message_hint}")
    return refused
