"""The faults of the network and of the queue's content."""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from time import sleep, time

from aparella.workers.app import make_app
from aparella.workers.broker import Broker
from bench.faults.faults import missed, query
from bench.faults.journal import Happening
from bench.faults.processes import LEASE, Stack, settings, until
from bench.faults.proxy import Mode
from bench.faults.schedule import Event
from bench.faults.servers import broker

QUEUES = ("import", "embed", "match")
FAR = "worker-far"


def link_down(on: Stack, event: Event) -> Happening:
    """The link of the worker with a host of its own is down for longer than its lease."""
    host = on.far
    if host is None:
        return missed(event, on.far_reason)

    def cut_off() -> int | None:
        host.cable("down")
        rows = query(
            on, "SELECT id FROM chunk WHERE state = 'leased' AND leased_by LIKE :by",
            by=f"{host.name}:%",
        )  # fmt: skip
        if rows:
            return int(rows[0].id)
        host.cable("up")
        sleep(0.3)
        return None

    chunk = until(cut_off, 30)
    if not chunk:
        return missed(event, "it had no chunk in hand")
    now = time()
    sleep(LEASE + 4)
    host.cable("up")
    return Happening(event.kind, now, now, chunk)


def _both(on: Stack, mode: Mode, seconds: float, event: Event) -> Happening:
    """Both proxies behave so for a while; then all connections of that time are reset."""
    now = time()
    for proxy in (on.database, on.broker):
        proxy.behave(mode)
    sleep(seconds)
    for proxy in (on.database, on.broker):
        proxy.behave("pass")
        if mode != "delay":
            proxy.reset()
    return Happening(event.kind, now, time())


def delay(on: Stack, event: Event) -> Happening:
    """Each piece takes a quarter of a second, each way."""
    return _both(on, "delay", 5, event)


def half_open(on: Stack, event: Event) -> Happening:
    """New connections are taken and never answered, after the old ones were reset."""
    on.database.reset()
    on.broker.reset()
    return _both(on, "half-open", LEASE + 2, event)


def black_hole(on: Stack, event: Event) -> Happening:
    """Nothing arrives and nobody hangs up, for longer than a lease."""
    return _both(on, "black hole", LEASE + 3, event)


def reset(on: Stack, event: Event) -> Happening:
    """All connections end with a RST."""
    on.database.reset()
    on.broker.reset()
    return Happening(event.kind, time(), time())


@contextmanager
def _sender(on: Stack) -> Iterator[Broker]:
    own = settings(on.environment["DATABASE_URL"], on.redis_url)
    app = make_app(own)
    try:
        yield Broker(own, app)
    finally:
        app.close()


def duplicates(on: Stack, event: Event) -> Happening:
    """Ten messages each for chunks that are in work, done, and ready."""
    rows = query(
        on,
        "SELECT c.id, s.queue FROM chunk c JOIN stage s ON s.id = c.stage_id "
        "WHERE s.state = 'running' ORDER BY c.state = 'leased' DESC, random() LIMIT 6",
    )
    if not rows:
        return missed(event, "no stage ran")
    with _sender(on) as sender:
        for row in rows:
            for _ in range(10):
                sender.send(row.queue, row.id)
    return Happening(event.kind, time(), time(), note=f"{10 * len(rows)} messages")


def reorders(on: Stack, event: Event) -> Happening:
    """What waits in the queues is shuffled."""
    chance, moved = random.Random(event.pick), 0
    for row in query(
        on,
        "SELECT c.id, s.queue FROM chunk c JOIN stage s ON s.id = c.stage_id "
        "WHERE s.state = 'running' AND c.state = 'ready' ORDER BY c.id DESC LIMIT 8",
    ):
        with _sender(on) as sender:
            sender.send(row.queue, row.id)
    with broker(on) as server:
        for queue in QUEUES:
            with server.pipeline(transaction=True) as pipeline:
                pipeline.lrange(queue, 0, -1)
                pipeline.delete(queue)
                messages = pipeline.execute()[0]
            chance.shuffle(messages)
            if messages:
                server.rpush(queue, *messages)
                moved += len(messages)
    return Happening(event.kind, time(), time(), note=f"{moved} messages")


def corrupt(on: Stack, event: Event) -> Happening:
    """Messages that are no JSON, no envelope, cut short, or of another kind."""
    with _sender(on) as sender, broker(on) as server:
        sender.send("aparella-faults", 1)
        (whole,) = server.lrange("aparella-faults", 0, 0)
        server.delete("aparella-faults")
        envelope = json.loads(whole)
        bad = [
            b"\x00\xff not JSON",
            b"[]",
            b"{}",
            whole[: len(whole) // 2],
            json.dumps({**envelope, "body": "!!!"}),
            json.dumps({**envelope, "body": "bm90IGpzb24="}),
            json.dumps({**envelope, "content-type": "application/x-python-serialize"}),
            json.dumps({**envelope, "headers": {}}),
        ]
        for queue in ("embed", "match"):
            server.rpush(queue, *bad)
    return Happening(event.kind, time(), time(), note=f"{2 * len(bad)} messages")


def unknown(on: Stack, event: Event) -> Happening:
    """A task that nobody knows, chunks that do not exist, arguments that are none."""
    own = settings(on.environment["DATABASE_URL"], on.redis_url)
    app = make_app(own)
    for queue in ("embed", "match"):
        app.send_task("aparella.no_such_task", args=(1,), queue=queue)
        for arguments in ((9_999_999_999,), (-1,), ("one",), (None,), (), (1, 2, 3)):
            app.send_task("aparella.chunk", args=arguments, queue=queue)
    app.close()
    return Happening(event.kind, time(), time(), note="14 messages")
