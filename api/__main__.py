"""The command `python -m aparella.api`: serves the HTTP interface with uvicorn."""

import argparse
import errno
import logging
import socket
import sys

import uvicorn

from aparella import logs, traces
from aparella.api.app import create_app
from aparella.api.auth import require_token_beyond_loopback
from aparella.db import engine
from aparella.errors import AparellaError, ConfigurationError
from aparella.settings import load

GRACE_SECONDS = 10
"""After SIGTERM, requests in work may go on for so long."""

log = logging.getLogger("aparella.api")


def listen(host: str, port: int) -> socket.socket:
    """Open the socket to serve on, before anything else is started.

    Args:
        host: an address of this machine, or a name of one.
        port: 0 for any that is free.

    Raises:
        ConfigurationError: the address is not this machine's, or the port is not to be had.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = "another program listens there. Stop it, or choose another --port"
        elif error.errno == errno.EACCES:
            reason = "this user may not. Choose a --port from 1024 on"
        elif error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
            reason = "that is no address of this machine. Choose another --host"
        else:
            reason = error.strerror or str(error)
        raise ConfigurationError(f"The API cannot listen on {host}:{port}: {reason}.") from error
    # Connections inherit it. asyncio sets it only on sockets whose protocol number is known, and
    # this one's is not; without it the pieces of an answer may wait for acknowledgements.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65_535:
        raise ValueError
    return port


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m aparella.api", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    parser.add_argument("--port", type=_port, default=8000, help="default: %(default)s")
    arguments = parser.parse_args()
    try:
        settings = load()
        logs.set_up(settings.log, level=logging.WARNING)
        log.setLevel(logging.INFO)
        traces.check()
        db = engine.create(settings, name="api start")
        require_token_beyond_loopback(arguments.host, settings, db)
        db.dispose()
        listener = listen(arguments.host, arguments.port)
    except AparellaError as error:
        sys.exit(f"aparella: {error}")
    shown = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
    log.info("The API listens on http://%s:%d", shown, listener.getsockname()[1])
    config = uvicorn.Config(
        create_app(settings),
        access_log=False,
        log_config=None,
        log_level=logging.WARNING,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
