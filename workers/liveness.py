"""Shows that a worker's main loop turns: a Celery bootstep that touches a file for probes."""

import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

import redis
from celery import Celery, bootsteps
from redis.backoff import NoBackoff
from redis.retry import Retry

from aparella.workers.pulse import STALE_SECONDS, Pulse

INTERVAL = 5.0
"""Seconds between two touches."""
REDIS_TIMEOUT = 2.0
SETTING = "aparella_pulse"


def install(app: Celery, path: str) -> None:
    """Have the workers of an app touch the file; without a path nothing is installed."""
    if path:
        app.conf[SETTING] = path
        app.steps["consumer"].add(Liveness)


def lives(*, idle: float, connected: bool, redis_answers: Callable[[], bool]) -> bool:
    """Whether the loop counts as living: it turned a moment ago, or it waits for Redis.

    Args:
        idle: seconds since it turned.
        connected: whether it has a connection to Redis.
        redis_answers: asked when it seems to be connected and stands still all the same: with a
            Redis that is frozen, it waits for minutes in what it believes to be a connection.
    """
    return idle < STALE_SECONDS or not connected or not redis_answers()


class Liveness(bootsteps.StartStopStep):  # type: ignore[misc]
    """Touches the file while the main loop turns, and while it waits for Redis.

    A worker that has lost Redis is not ill: to restart it would help nothing, and all workers at
    once would be restarted. What does not come back from a call is noticed, because the loop's
    own timer then stands still. Chunks that hang are the heartbeat's to see.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **_: object) -> None:
        super().__init__(consumer)
        self._consumer = consumer
        self._pulse = Pulse(consumer.app.conf[SETTING])
        self._turned = monotonic()
        threading.Thread(target=self._watch, name="liveness", daemon=True).start()

    def start(self, consumer: Any) -> None:
        """Hang on to the loop's timer, which is emptied whenever the connection is lost."""
        self._turn()
        consumer.timer.call_repeatedly(INTERVAL, self._turn)

    def _turn(self) -> None:
        self._turned = monotonic()

    def _watch(self) -> None:
        pause = threading.Event()
        while True:
            connected = self._consumer.connection is not None
            idle = monotonic() - self._turned
            has_pool = getattr(self._consumer.pool, "_pool", None) is not None
            if has_pool and lives(
                idle=idle, connected=connected, redis_answers=self._redis_answers
            ):
                self._pulse.beat()
            pause.wait(INTERVAL)

    def _redis_answers(self) -> bool:
        try:
            with redis.Redis.from_url(
                self._consumer.app.conf.broker_url,
                socket_timeout=REDIS_TIMEOUT,
                socket_connect_timeout=REDIS_TIMEOUT,
                retry=Retry(NoBackoff(), 0),
            ) as broker:
                return bool(broker.ping())
        except redis.RedisError:
            return False
