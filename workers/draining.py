"""A worker that takes no more messages, though it runs on: its queues are given up and taken back.

Without it a supervisor would start a stopped worker again, which then works on.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any


class Draining:
    """Whether a worker takes messages, as the operator wants it.

    Args:
        worker: Celery's controller of this process.
        queues: that it works on.
    """

    def __init__(self, worker: Any, queues: Sequence[str]) -> None:
        self._worker = worker
        self._queues = queues
        self._drained = False

    def heed(self, draining: bool) -> None:
        """Do as is wanted, if it is not done yet; from any thread, and soon after it returns."""
        consumer: Any = getattr(self._worker, "consumer", None)
        if consumer is None or consumer.task_consumer is None or draining == self._drained:
            return
        change = consumer.cancel_task_queue if draining else consumer.add_task_queue
        for queue in self._queues:
            # In the thread of the consumer's own loop: its channel is no other's business.
            consumer.call_soon(partial(change, queue))
        self._drained = draining
