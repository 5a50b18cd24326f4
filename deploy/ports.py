"""TCP ports on loopback: which are free, and who holds those that are not."""

import random
import socket
from collections.abc import Collection

import psutil

from aparella.errors import ConfigurationError

LOOPBACK = "127.0.0.1"
RANGE = range(20_000, 30_000)
"""Below the ports that Linux and macOS hand out to outgoing connections, so that a port kept
across restarts is not lost to somebody's browser in between."""


def is_free(port: int) -> bool:
    """Whether a server could listen on the port of 127.0.0.1 now.

    Raises:
        ConfigurationError: the port needs rights that the user lacks (below 1024).
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        # As the servers do: connections of an earlier run in TIME_WAIT are no obstacle.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((LOOPBACK, port))
        except PermissionError:
            raise ConfigurationError(
                f"Port {port} is reserved for the system. Choose one from 1024 to 65535."
            ) from None
        except OSError:
            return False
    return True


def choose(*, preferred: int | None = None, avoid: Collection[int] = ()) -> int:
    """A free port: the preferred one if it is, else a random one of `RANGE` not in `avoid`."""
    if preferred is not None and preferred not in avoid and is_free(preferred):
        return preferred
    for port in random.SystemRandom().sample(RANGE, len(RANGE)):
        if port not in avoid and is_free(port):
            return port
    raise ConfigurationError(f"No port from {RANGE.start} to {RANGE.stop - 1} is free.")


def holder(port: int) -> str | None:
    """Who listens on the port, such as "nginx (pid 812)"; None if the system does not tell us."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            if listens and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        pass
    return None


def taken(port: int) -> str:
    """The beginning of a sentence: "Port 8000 is taken by nginx (pid 812)"."""
    return f"Port {port} is taken by {holder(port) or 'another program'}"
