"""Shows that a worker's main loop turns: a Celery bootstep that touches a file for probes."""

import threading
from time import monotonic
from typing import Any

from celery import Celery, bootsteps

from aparella.workers.pulse import STALE_SECONDS, Pulse

INTERVAL = 5.0
"""Seconds between two touches."""
SETTING = "aparella_pulse"


def install(app: Celery, path: str) -> None:
    """Have the workers of an app touch the file; without a path nothing is installed."""
    if path:
        app.conf[SETTING] = path
        app.steps["consumer"].add(Liveness)


def lives(*, connected: bool, idle: float) -> bool:
    """Whether the loop counts as living: it turned a moment ago, or it waits for Redis.

    Args:
        connected: whether it has a connection to Redis.
        idle: seconds since it turned.
    """
    return not connected or idle < STALE_SECONDS


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
            if lives(connected=connected, idle=monotonic() - self._turned):
                self._pulse.beat()
            pause.wait(INTERVAL)
