"""Redis as the engine uses it: is it fit, how long is a queue, send a hint."""

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from aparella.errors import ConfigurationError, ServiceUnavailableError
from aparella.settings import Settings
from aparella.workers.contracts import TASK


class Broker:
    """A connection to Redis, made anew by the library whenever it breaks."""

    def __init__(self, settings: Settings, app: Celery) -> None:
        self._app = app
        self._redis = redis.Redis.from_url(
            settings.redis_url, socket_timeout=5.0, socket_connect_timeout=5.0
        )

    def check(self) -> None:
        """Refuse a Redis that drops keys when memory is short: a queue is a key.

        Raises:
            ConfigurationError: its eviction policy is another one than `noeviction`.
            ServiceUnavailableError: it does not answer.
        """
        try:
            policy = self._redis.info("memory").get("maxmemory_policy", "noeviction")
        except redis.AuthenticationError as error:
            raise ConfigurationError(f"Redis refuses the password in REDIS_URL: {error}") from error
        except redis.RedisError as error:
            raise ServiceUnavailableError(f"Redis: {error}") from error
        if policy != "noeviction":
            raise ConfigurationError(
                f"Redis has maxmemory-policy {policy} and may drop whole queues when its memory "
                "is full. Set it to noeviction: redis-cli config set maxmemory-policy noeviction"
            )

    def length(self, queue: str) -> int:
        """Messages waiting in a queue.

        Raises:
            ServiceUnavailableError: Redis does not answer.
        """
        try:
            return int(self._redis.llen(queue))
        except redis.RedisError as error:
            raise ServiceUnavailableError(f"Redis: {error}") from error

    def send(self, queue: str, chunk_id: int) -> None:
        """Send the hint that a chunk is ready.

        Raises:
            ServiceUnavailableError: Redis does not answer.
        """
        try:
            self._app.send_task(TASK, args=(chunk_id,), queue=queue)
        except (OperationalError, redis.RedisError, OSError) as error:
            raise ServiceUnavailableError(f"Redis: {error}") from error
