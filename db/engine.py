"""Connections to PostgreSQL, and the one place where driver errors become Aparella's."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from time import monotonic
from typing import Any

import psycopg2
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, InvalidatePoolError

from aparella.db import budget, sessions
from aparella.errors import (
    AparellaError,
    JobError,
    RecordError,
    ResourceExhaustedError,
    ServiceUnavailableError,
    TransientError,
)
from aparella.settings import Settings

_RETRIED = ("25P03", "40001", "40P01", "55P03", "57014")
"""Idle in a transaction for too long, serialization failure, deadlock, lock timeout, statement
timeout."""
_RECORD_CLASSES = ("22", "23")
"""Data exceptions and integrity violations: something about the rows themselves."""
_PATIENCE = 10
"""Seconds to wait for a connection when all that a process may have are in use."""
FRESH = 1.0
"""Seconds for which a connection counts as good after its last use. One that breaks within them is
noticed by the statement itself."""


def create(
    settings: Settings,
    *,
    name: str,
    pool: budget.Pool = budget.COMMAND,
    silence: float | None = None,
    session: bool = False,
) -> sa.Engine:
    """Make this process's engine.

    One engine belongs to one process: it is created after a fork or spawn, never before.

    A pooler may stand between and give each transaction another server's session. So nothing in
    `db/` changes a session that is not seen to be ours: settings are `SET LOCAL`, locks are a
    transaction's, and `sessions` sees to the two exceptions (docs/decisions/0020).

    Args:
        settings: gives the URL.
        name: `application_name`, as an operator sees it in `pg_stat_activity`.
        pool: connections that are kept, and how many there may be.
        silence: of workers, which do many short transactions and bear it when one fails: seconds
            after which the server ends a transaction whose client says nothing, because it is
            frozen, or cut off, with the lock of a row that others wait for. And a connection that
            was just used is not tried before it is used again.
        session: for what needs a session of its own: the URL for that, where there is one.
    """
    engine = sa.create_engine(
        settings.sqlalchemy_session_url if session else settings.sqlalchemy_url,
        pool_size=pool.kept,
        max_overflow=pool.most - pool.kept,
        pool_pre_ping=silence is None,
        pool_timeout=_PATIENCE,
        connect_args={
            "application_name": f"aparella {name}",
            "connect_timeout": 5,
            # A peer that vanished is noticed in about 30 s instead of the kernel's two hours.
            "keepalives_idle": 15,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
        },
    )
    if silence is not None:
        sa.event.listen(engine, "checkin", _note_use)
        sa.event.listen(engine, "checkout", partial(_try, engine.dialect))
        limit = f"idle_in_transaction_session_timeout = {round(silence * 1_000)}"
        sa.event.listen(engine, "connect", partial(_limit_session, limit))
        sa.event.listen(engine, "begin", partial(_limit_transaction, limit))
    return engine


def _note_use(_driver: object, record: sa.pool.ConnectionPoolEntry) -> None:
    record.info["used"] = monotonic()


def _try(
    dialect: sa.Dialect, driver: Any, record: sa.pool.ConnectionPoolEntry, _proxy: object
) -> None:
    """Try a connection that was not just used, as `pool_pre_ping` does at each checkout.

    Its trips were one in seven of those that a chunk made.
    """
    if monotonic() - record.info.get("used", monotonic()) > FRESH:
        try:
            dialect.do_ping(driver)
        except psycopg2.Error as error:
            raise InvalidatePoolError from error


def _limit_session(limit: str, driver: Any, record: sa.pool.ConnectionPoolEntry) -> None:
    record.info["direct"] = sessions.is_direct(driver)
    if record.info["direct"]:
        with driver.cursor() as cursor:
            cursor.execute(f"SET {limit}")
    driver.commit()


def _limit_transaction(limit: str, connection: sa.Connection) -> None:
    # Behind a pooler for each transaction anew: set for the session, it would not be there in the
    # next one that the pooler gives us, and would be in what it gives to others. As an option of
    # the connection a pooler refuses it.
    if not connection.info["direct"]:
        connection.exec_driver_sql(f"SET LOCAL {limit}")


@contextmanager
def transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that commits at the end of the block and rolls back on any error.

    Raises:
        aparella.errors.TransientError: the connection or the server failed; try again.
        aparella.errors.RecordError: the rows violate a type or a constraint.
        aparella.errors.JobError: the statement itself is refused (missing table, no permission).
    """
    with _translated(), engine.begin() as connection:
        yield connection


@contextmanager
def statements(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection on which each statement commits by itself: one trip to the server, not four.

    Raises:
        aparella.errors.AparellaError: as `transaction` does.
    """
    with _translated(), engine.connect() as connection:
        yield connection.execution_options(isolation_level="AUTOCOMMIT")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (DBAPIError, psycopg2.Error) as error:
        raise translate(error) from error
    except sa.exc.TimeoutError as error:
        raise ServiceUnavailableError(
            f"no free database connection within {_PATIENCE} s"
        ) from error


def translate(error: DBAPIError | psycopg2.Error) -> AparellaError:
    """Sort a driver error into the tree, by SQLSTATE (PostgreSQL documentation, appendix A).

    COPY runs on the driver's own cursor, so its errors come without SQLAlchemy's wrapping.
    """
    cause = error.orig if isinstance(error, DBAPIError) else error
    state: str = getattr(cause, "pgcode", None) or ""
    sentence = str(cause).strip().split("\n")[0] or type(cause).__name__
    if state.startswith(("08", "57P")):
        return ServiceUnavailableError(f"PostgreSQL: {sentence}")
    if state.startswith("53"):
        return ResourceExhaustedError(f"PostgreSQL: {sentence}")
    if state in _RETRIED:
        return TransientError(f"PostgreSQL: {sentence}")
    if not state and isinstance(cause, psycopg2.OperationalError | psycopg2.InterfaceError):
        # The connection could not be made or broke off: there is no SQLSTATE then.
        return ServiceUnavailableError(f"PostgreSQL: {sentence}")
    if state.startswith(_RECORD_CLASSES):
        return RecordError(f"PostgreSQL: {sentence} ({state})")
    return JobError(f"PostgreSQL: {sentence} ({state})")
