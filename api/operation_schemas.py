"""The JSON documents about workers, queues, and how all does."""

from collections import defaultdict
from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict

from aparella.api import doctor
from aparella.db import workers


class _FromDatabase(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Worker(_FromDatabase):
    """A worker or reconciler, as it was when it last reported.

    `state` is `working`, `idle`, `draining` (has a chunk in hand still), `drained` or `lost`;
    `rates` are items a second of the last minute by kind of stage, all its processes together.
    """

    name: str
    kind: str
    state: str
    host: str
    pid: int
    queues: list[str]
    processes: int
    threads: int
    busy: int
    rates: dict[str, float]
    memory_bytes: int
    disk_free_bytes: int | None
    skew_seconds: float
    version: str
    started_at: datetime
    seen_at: datetime

    @classmethod
    def of(cls, worker: workers.Worker) -> Self:
        """Build the document of a worker."""
        rates: defaultdict[str, float] = defaultdict(float)
        for process in worker.rates:
            for handler, rate in process.items():
                rates[handler] += rate
        facts = {
            **worker.__dict__,
            "state": state(worker),
            "rates": {handler: round(rate, 2) for handler, rate in sorted(rates.items())},
        }
        return cls(**{name: facts[name] for name in cls.model_fields})


class Workers(BaseModel):
    """All that are there, and those that vanished within the last hour."""

    items: list[Worker]


class Queue(BaseModel):
    """A queue: chunks that wait, rest or are in work, and the workers that take from it."""

    name: str
    state: str
    paused_at: datetime | None
    waiting: int
    paused: int
    leased: int
    workers: int
    oldest_seconds: float | None


class Queues(BaseModel):
    """All queues."""

    items: list[Queue]


class Finding(_FromDatabase):
    """One thing that was looked at: `ok`, `warning` or `failed`, and what to do about it."""

    check: str
    status: doctor.Status
    finding: str
    advice: str | None


class Findings(BaseModel):
    """All that was looked at; `status` is the worst of them."""

    status: doctor.Status
    items: list[Finding]


def state(worker: workers.Worker) -> str:
    """A worker's state in a word."""
    if not worker.alive:
        return "lost"
    if worker.draining:
        return "draining" if worker.busy else "drained"
    return "working" if worker.busy else "idle"
