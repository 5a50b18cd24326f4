"""Redis as Celery reads it, with a thicker skin: what is no message at all is dropped.

Celery's own transport ends the whole worker at the first one, with every chunk in its hands. A hint
may be lost, so dropping costs nothing.
"""

import logging
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis

log = logging.getLogger(__name__)


class Channel(redis.Channel):
    """A channel that outlives garbage in its queues."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except (ValueError, KeyError, TypeError) as error:  # no JSON, no envelope, no body
            log.warning("what was in the queue is no message, and was dropped: %r", error)
            return True


class Transport(redis.Transport):
    """The transport of such channels."""

    Channel = Channel


def install() -> None:
    """Have URLs of Redis mean this transport, in this process."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
