"""One message, many chunks: a worker goes on with a stage's next one while nobody else waits."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from aparella.db import dispatch, jobs, leases, pauses
from aparella.db.engine import transaction
from aparella.db.leases import Claimed
from aparella.workers import engine, runner
from aparella.workers.context import Context
from aparella.workers.heartbeat import draining
from aparella.workers.runner import run_chunk
from tests.integration import drive, toy

CHUNKS, LEFT = 150, 100
"""A job's, and how many of them are left to messages: beside fewer a worker does not go on."""


@pytest.fixture(autouse=True)
def _endless(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.install(context, monkeypatch, toy.ToyStage())
    monkeypatch.setattr(runner, "_TURN", math.inf)


def planned(context: Context, items: int, *, queue: str = "match") -> tuple[int, list[int]]:
    """A job of so many chunks: its id and theirs."""
    job_id = toy.enqueue(context.db, items=items, size=1, queue=queue)
    drive.plan(context, toy.chunk_ids(context.db, job_id)[0])
    return job_id, toy.chunk_ids(context.db, job_id, "ready")


def in_hand(context: Context, chunk_id: int) -> Claimed:
    chunk = drive.claim(context, chunk_id)
    assert chunk is not None
    return chunk


def following(context: Context, chunk: Claimed) -> Claimed | None:
    with transaction(context.db) as connection:
        return leases.claim_next(connection, chunk, worker="test", seconds=60)


def test_a_message_is_worth_many_chunks_of_a_big_stage(context: Context) -> None:
    job_id, ready = planned(context, CHUNKS)
    run_chunk(context, ready[0], worker="test")
    assert toy.effects(context.db, job_id) == [*range(1, CHUNKS - LEFT + 1)]
    drive.run(context)
    assert drive.find(context.db, job_id).state == "succeeded"
    assert toy.effects(context.db, job_id) == [*range(1, CHUNKS + 1)]


def test_a_turn_ends_with_its_time(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_TURN", 0.0)
    job_id, ready = planned(context, CHUNKS)
    run_chunk(context, ready[0], worker="test")
    assert toy.effects(context.db, job_id) == [1]


def test_a_worker_that_is_drained_begins_nothing(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, ready = planned(context, CHUNKS)
    commit = engine.commit

    def drained(*arguments: Any, **named: Any) -> engine.Committed:
        draining.set()
        return commit(*arguments, **named)

    monkeypatch.setattr(engine, "commit", drained)
    try:
        run_chunk(context, ready[0], worker="test")
    finally:
        draining.clear()
    assert toy.effects(context.db, job_id) == [1]


def test_whoever_waits_in_the_same_queue_has_the_next_turn(context: Context) -> None:
    elsewhere, _ = planned(context, 1, queue="embed")
    job_id, ready = planned(context, CHUNKS)
    other, _ = planned(context, 1)
    run_chunk(context, ready[0], worker="test")
    assert toy.effects(context.db, job_id) == [1]
    with transaction(context.db) as connection:
        jobs.end(connection, other, "cancelled")
        jobs.cancel_ready_chunks(connection, other)
        jobs.cancel_stages(connection, other, "cancelled")
    run_chunk(context, ready[1], worker="test")
    assert toy.effects(context.db, job_id) == [*range(1, CHUNKS - LEFT + 1)]
    assert toy.effects(context.db, elsewhere) == []


def test_a_chunk_that_has_a_message_is_left_to_it(context: Context) -> None:
    _, ready = planned(context, 4)
    with transaction(context.db) as connection:
        dispatch.mark_sent(connection, ready[:2])
    found = following(context, in_hand(context, ready[0]))
    assert found is not None
    assert found.id == ready[2]
    assert found.lease_token == 1


def test_a_chunk_that_somebody_claims_now_is_passed_over(context: Context) -> None:
    _, ready = planned(context, 4)
    with transaction(context.db) as connection:
        other = leases.claim_next(connection, in_hand(context, ready[0]), worker="x", seconds=60)
        assert other is not None
        assert other.id == ready[1]
        found = following(context, other)
    assert found is not None
    assert found.id == ready[2]


def cancelled(context: Context, job_id: int) -> None:
    with transaction(context.db) as connection:
        jobs.cancel(connection, job_id)


def job_paused(context: Context, job_id: int) -> None:
    with transaction(context.db) as connection:
        pauses.pause_job(connection, job_id)


def queue_paused(context: Context, _job_id: int) -> None:
    with transaction(context.db) as connection:
        pauses.pause_queue(connection, "match")


def put_off(context: Context, job_id: int) -> None:
    toy.execute(
        context.db,
        "UPDATE chunk SET available_at = now() + interval '1 hour' WHERE job_id = :id",
        id=job_id,
    )


@pytest.mark.parametrize("stop", [cancelled, job_paused, queue_paused, put_off])
def test_what_may_not_be_claimed_is_not_gone_on_with(
    context: Context, stop: Callable[[Context, int], None]
) -> None:
    job_id, ready = planned(context, 4)
    chunk = in_hand(context, ready[0])
    stop(context, job_id)
    assert following(context, chunk) is None
