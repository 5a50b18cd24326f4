"""Connections to PostgreSQL, and the one place where driver errors become Aparella's."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg2
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

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


def create(
    settings: Settings, *, name: str, pool_size: int = 2, silence: float | None = None
) -> sa.Engine:
    """Make this process's engine.

    One engine belongs to one process: it is created after a fork or spawn, never before.

    Args:
        settings: gives the URL.
        name: `application_name`, as an operator sees it in `pg_stat_activity`.
        pool_size: connections kept; as many again may be opened for a moment.
        silence: seconds after which the server ends a transaction whose client says nothing: one
            that is frozen, or cut off, with the lock of a row that others wait for.
    """
    engine = sa.create_engine(
        settings.sqlalchemy_url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        pool_timeout=10,
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
        # By a statement: a pooler between refuses it as an option of the connection.
        sa.event.listen(engine, "connect", partial(_limit_silence, round(silence * 1_000)))
    return engine


def _limit_silence(milliseconds: int, connection: Any, _record: object) -> None:
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"SET idle_in_transaction_session_timeout = {milliseconds}")
    connection.autocommit = False


@contextmanager
def transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that commits at the end of the block and rolls back on any error.

    Raises:
        aparella.errors.TransientError: the connection or the server failed; try again.
        aparella.errors.RecordError: the rows violate a type or a constraint.
        aparella.errors.JobError: the statement itself is refused (missing table, no permission).
    """
    try:
        with engine.begin() as connection:
            yield connection
    except (DBAPIError, psycopg2.Error) as error:
        raise translate(error) from error
    except sa.exc.TimeoutError as error:
        raise ServiceUnavailableError("no free database connection within 10 s") from error


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
