"""Jobs and queues that rest: nothing new is begun, what is in hand finishes, nothing is lost."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from aparella.db import dispatch, jobs, pauses, retries
from aparella.db.engine import transaction
from aparella.errors import ConflictError, NotFoundError
from aparella.settings import Settings
from aparella.workers import engine, runner
from aparella.workers.app import make_app
from aparella.workers.broker import Broker
from aparella.workers.context import Context
from aparella.workers.reconciler import Reconciler
from aparella.workers.runner import run_chunk
from aparella.workers.supply import LEAST
from tests.integration import drive, toy


@pytest.fixture
def reconciler(
    context: Context, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Reconciler]:
    toy.install(context, monkeypatch, toy.ToyStage())
    app = make_app(settings)
    yield Reconciler(context.db, settings, Broker(settings, app))
    app.close()


@pytest.fixture
def server(settings: Settings) -> Iterator[Any]:
    with redis.Redis.from_url(settings.redis_url) as connection:
        yield connection


def planned(context: Context, items: int, *, queue: str = "match", stages: int = 1) -> int:
    """A job of so many chunks in its first stage, which is planned: its id."""
    job_id = toy.enqueue(context.db, items=items, size=1, queue=queue, stages=stages)
    run_chunk(context, toy.chunk_ids(context.db, job_id)[0], worker="test")
    return job_id


def pause(context: Context, job_id: int) -> None:
    with transaction(context.db) as connection:
        pauses.pause_job(connection, job_id)


def resume(context: Context, job_id: int) -> None:
    with transaction(context.db) as connection:
        pauses.resume_job(connection, job_id)


def finish(context: Context, reconciler: Reconciler, server: Any) -> None:
    """Do what is sent, until nothing is."""
    while True:
        reconciler.reconcile()
        reconciler.dispatch()
        sent = toy.take_messages(server, "embed", "match")
        if not sent:
            return
        for chunk_id in sent:
            run_chunk(context, chunk_id, worker="test")


def test_a_paused_job_finishes_what_is_in_hand_and_begins_nothing(
    context: Context, reconciler: Reconciler, server: Any
) -> None:
    job_id = planned(context, 6)
    reconciler.dispatch()
    first, *others = toy.take_messages(server, "match")
    in_hand = drive.claim(context, first)
    assert in_hand is not None
    pause(context, job_id)

    assert drive.find(context.db, job_id).state == "paused"
    assert [drive.claim(context, chunk_id) for chunk_id in others] == [None] * (LEAST - 1)
    engine.commit(context.db, in_hand, runner._work(context, in_hand, lambda _: None))
    engine.advance(context.db, in_hand.stage_id)
    assert toy.effects(context.db, job_id) == [1]
    toy.pass_time(context.db)
    finish(context, reconciler, server)
    assert toy.effects(context.db, job_id) == [1]

    resume(context, job_id)
    assert drive.find(context.db, job_id).state == "running"
    finish(context, reconciler, server)
    assert drive.find(context.db, job_id).state == "succeeded"
    assert toy.effects(context.db, job_id) == [1, 2, 3, 4, 5, 6]
    assert toy.execute(context.db, "SELECT max(attempt) FROM chunk") == [(1,)]


def test_a_paused_job_goes_no_further_than_the_end_of_its_stage(
    context: Context, reconciler: Reconciler, server: Any
) -> None:
    job_id = planned(context, 1, stages=2)
    (last,) = toy.chunk_ids(context.db, job_id, "ready")
    in_hand = drive.claim(context, last)
    assert in_hand is not None
    pause(context, job_id)
    engine.commit(context.db, in_hand, runner._work(context, in_hand, lambda _: None))
    engine.advance(context.db, in_hand.stage_id)
    finish(context, reconciler, server)
    assert toy.effects(context.db, job_id) == [1]
    assert drive.find(context.db, job_id).state == "paused"
    resume(context, job_id)
    finish(context, reconciler, server)
    assert drive.find(context.db, job_id).state == "succeeded"
    assert toy.effects(context.db, job_id) == [1, 1]  # one of each stage


def test_a_paused_job_takes_no_room_from_others(
    context: Context, reconciler: Reconciler, server: Any
) -> None:
    resting = planned(context, 9)
    reconciler.dispatch()
    assert len(toy.take_messages(server, "match")) == LEAST
    pause(context, resting)
    other = planned(context, 9)
    reconciler.dispatch()
    assert toy.take_messages(server, "match") == toy.chunk_ids(context.db, other, "ready")[:LEAST]


def test_a_lease_that_ends_while_its_job_rests_is_settled(
    context: Context, reconciler: Reconciler, server: Any
) -> None:
    job_id = planned(context, 1)
    (only,) = toy.chunk_ids(context.db, job_id, "ready")
    assert drive.claim(context, only)
    pause(context, job_id)
    toy.expire(context.db, [only])
    reconciler.reconcile()
    assert toy.chunk_ids(context.db, job_id, "leased") == []
    toy.pass_time(context.db)
    finish(context, reconciler, server)
    assert toy.effects(context.db, job_id) == []
    resume(context, job_id)
    finish(context, reconciler, server)
    assert toy.effects(context.db, job_id) == [1]


def test_a_job_is_paused_before_it_begins(
    context: Context, reconciler: Reconciler, server: Any
) -> None:
    job_id = toy.enqueue(context.db, items=2, size=1)
    pause(context, job_id)
    pause(context, job_id)
    finish(context, reconciler, server)
    job = drive.find(context.db, job_id)
    assert (job.state, job.started_at) == ("paused", None)
    with transaction(context.db) as connection:
        found = [job.id for job in jobs.page(connection, limit=9, state="paused")]
        assert jobs.page(connection, limit=9, state="queued") == []
    assert found == [job_id]
    resume(context, job_id)
    assert drive.find(context.db, job_id).state == "queued"


def test_what_cannot_be_paused_or_resumed_says_so(
    context: Context, reconciler: Reconciler, server: Any
) -> None:
    job_id = planned(context, 1)
    with pytest.raises(ConflictError, match="is running, and not paused"):
        resume(context, job_id)
    finish(context, reconciler, server)
    for act in (pause, resume):
        with pytest.raises(ConflictError, match="is succeeded"):
            act(context, job_id)
        with pytest.raises(NotFoundError):
            act(context, 10**9)


def test_a_paused_job_can_be_cancelled_and_tried_again(
    context: Context, reconciler: Reconciler, server: Any
) -> None:
    job_id = planned(context, 3)
    pause(context, job_id)
    with transaction(context.db) as connection:
        assert jobs.cancel(connection, job_id)
    finish(context, reconciler, server)
    assert drive.find(context.db, job_id).state == "cancelled"
    with transaction(context.db) as connection:
        retries.begin(connection, job_id)
    finish(context, reconciler, server)
    assert drive.find(context.db, job_id).state == "succeeded"
    assert toy.effects(context.db, job_id) == [1, 2, 3]


def test_a_paused_queue_rests_and_others_go_on(
    context: Context, reconciler: Reconciler, server: Any
) -> None:
    resting, going = planned(context, 3), planned(context, 3, queue="embed")
    reconciler.dispatch()
    held = toy.take_messages(server, "match")
    with transaction(context.db) as connection:
        pauses.pause_queue(connection, "match")
        pauses.pause_queue(connection, "match")
    assert [drive.claim(context, chunk_id) for chunk_id in held] == [None] * 3
    toy.pass_time(context.db)
    finish(context, reconciler, server)
    assert drive.find(context.db, going).state == "succeeded"
    assert drive.find(context.db, resting).state == "running"
    assert toy.effects(context.db, resting) == []
    with transaction(context.db) as connection:
        assert [load.queue for load in dispatch.load(connection)] == []
        pauses.resume_queue(connection, "match")
        with pytest.raises(ConflictError, match="queue match is not paused"):
            pauses.resume_queue(connection, "match")
    finish(context, reconciler, server)
    assert drive.find(context.db, resting).state == "succeeded"
    assert toy.effects(context.db, resting) == [1, 2, 3]


@pytest.mark.usefixtures("reconciler")
def test_reports_show_what_rests(context: Context) -> None:
    job_id = planned(context, 3)
    query = sa.text("SELECT state, paused_at IS NOT NULL AS rests FROM report.jobs WHERE job = :id")

    def shown() -> tuple[str, bool]:
        with transaction(context.db) as connection:
            row = connection.execute(query, {"id": job_id}).one()
        return row.state, row.rests

    assert shown() == ("running", False)
    pause(context, job_id)
    assert shown() == ("paused", True)
    resume(context, job_id)
    assert shown() == ("running", False)
    pause(context, job_id)
    with transaction(context.db) as connection:
        jobs.cancel(connection, job_id)
    assert shown() == ("cancelling", False)
