"""The faults that strike processes: kills, at random and at named points, and zombies."""

import os
import re
import signal
from collections.abc import Callable
from contextlib import suppress
from time import sleep, time
from typing import Any

import httpx
import psutil
import sqlalchemy as sa

from aparella.errors import AparellaError
from bench.faults import points
from bench.faults.journal import Happening
from bench.faults.processes import LEASE, TOKEN, Stack, until
from bench.faults.schedule import API_POINTS, RECONCILER_POINTS, Event

Strike = Callable[[Stack, Event], Happening]
_UP = 5.0
"""Seconds in which a process of a pool has come up."""
_PATIENCE = 15.0
"""Seconds to wait for a fault to come about."""
_LOST = "the lease was lost"


def query(on: Stack, words: str, **values: Any) -> list[Any]:
    """Rows of a query, past all proxies."""
    with on.db.begin() as connection:
        connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        return list(connection.execute(sa.text(words), values))


def in_hand(on: Stack, pid: int) -> int | None:
    """The chunk that the process of this id has leased."""
    rows = query(
        on,
        "SELECT id FROM chunk WHERE state = 'leased' AND leased_by LIKE :by ORDER BY id DESC",
        by=f"%:{pid}",
    )
    return int(rows[0].id) if rows else None


def kill_pool(on: Stack, event: Event) -> Happening:
    """SIGKILL of a process of some pool, of one that is up.

    Celery ends a worker whose pool loses a process before it has started, and its supervisor
    starts another: that death would count as the worker's own.
    """
    victims = until(
        lambda: [
            p for name in on.workers() for p in on.pool(name) if time() - p.create_time() > _UP
        ],
        _PATIENCE,
    )
    if not victims:
        return missed(event, "no pool had a process")
    victim = victims[int(event.pick * len(victims))]
    with suppress(psutil.NoSuchProcess):
        victim.kill()
    now = time()
    until(lambda: not runs(victim), 5)
    return Happening(event.kind, now, now, in_hand(on, victim.pid))


def kill_parent(on: Stack, event: Event) -> Happening:
    """SIGKILL of a worker, the parent of its pool; the pool goes with it."""
    names = on.workers()
    name = names[int(event.pick * len(names))]
    pool = until(lambda: on.pool(name), _PATIENCE)
    if not pool:
        return missed(event, "it had no pool")
    on.kill(name)
    now = time()
    gone = until(lambda: not any(runs(p) for p in pool), 10)
    chunks = [c for p in pool if (c := in_hand(on, p.pid))]
    note = "" if gone else "its pool outlived it"
    return Happening(event.kind, now, now, chunks[0] if chunks else None, note=note)


def kill_process(*names: str) -> Strike:
    """SIGKILL of a reconciler or the API."""

    def strike(on: Stack, event: Event) -> Happening:
        name = names[int(event.pick * len(names))]
        if not until(lambda: on.pid(name), _PATIENCE):
            return missed(event, "it was away")
        on.kill(name)
        now = time()
        return Happening(event.kind, now, now)

    return strike


def kill_at(point: str) -> Strike:
    """SIGKILL of whoever comes to a point next."""

    def strike(on: Stack, event: Event) -> Happening:
        if point in API_POINTS:
            return _enqueue_into(on, event, point)
        hit = walk_into(on, point, "kill", bring=lambda: _bring(on, event, point))
        if hit is None:
            return missed(event, "nobody came by")
        if point in RECONCILER_POINTS:
            on.planned[on.name_of(hit[1])] += 1
        now = time()
        return Happening(event.kind, now, now, hit[0] or None)

    return strike


def _bring(on: Stack, event: Event, point: str) -> None:
    """See to it that somebody comes to a point that is seldom come to."""
    if point == "fanned-in":  # a stage ends only once, and that of a small job soon
        with suppress(AparellaError), on.client() as client:
            client.embed("tiny")
    elif point == "settled":  # where a lease has run out
        kill_pool(on, event)


def zombie_at(point: str) -> Strike:
    """SIGSTOP at a point, for longer than the lease; then SIGCONT: nothing of it may land."""

    def strike(on: Stack, event: Event) -> Happening:
        hit = walk_into(on, point, "stop")
        if hit is None:
            return missed(event, "nobody came by")
        chunk, pid = hit
        begin = time()

        def moved() -> bool:
            ((state,),) = query(on, "SELECT state FROM chunk WHERE id = :id", id=chunk)
            by = f"%:{pid}"
            owned = query(
                on, "SELECT 1 FROM chunk WHERE id = :id AND leased_by LIKE :by", id=chunk, by=by
            )
            return bool(state != "leased" or not owned)

        sleep(LEASE)
        settled = until(moved, LEASE + _PATIENCE)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        words = re.compile(rf"chunk {chunk}: {_LOST}")
        refused = settled and until(lambda: _said(on, words), 20)
        # Where it stopped within its transaction, the server has ended that: also a refusal.
        ended = settled and not refused and until(lambda: _gave_up(on, chunk), 5)
        note = "refused" if refused else "its transaction was ended" if ended else ""
        if not settled:
            note = "its chunk was not taken from it"
        return Happening(event.kind, begin, begin + LEASE, chunk, note=note)

    return strike


def _gave_up(on: Stack, chunk: int) -> bool:
    words = re.compile(rf"chunk {chunk}[,:].*(away|no longer valid|connection|transient)")
    return _said(on, words)


def _said(on: Stack, words: re.Pattern[str]) -> bool:
    """Whether a worker wrote so, be it on a host of its own."""
    return any(words.search(log) for log in on.logs("worker*"))


def walk_into(
    on: Stack,
    point: str,
    action: str,
    seconds: float = _PATIENCE,
    bring: Callable[[], None] = lambda: None,
) -> tuple[int, int] | None:
    """Arm a point, `bring` a victim and wait for it: its chunk (0: none) and its process id."""
    before = set(points.hits(on.traps, point))
    trap = points.arm(on.traps, point, action)
    bring()
    found = until(lambda: set(points.hits(on.traps, point)) - before, seconds, every=0.01)
    if not found:
        with suppress(FileNotFoundError):
            trap.unlink()
            return None
        found = until(lambda: set(points.hits(on.traps, point)) - before, 1)
        if not found:
            return None
    chunk, pid = found.pop().name.rsplit("-", 2)[1:]
    return int(chunk), int(pid)


def _enqueue_into(on: Stack, event: Event, point: str) -> Happening:
    """The API dies while it enqueues a job; the client asks again by the same key: one job."""
    key = f"again-{time()}"
    points.arm(on.traps, point, "kill")
    now = time()
    body = {"kind": "embed", "collection": "tiny"}
    headers = {"Authorization": f"Bearer {TOKEN}", "Idempotency-Key": key}

    def ask() -> int:
        try:
            answer = httpx.post(f"{on.api_url}/v1/jobs", json=body, headers=headers, timeout=5)
        except httpx.HTTPError:
            return 0
        return int(answer.json()["id"]) if answer.is_success else 0

    first = ask()
    if first or not points.hits(on.traps, point):
        with suppress(FileNotFoundError):
            (on.traps / f"armed-{point}").unlink()
        return missed(event, "the API was not there to be asked")
    on.planned["api"] += 1
    for hit in points.hits(on.traps, point):
        hit.unlink()
    again = until(ask, 30, every=0.2)
    ((number,),) = query(on, "SELECT count(*) FROM job WHERE idempotency_key = :key", key=key)
    note = "" if again and number == 1 else f"{number} jobs came of one request"
    return Happening(event.kind, now, now, note=note)


def missed(event: Event, why: str) -> Happening:
    """A fault that did not come about."""
    return Happening(event.kind, time(), time(), missed=why)


def runs(process: psutil.Process) -> bool:
    """Whether a process lives."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def job_state(on: Stack, job: int) -> str | None:
    """A job's state, as the API tells it; None while it does not answer."""
    try:
        with on.client() as client:
            return client.job(job).state
    except AparellaError:
        return None
