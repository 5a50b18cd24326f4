"""Redis as a carrier of hints: fit, away, refusing, emptied."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from aparella.db import jobs
from aparella.errors import ConfigurationError, ServiceUnavailableError
from aparella.settings import Settings
from aparella.workers.app import make_app
from aparella.workers.broker import Broker
from aparella.workers.context import Context
from aparella.workers.reconciler import IDLE, PATIENCE, Reconciler
from aparella.workers.runner import run_chunk
from aparella.workers.supply import LATEST, LEAST, SOONEST
from tests.integration import drive, toy


def brokers(settings: Settings, url: str) -> Iterator[Broker]:
    app = make_app(settings.model_copy(update={"redis_url": url}))
    yield Broker(settings.model_copy(update={"redis_url": url}), app)
    app.close()


@pytest.fixture
def broker(settings: Settings) -> Iterator[Broker]:
    yield from brokers(settings, settings.redis_url)


@pytest.fixture
def server(settings: Settings) -> Iterator[Any]:
    with redis.Redis.from_url(settings.redis_url) as connection:
        yield connection


@pytest.fixture
def deserted(settings: Settings) -> Iterator[Broker]:
    """A broker at a port that nobody listens on, and that nobody can be given meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield from brokers(settings, f"redis://127.0.0.1:{taken.getsockname()[1]}/0")


@pytest.fixture
def reconciler(context: Context, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Reconciler:
    toy.install(context, monkeypatch, toy.ToyStage())
    return Reconciler(context.db, context.settings, broker)


def test_a_redis_that_keeps_its_keys_is_fit(broker: Broker) -> None:
    broker.check()


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_redis_that_may_drop_queues_is_refused(broker: Broker, server: Any, policy: str) -> None:
    before = server.config_get("maxmemory-policy")["maxmemory-policy"]
    server.config_set("maxmemory-policy", policy)
    try:
        with pytest.raises(ConfigurationError, match=f"maxmemory-policy {policy} .+ noeviction"):
            broker.check()
    finally:
        server.config_set("maxmemory-policy", before)
    broker.check()


def test_a_message_is_a_chunks_id_and_nothing_else(broker: Broker, server: Any) -> None:
    assert broker.length("match") == 0
    for chunk_id in (7, 8, 7):
        broker.send("match", chunk_id)
    broker.send("embed", 9)
    assert (broker.length("match"), broker.length("embed")) == (3, 1)
    assert toy.take_messages(server, "match") == [7, 8, 7]
    assert broker.length("match") == 0


def test_a_redis_that_is_away_is_a_transient_error(deserted: Broker) -> None:
    with pytest.raises(ServiceUnavailableError, match="Redis: "):
        deserted.check()
    with pytest.raises(ServiceUnavailableError, match="Redis: "):
        deserted.length("match")
    with pytest.raises(ServiceUnavailableError, match="Redis: "):
        deserted.send("match", 1)


def test_a_refused_password_is_a_setting_to_mend(settings: Settings) -> None:
    url = sa.make_url(settings.redis_url).set(password="bogus")
    for broker in brokers(settings, url.render_as_string(hide_password=False)):
        with pytest.raises(ConfigurationError, match="Redis refuses the password in REDIS_URL"):
            broker.check()


def planned(context: Context, items: int, *, queue: str = "match") -> list[int]:
    """A job of so many chunks: their ids."""
    job_id = toy.enqueue(context.db, items=items, size=1, queue=queue)
    run_chunk(context, toy.chunk_ids(context.db, job_id)[0], worker="test")
    return toy.chunk_ids(context.db, job_id, "ready")


def test_the_queue_is_filled_and_not_overfilled(
    context: Context, reconciler: Reconciler, server: Any
) -> None:
    ready = planned(context, 10)
    for _ in range(3):
        reconciler.dispatch()
    # Two workers take a message each: there is room for two more and those two.
    assert toy.take_messages(server, "match", most=2) == ready[:2]
    for chunk_id in ready[:2]:
        assert drive.claim(context, chunk_id)
    for _ in range(3):
        reconciler.dispatch()
    assert toy.take_messages(server, "match") == ready[2 : LEAST + 4]


def test_a_queue_that_runs_dry_is_given_more(
    context: Context, reconciler: Reconciler, server: Any
) -> None:
    ready = planned(context, 40)
    reconciler.dispatch()
    assert toy.take_messages(server, "match") == ready[:LEAST]
    # They are taken and not claimed yet, so that they count as sent.
    reconciler.dispatch()
    assert toy.take_messages(server, "match") == ready[LEAST : 2 * LEAST]
    reconciler.dispatch()
    assert toy.take_messages(server, "match") == ready[2 * LEAST : 4 * LEAST]


def test_the_reconciler_looks_again_at_once_while_it_has_something_to_send(
    context: Context, reconciler: Reconciler
) -> None:
    assert reconciler.dispatch() == IDLE
    planned(context, 1)
    pauses = [reconciler.dispatch() for _ in range(8)]
    assert pauses[:3] == [SOONEST, 2 * SOONEST, 4 * SOONEST]
    assert pauses[-1] == LATEST


def test_each_queue_has_room_of_its_own(
    context: Context, reconciler: Reconciler, server: Any
) -> None:
    embed, match = planned(context, 9, queue="embed"), planned(context, 9)
    reconciler.dispatch()
    assert toy.take_messages(server, "embed") == embed[:LEAST]
    assert toy.take_messages(server, "match") == match[:LEAST]


def test_a_small_job_does_not_wait_behind_a_big_one(
    context: Context, reconciler: Reconciler, server: Any
) -> None:
    big, small = planned(context, 500), planned(context, 1)
    reconciler.dispatch()
    assert toy.take_messages(server, "match") == [big[0], small[0], big[1], big[2]]


def test_the_turn_is_the_stage_s_that_was_served_longest_ago(
    context: Context, reconciler: Reconciler, server: Any
) -> None:
    """As many old jobs as there is room for must not hand the turns on among themselves."""
    old = [planned(context, 50) for _ in range(3 * LEAST)]
    (last,) = planned(context, 1)
    taken: list[int] = []
    while last not in taken:
        assert len(taken) <= 3 * LEAST + LEAST
        reconciler.dispatch()
        for chunk_id in toy.take_messages(server, "match", most=2):
            run_chunk(context, chunk_id, worker="test")
            taken.append(chunk_id)
    assert {chunk_id for ready in old for chunk_id in ready[:1]} <= {*taken}


def test_a_small_job_ends_before_a_big_one_has_done_much(
    context: Context, reconciler: Reconciler, server: Any
) -> None:
    """Three stages, each planned as a chunk first, beside 500 chunks that were there before."""
    big = context.db, toy.enqueue(context.db, items=500, size=1)
    drive.plan(context, toy.chunk_ids(*big)[0])
    reconciler.dispatch()
    small = toy.enqueue(context.db, items=1, size=1, stages=3)
    while drive.find(context.db, small).state in jobs.OPEN:
        reconciler.dispatch()
        assert server.llen("match") <= LEAST
        (oldest,) = toy.take_messages(server, "match", most=1)
        run_chunk(context, oldest, worker="test")
    assert drive.find(context.db, small).state == "succeeded"
    # At most what waits in the queue before each of its six chunks.
    assert 0 < len(toy.effects(*big)) <= 6 * LEAST


def test_messages_that_redis_lost_are_sent_again(
    context: Context, reconciler: Reconciler, server: Any
) -> None:
    ready = planned(context, 3)
    reconciler.dispatch()
    server.flushdb()
    reconciler.dispatch()
    assert toy.take_messages(server, "match") == []  # they may be on their way to a claim
    toy.pass_time(context.db)
    reconciler.dispatch()
    assert toy.take_messages(server, "match") == ready


def test_a_slow_queue_is_not_filled_twice(
    context: Context, reconciler: Reconciler, server: Any
) -> None:
    ready = planned(context, 3)
    for _ in range(4):
        reconciler.dispatch()
        toy.pass_time(context.db)
    assert toy.take_messages(server, "match") == ready


def test_a_message_that_went_twice_is_done_once(
    context: Context, reconciler: Reconciler, broker: Broker, server: Any
) -> None:
    (chunk_id,) = planned(context, 1)
    reconciler.dispatch()
    for _ in range(9):
        broker.send("match", chunk_id)
    broker.send("match", 10**12)
    for message in toy.take_messages(server, "match"):
        run_chunk(context, message, worker="test")
    assert toy.execute(context.db, "SELECT item FROM effect") == [(1,)]


def test_a_dispatch_without_redis_costs_nothing(
    context: Context, deserted: Broker, reconciler: Reconciler, server: Any
) -> None:
    ready = planned(context, 2)
    with pytest.raises(ServiceUnavailableError):
        Reconciler(context.db, context.settings, deserted).dispatch()
    reconciler.dispatch()
    assert toy.take_messages(server, "match") == ready


def test_a_redis_that_dies_between_two_messages_costs_patience_only(
    context: Context,
    reconciler: Reconciler,
    broker: Broker,
    server: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ready = planned(context, 3)
    send = broker.send

    def send_one(queue: str, chunk_id: int) -> None:
        if broker.length(queue):
            raise ServiceUnavailableError("Redis: it died just now")
        send(queue, chunk_id)

    monkeypatch.setattr(broker, "send", send_one)
    with pytest.raises(ServiceUnavailableError):
        reconciler.dispatch()
    monkeypatch.setattr(broker, "send", send)
    assert toy.take_messages(server, "match") == ready[:1]
    assert drive.claim(context, ready[0])
    reconciler.dispatch()
    assert toy.take_messages(server, "match") == []
    toy.execute(
        context.db,
        "UPDATE chunk SET sent_at = sent_at - make_interval(secs => :old) WHERE state = 'ready'",
        old=PATIENCE,
    )
    reconciler.dispatch()
    assert toy.take_messages(server, "match") == ready[1:]


def test_one_reconciler_at_a_time_sends(
    context: Context, reconciler: Reconciler, server: Any
) -> None:
    ready = planned(context, 2)
    with context.db.begin() as other:
        other.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('aparella reconciler'))"))
        reconciler.dispatch()
        reconciler.reconcile()
        assert toy.take_messages(server, "match") == []
    reconciler.dispatch()
    assert toy.take_messages(server, "match") == ready
