"""What the server says about workers, queues, and how all does."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aparella.client.models import _Document, _time


@dataclass(frozen=True)
class Worker(_Document):
    """A worker or reconciler, as it was when it last reported.

    Attributes:
        state: `working`, `idle`, `draining`, `drained`, or `lost`.
        busy: chunks in hand.
        rates: items a second of the last minute, by kind of stage.
        memory_bytes: of it and its processes.
        skew_seconds: its clock minus the database's.
    """

    name: str
    kind: str = "worker"
    state: str = ""
    host: str = ""
    pid: int = 0
    queues: tuple[str, ...] = ()
    processes: int = 0
    threads: int = 0
    busy: int = 0
    rates: Mapping[str, float] = field(default_factory=dict)
    memory_bytes: int = 0
    disk_free_bytes: int | None = None
    skew_seconds: float = 0.0
    version: str = ""
    started_at: datetime | None = None
    seen_at: datetime | None = None

    @classmethod
    def _values(cls, document: Mapping[str, Any]) -> dict[str, Any]:
        values = super()._values(document)
        values["queues"] = tuple(values.get("queues") or ())
        values["seen_at"] = _time(values.get("seen_at"))
        return values


@dataclass(frozen=True)
class Queue(_Document):
    """A queue: chunks that wait, rest or are in work, and the workers that take from it."""

    name: str
    state: str = "open"
    paused_at: datetime | None = None
    waiting: int = 0
    paused: int = 0
    leased: int = 0
    workers: int = 0
    oldest_seconds: float | None = None

    @classmethod
    def _values(cls, document: Mapping[str, Any]) -> dict[str, Any]:
        values = super()._values(document)
        values["paused_at"] = _time(values.get("paused_at"))
        return values


@dataclass(frozen=True)
class Finding(_Document):
    """One thing that the server looked at: `ok`, `warning` or `failed`, and what to do."""

    check: str
    status: str
    finding: str
    advice: str | None = None
