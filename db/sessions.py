"""Connections that need a session of their own, and how to tell whether one has it.

A pooler in transaction mode gives each transaction whichever session of the server is free. What
outlives a transaction (LISTEN, SET, a session's advisory lock) stays behind there, for somebody
else to find, and is not there when it is needed.
"""

from typing import Any

import sqlalchemy as sa

from aparella.errors import ConfigurationError

_LOOKS = 5
_PID = "SELECT pg_backend_pid()"
_SAY = (
    "A migration needs a session of its own. Set DATABASE_SESSION_URL to the address of the server "
    "itself (docs/deployment.md, Behind a pooler)."
)


def is_direct(driver: Any) -> bool:
    """Whether a connection of the driver leads to the very process of the server that greeted it.

    A pooler greets its clients itself, and makes up the number of the process that it names to
    them. So do some proxies of hosted databases whose connections are sessions all the same: this
    errs on that side only.
    """
    with driver.cursor() as cursor:
        cursor.execute(_PID)
        return bool(cursor.fetchone()[0] == driver.info.backend_pid)


def require(engine: sa.Engine, *, named: bool) -> None:
    """Check that connections of the engine are sessions.

    Args:
        engine: it is asked for two connections.
        named: whether it leads to a URL that was given for this purpose. Then a proxy may be
            between, unless it is seen to change sessions.

    Raises:
        ConfigurationError: they are not; says what to set.
    """
    with (
        engine.connect().execution_options(isolation_level="AUTOCOMMIT") as first,
        engine.connect().execution_options(isolation_level="AUTOCOMMIT") as second,
    ):
        if is_direct(first.connection.driver_connection):
            return
        if not named:
            raise ConfigurationError(f"DATABASE_URL leads to a pooler. {_SAY}")
        # Two sessions at once have one process each, and keep it.
        found = {(_pid(first), _pid(second)) for _ in range(_LOOKS)}
        ((one, other), *changed) = found
        if changed or one == other:
            raise ConfigurationError(
                f"DATABASE_SESSION_URL leads to a pooler in transaction mode. {_SAY}"
            )


def _pid(connection: sa.Connection) -> int:
    return int(connection.exec_driver_sql(_PID).scalar_one())
