"""What the API may know of Redis: whether it answers, its policy, and how long its queues are.

Nothing that a job needs goes this way: the API serves all the same when Redis is away.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

TIMEOUT = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Broker:
    """Redis as it was found.

    Attributes:
        problem: why it cannot be used, in a few words; None if it can.
        policy: what it does when its memory is full.
        lengths: messages in each queue.
        memory: bytes that it holds; `memory_most` it may (0: no limit of its own).
    """

    problem: str | None = None
    policy: str = ""
    lengths: dict[str, int] = field(default_factory=dict)
    memory: int = 0
    memory_most: int = 0


def look(url: str, queues: Sequence[str]) -> Broker:
    """Ask Redis once, with little patience; the words of drivers, which name hosts, are logged."""
    if not url:
        return Broker("not configured")
    try:
        with redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 0),
        ) as server:
            facts = server.info("memory")
            lengths = {queue: int(server.llen(queue)) for queue in queues}
    except redis.AuthenticationError:
        return Broker("refuses the password")
    except redis.RedisError as error:
        log.warning("redis: %s", error)
        return Broker("no answer")
    return Broker(
        policy=str(facts.get("maxmemory_policy", "noeviction")),
        lengths=lengths,
        memory=int(facts.get("used_memory", 0)),
        memory_most=int(facts.get("maxmemory", 0)),
    )
