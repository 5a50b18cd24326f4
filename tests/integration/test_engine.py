"""The job engine in one process, one accident at a time."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import sqlalchemy as sa
from numpy.typing import NDArray

from aparella.db import dispatch, faults, jobs, leases, models, retries, stages
from aparella.db.budget import Pool
from aparella.db.chunks import Failed
from aparella.db.engine import create, transaction
from aparella.db.leases import Claimed
from aparella.errors import (
    ConflictError,
    JobError,
    LeaseLostError,
    NotFoundError,
    RecordError,
    ServiceUnavailableError,
)
from aparella.workers import engine, runner
from aparella.workers.context import Context, Outcome, Tick, Write
from aparella.workers.decisions import MAX_LOST, MAX_LOST_WHOLE, Cause
from aparella.workers.encoder import HashEncoder
from aparella.workers.heartbeat import draining
from aparella.workers.reconciler import PATIENCE
from aparella.workers.runner import run_chunk
from tests.integration import drive, toy

LIST = [(f"L{i}", f"XERINGA {i}ML ESTERIL") for i in range(20)]
CATALOGUE = [(f"C{i}", f"XERINGUES, XERINGA DE {i} ML, ESTÈRIL, 1ÚS") for i in range(12)]


class Stage(toy.ToyStage):
    """A toy whose work first does what the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.before_work: Callable[[Claimed, Tick], object] = lambda _chunk, _tick: None
        self.in_write: Callable[[sa.Connection, Claimed], object] = lambda _connection, _chunk: None

    def work(self, context: Context, chunk: Claimed, tick: Tick) -> Write:
        self.before_work(chunk, tick)
        toy_write = super().work(context, chunk, tick)

        def write(connection: sa.Connection) -> Outcome:
            outcome = toy_write(connection)
            self.in_write(connection, chunk)
            return outcome

        return write


@pytest.fixture
def stage(context: Context, monkeypatch: pytest.MonkeyPatch) -> Stage:
    own = Stage()
    toy.install(context, monkeypatch, own)
    return own


def planned(context: Context, *, items: int, size: int, stages: int = 1) -> tuple[int, list[int]]:
    """A toy job whose first plan is done: its id and its ready chunks."""
    job_id = toy.enqueue(context.db, items=items, size=size, stages=stages)
    drive.plan(context, toy.chunk_ids(context.db, job_id)[0])
    return job_id, toy.chunk_ids(context.db, job_id, "ready")


def claimed(context: Context, chunk_id: int) -> Claimed:
    chunk = drive.claim(context, chunk_id)
    assert chunk is not None
    return chunk


def commit(context: Context, chunk: Claimed) -> None:
    engine.commit(context.db, chunk, runner._work(context, chunk, lambda _: None))


def settle(context: Context, chunk: Claimed, cause: Cause) -> None:
    with transaction(context.db) as connection:
        engine.settle(connection, chunk.id, chunk.lease_token, cause, "it went wrong")


def fan_in(context: Context) -> None:
    """What the reconciler does after it settled chunks."""
    with transaction(context.db) as connection:
        running = stages.running(connection)
    for stage_id in running:
        engine.advance(context.db, stage_id, after_failure=True)


def chunk_row(context: Context, chunk_id: int) -> sa.Row[tuple[object, ...]]:
    query = "SELECT *, extract(epoch FROM available_at - now()) AS wait FROM chunk WHERE id = :id"
    return toy.execute(context.db, query, id=chunk_id)[0]


def retry(context: Context, job_id: int) -> None:
    with transaction(context.db) as connection:
        retries.begin(connection, job_id)


def cancel(context: Context, job_id: int) -> None:
    with transaction(context.db) as connection:
        assert jobs.cancel(connection, job_id)


def figures(context: Context, job_id: int) -> dict[str, tuple[int, int, int]]:
    """For each stage the items in all, done and failed."""
    with transaction(context.db) as connection:
        progress = stages.progress(connection, [job_id])
    return {stage.name: (stage.total, stage.done, stage.failed) for stage in progress}


# --- poison ---------------------------------------------------------------------------------------


class FussyEncoder(HashEncoder):
    """Refuses certain texts."""

    def __init__(self, refused: set[str]) -> None:
        super().__init__()
        self.refused = refused

    def encode(
        self, texts: Sequence[str], progress: Callable[[int], None] = lambda _: None
    ) -> NDArray[np.float32]:
        if self.refused & set(texts):
            raise RecordError("a text that cannot be encoded")
        return super().encode(texts, progress)


def test_a_poisonous_record_is_found_and_can_be_tried_again(context: Context) -> None:
    context.settings.embed_chunk = context.settings.match_chunk = 20
    drive.imported(context, "list", LIST)
    drive.imported(context, "catalogue", CATALOGUE)
    encoder = FussyEncoder({LIST[13][1]})
    with transaction(context.db) as connection:
        context._encoder = (models.find_model(connection, None).id, encoder)
    job_id = drive.match(context.db, "list", "catalogue", k=3)
    drive.run(context)

    job = drive.find(context.db, job_id)
    assert (job.state, job.error) == ("succeeded_with_errors", None)
    with transaction(context.db) as connection:
        listed = faults.page(connection, job_id, limit=9)
    progress = figures(context, job_id)
    assert [(f.key, f.stage, f.code) for f in listed] == [("L13", "embed source", "record")]
    assert "a text that cannot be encoded" in listed[0].message
    assert progress["embed source"] == (20, 19, 1)
    assert progress["embed target"] == (12, 12, 0)
    assert progress["match"] == (20, 19, 1)
    assert len(drive.results(context.db, job_id)) == 19 * 3
    # 20 items are bisected in 5 levels: 1 + 5 x 2 chunks, the plan, and no attempt twice.
    attempts = toy.execute(
        context.db,
        "SELECT sum(attempt) AS n FROM chunk c JOIN stage s ON s.id = c.stage_id "
        "WHERE c.job_id = :id AND s.name = 'embed source' AND c.kind = 'work'",
        id=job_id,
    )
    assert attempts[0].n <= 11

    encoder.refused.clear()
    retry(context, job_id)
    drive.run(context)
    job = drive.find(context.db, job_id)
    assert (job.state, job.errors) == ("succeeded", 0)
    again = drive.match(context.db, "list", "catalogue", k=3)
    drive.run(context)
    assert drive.results(context.db, job_id) == drive.results(context.db, again)
    progress = figures(context, job_id)
    assert progress["embed source"] == (20, 20, 0)
    assert progress["match"] == (20, 20, 0)


@pytest.mark.usefixtures("stage")
def test_a_record_that_kills_its_worker_ends_dead(context: Context) -> None:
    job_id, ready = planned(context, items=8, size=8)
    kills = attempts = 0
    while ready:
        attempts += 1
        assert attempts < 50
        if 5 in toy.execute(context.db, "SELECT items FROM chunk WHERE id = :i", i=ready[0])[0][0]:
            claimed(context, ready[0])
            toy.expire(context.db, ready[:1])
            # The message comes again: who claims an expired lease settles it.
            assert drive.claim(context, ready[0]) is None
            kills += 1
        else:
            run_chunk(context, ready[0], worker="test")
        toy.pass_time(context.db)
        ready = toy.chunk_ids(context.db, job_id, "ready")
    # 8, 4, 2, and the record alone: one accident is not its fault yet.
    assert kills == 3 + MAX_LOST
    fan_in(context)
    assert drive.find(context.db, job_id).state == "succeeded_with_errors"
    assert toy.effects(context.db, job_id) == [1, 2, 3, 4, 6, 7, 8]
    with transaction(context.db) as connection:
        (fault,) = faults.page(connection, job_id, limit=9)
    assert (fault.row, fault.code) == (5, "lost")
    assert f"vanished or hung on every one of {MAX_LOST} attempts" in fault.message


@pytest.mark.usefixtures("stage")
def test_a_plan_that_kills_its_workers_fails_the_job(context: Context) -> None:
    job_id = toy.enqueue(context.db, items=8, size=8)
    (plan,) = toy.chunk_ids(context.db, job_id)
    for _ in range(MAX_LOST_WHOLE):
        assert chunk_row(context, plan).state == "ready"
        claimed(context, plan)
        toy.expire(context.db, [plan])
        assert drive.claim(context, plan) is None
        toy.pass_time(context.db)
    fan_in(context)
    job = drive.find(context.db, job_id)
    assert job.state == "failed"
    assert "The stage 'toy 0' failed: its worker vanished" in (job.error or "")


@pytest.mark.usefixtures("stage")
def test_a_hung_worker_is_found_though_its_heart_beats(context: Context) -> None:
    job_id, (chunk_id,) = planned(context, items=2, size=2)
    chunk = claimed(context, chunk_id)
    with transaction(context.db) as connection:
        state = leases.heartbeat(connection, chunk, lease_seconds=60.0, idle_seconds=599.0)
        assert state == "running"
        assert leases.expired(connection, progress_seconds=600.0) == []
        leases.heartbeat(connection, chunk, lease_seconds=60.0, idle_seconds=601.0)
    with transaction(context.db) as connection:
        found = leases.expired(connection, progress_seconds=600.0)
        hung = leases.still_expired(connection, *found[0], progress_seconds=600.0)
        assert found == [(chunk.id, chunk.lease_token)]
        assert hung
        engine.settle(connection, chunk.id, chunk.lease_token, Cause.LOST, "no progress")
    assert chunk_row(context, chunk_id).state == "split"
    with pytest.raises(LeaseLostError):
        commit(context, chunk)
    drive.run(context)
    assert toy.effects(context.db, job_id) == [1, 2]


# --- errors of the job and of services ------------------------------------------------------------


def test_an_error_of_the_job_fails_it_at_once(context: Context, stage: Stage) -> None:
    def refuse(_chunk: Claimed, _tick: Tick) -> None:
        raise JobError("The model's artifact is not the registered one.")

    stage.before_work = refuse
    job_id, ready = planned(context, items=6, size=2, stages=2)
    run_chunk(context, ready[0], worker="test")
    job = drive.find(context.db, job_id)
    assert (job.state, job.error) == ("failed", "The model's artifact is not the registered one.")
    assert len(toy.chunk_ids(context.db, job_id, "cancelled")) == 2
    assert toy.chunk_ids(context.db, job_id, "ready", "leased") == []
    with transaction(context.db) as connection:
        states = [progress.state for progress in stages.progress(connection, [job_id])]
    assert states == ["failed", "cancelled"]


def test_a_setting_that_no_chunk_can_work_with_fails_the_job_at_once(context: Context) -> None:
    drive.imported(context, "list", LIST)
    context.settings.encoder = "abacus"
    job_id = drive.match(context.db, "list", "list")
    drive.run(context)
    job = drive.find(context.db, job_id)
    assert job.state == "failed"
    assert "APARELLA_ENCODER is 'abacus'" in (job.error or "")
    assert toy.chunk_ids(context.db, job_id, "split") == []


def test_a_transient_error_is_tried_again_later_and_not_split(
    context: Context, stage: Stage
) -> None:
    def be_away(_chunk: Claimed, _tick: Tick) -> None:
        raise ServiceUnavailableError("the artifact store does not answer")

    stage.before_work = be_away
    job_id, (chunk_id,) = planned(context, items=4, size=4)
    for attempt, delay in ((1, 1), (2, 2), (3, 4)):
        run_chunk(context, chunk_id, worker="test")
        row = chunk_row(context, chunk_id)
        assert (row.state, row.attempt, row.code) == ("ready", attempt, "transient")
        assert row.error == "the artifact store does not answer"
        assert delay - 1 < row.wait <= delay
        assert drive.claim(context, chunk_id) is None
        toy.pass_time(context.db)
    stage.before_work = lambda _chunk, _tick: None
    run_chunk(context, chunk_id, worker="test")
    assert drive.find(context.db, job_id).state == "succeeded"
    assert toy.effects(context.db, job_id) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "message",
    [
        pytest.param("a\0b", id="NUL"),
        pytest.param("\ud800 half a pair", id="surrogate"),
        pytest.param("x" * 100_000, id="long"),
    ],
)
def test_an_error_with_odd_words_is_settled_all_the_same(
    context: Context, stage: Stage, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest hands captured logs from process to process, which half a pair does not survive.
    monkeypatch.setattr(runner.log, "disabled", True)

    def fail(_chunk: Claimed, _tick: Tick) -> None:
        raise ValueError(message)

    stage.before_work = fail
    job_id, (chunk_id,) = planned(context, items=1, size=1)
    run_chunk(context, chunk_id, worker="test")
    assert drive.find(context.db, job_id).state == "succeeded_with_errors"
    with transaction(context.db) as connection:
        (fault,) = faults.page(connection, job_id, limit=9)
    assert fault.message.startswith("ValueError: ")
    assert len(fault.message) < 10_000


def test_a_connection_lost_in_the_commit_costs_nothing(
    context: Context, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_AGAIN", 0.01)
    lost = 0

    def lose(connection: sa.Connection, _chunk: Claimed) -> None:
        nonlocal lost
        if lost < 2:
            lost += 1
            connection.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))

    stage.in_write = lose
    job_id, (chunk_id,) = planned(context, items=3, size=3)
    run_chunk(context, chunk_id, worker="test")
    assert lost == 2
    assert chunk_row(context, chunk_id).attempt == 1
    assert toy.effects(context.db, job_id) == [1, 2, 3]
    assert drive.find(context.db, job_id).state == "succeeded"


@pytest.mark.usefixtures("stage")
def test_a_commit_whose_answer_was_lost_writes_once(context: Context) -> None:
    job_id, (chunk_id,) = planned(context, items=3, size=3)
    chunk = claimed(context, chunk_id)
    commit(context, chunk)
    commit(context, chunk)
    assert toy.effects(context.db, job_id) == [1, 2, 3]


# --- cancel, drain --------------------------------------------------------------------------------


def wait_for_the_heart(_chunk: Claimed, tick: Tick) -> None:
    until = time.monotonic() + 10.0
    while time.monotonic() < until:
        tick(0)
        time.sleep(0.01)


def test_the_heartbeat_brings_a_cancel_back(context: Context, stage: Stage) -> None:
    context.settings.heartbeat_seconds = 0.3
    stage.before_work = wait_for_the_heart
    job_id, ready = planned(context, items=4, size=2)
    with ThreadPoolExecutor(1) as pool:
        worker = pool.submit(run_chunk, context, ready[0], worker="test")
        while chunk_row(context, ready[0]).state != "leased":
            time.sleep(0.01)
        cancel(context, job_id)
        asked = time.monotonic()
        engine.carry_out_cancels(context.db)
        assert drive.find(context.db, job_id).state == "cancelling"
        worker.result(timeout=5.0)
        assert time.monotonic() - asked < 2.0
    engine.carry_out_cancels(context.db)
    job = drive.find(context.db, job_id)
    assert (job.state, job.errors) == ("cancelled", 0)
    assert toy.effects(context.db, job_id) == []
    assert len(toy.chunk_ids(context.db, job_id, "cancelled")) == 2
    assert drive.claim(context, ready[1]) is None


def test_the_heartbeat_brings_the_loss_of_the_lease_back(context: Context, stage: Stage) -> None:
    context.settings.heartbeat_seconds = 0.1
    stage.before_work = wait_for_the_heart
    job_id, (chunk_id,) = planned(context, items=1, size=1)
    with ThreadPoolExecutor(1) as pool:
        worker = pool.submit(run_chunk, context, chunk_id, worker="test")
        while chunk_row(context, chunk_id).state != "leased":
            time.sleep(0.01)
        chunk = chunk_row(context, chunk_id)
        with transaction(context.db) as connection:
            engine.settle(connection, chunk_id, int(str(chunk.lease_token)), Cause.LOST, "gone")
        worker.result(timeout=5.0)
    assert toy.effects(context.db, job_id) == []
    assert chunk_row(context, chunk_id).state == "ready"


def test_the_heartbeat_keeps_the_lease(context: Context, stage: Stage) -> None:
    context.settings.heartbeat_seconds, context.settings.lease_seconds = 0.1, 0.6
    stage.before_work = lambda _chunk, _tick: time.sleep(1.2)
    job_id, (chunk_id,) = planned(context, items=1, size=1)
    with ThreadPoolExecutor(1) as pool:
        worker = pool.submit(run_chunk, context, chunk_id, worker="test")
        while not worker.done():
            with transaction(context.db) as connection:
                assert leases.expired(connection, progress_seconds=600.0) == []
            time.sleep(0.05)
    assert toy.effects(context.db, job_id) == [1]


@pytest.mark.usefixtures("stage")
def test_a_cancelled_job_is_not_taken_for_a_finished_one(context: Context) -> None:
    job_id, ready = planned(context, items=4, size=2)
    chunk = claimed(context, ready[0])
    cancel(context, job_id)
    engine.carry_out_cancels(context.db)
    commit(context, chunk)
    engine.advance(context.db, chunk.stage_id)
    assert drive.find(context.db, job_id).state == "cancelling"
    engine.carry_out_cancels(context.db)
    assert drive.find(context.db, job_id).state == "cancelled"
    assert toy.effects(context.db, job_id) == [1, 2]


@pytest.mark.usefixtures("stage")
def test_a_cancelled_job_goes_on_where_it_was(context: Context) -> None:
    job_id, ready = planned(context, items=4, size=2, stages=2)
    run_chunk(context, ready[0], worker="test")
    cancel(context, job_id)
    engine.carry_out_cancels(context.db)
    assert drive.find(context.db, job_id).state == "cancelled"
    retry(context, job_id)
    drive.run(context)
    assert drive.find(context.db, job_id).state == "succeeded"
    assert toy.effects(context.db, job_id) == [1, 1, 2, 2, 3, 3, 4, 4]


@pytest.mark.usefixtures("stage")
def test_a_plan_that_lands_while_its_job_is_cancelled_leaves_nothing_open(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = toy.enqueue(context.db, items=4, size=2)
    plan = claimed(context, toy.chunk_ids(context.db, job_id)[0])
    cancel(context, job_id)
    has_leased_chunks = jobs.has_leased_chunks

    def land_just_before(connection: sa.Connection, job: int) -> bool:
        commit(context, plan)
        return has_leased_chunks(connection, job)

    monkeypatch.setattr(jobs, "has_leased_chunks", land_just_before)
    engine.carry_out_cancels(context.db)
    assert drive.find(context.db, job_id).state == "cancelled"
    assert toy.chunk_ids(context.db, job_id, "ready") == []


@pytest.fixture
def _drained() -> Iterator[None]:
    draining.set()
    yield
    draining.clear()


@pytest.mark.usefixtures("_drained")
@pytest.mark.usefixtures("stage")
def test_a_worker_that_is_stopped_hands_its_chunk_back(context: Context) -> None:
    job_id = toy.enqueue(context.db, items=4, size=4)
    draining.clear()
    run_chunk(context, toy.chunk_ids(context.db, job_id)[0], worker="test")
    draining.set()
    (chunk_id,) = toy.chunk_ids(context.db, job_id, "ready")
    for _ in range(3):
        run_chunk(context, chunk_id, worker="test")
        row = chunk_row(context, chunk_id)
        assert (row.state, row.attempt, row.code) == ("ready", 0, "drained")
    assert toy.effects(context.db, job_id) == []
    draining.clear()
    drive.run(context)
    assert drive.find(context.db, job_id).state == "succeeded"


def meet(together: threading.Barrier, _connection: sa.Connection, _chunk: Claimed) -> None:
    together.wait()


# --- fan-in and dispatch --------------------------------------------------------------------------


def test_the_last_two_chunks_at_once_start_the_next_stage_once(
    context: Context, stage: Stage
) -> None:
    for _ in range(5):
        job_id, ready = planned(context, items=2, size=1, stages=2)
        together = threading.Barrier(2, timeout=10.0)
        stage.in_write = partial(meet, together)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda chunk: run_chunk(context, chunk, worker="test"), ready))
        stage.in_write = lambda _connection, _chunk: None
        (plan,) = toy.chunk_ids(context.db, job_id, "ready")
        row = chunk_row(context, plan)
        assert (row.kind, row.attempt) == ("plan", 0)
        drive.run(context)
        assert drive.find(context.db, job_id).state == "succeeded"
        assert toy.effects(context.db, job_id) == [1, 1, 2, 2]


@pytest.mark.usefixtures("stage")
def test_a_chunk_is_claimed_once_by_many_at_once(context: Context) -> None:
    _, (chunk_id,) = planned(context, items=2, size=2)
    db = create(context.settings, name="test", pool=Pool(8, 16))
    together = threading.Barrier(8, timeout=10.0)

    def claim(number: int) -> Claimed | None:
        together.wait()
        return engine.claim(db, context.settings, chunk_id, worker=f"w{number}")

    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(claim, range(8)))
    db.dispose()
    assert sum(claim is not None for claim in claims) == 1
    assert chunk_row(context, chunk_id).attempt == 1


@pytest.mark.usefixtures("stage")
def test_messages_take_turns_between_jobs(context: Context) -> None:
    _, big = planned(context, items=500, size=1)
    _, small = planned(context, items=1, size=1)
    assert len(big) == 500
    with transaction(context.db) as connection:
        first = list(dispatch.unsent(connection, "match", room=4))
        assert first == [big[0], small[0], big[1], big[2]]
        dispatch.mark_sent(connection, first)
        assert list(dispatch.unsent(connection, "match", room=4)) == big[3:7]
        assert list(dispatch.unsent(connection, "embed", room=4)) == []


@pytest.mark.usefixtures("stage")
def test_parts_of_a_lost_chunk_do_not_wait_for_the_whole_stage(context: Context) -> None:
    job_id, chunk_ids = planned(context, items=200, size=2)
    chunk = drive.claim(context, chunk_ids[50])
    assert chunk is not None
    with transaction(context.db) as connection:
        assert engine.settle(connection, chunk.id, chunk.lease_token, Cause.LOST, "gone")
        assert not engine.settle(connection, chunk.id, chunk.lease_token, Cause.LOST, "gone")
    parts = sorted(set(toy.chunk_ids(context.db, job_id, "ready")) - set(chunk_ids))
    assert len(parts) == 2
    with transaction(context.db) as connection:
        assert list(dispatch.unsent(connection, "match", room=4)) == [*parts, *chunk_ids[:2]]


def test_who_fails_after_losing_its_lease_says_so(
    context: Context, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """Frozen past its lease, its transaction ended by the server: nothing is left to settle."""
    _, (chunk_id,) = planned(context, items=2, size=2)

    def lose(chunk: Claimed, _tick: Tick) -> None:
        settle(context, chunk, Cause.LOST)
        raise ServiceUnavailableError("the connection is gone")

    stage.before_work = lose
    run_chunk(context, chunk_id, worker="test")
    assert f"chunk {chunk_id}: the lease was lost" in caplog.text
    assert chunk_row(context, chunk_id).state == "split"


@pytest.mark.usefixtures("stage")
def test_a_message_counts_as_lost_only_after_a_while(context: Context) -> None:
    _, ready = planned(context, items=6, size=2)

    def untaken() -> list[int]:
        with transaction(context.db) as connection:
            return dispatch.untaken(connection, "match", most=9, patience_seconds=PATIENCE)

    with transaction(context.db) as connection:
        dispatch.mark_sent(connection, ready[:2])
    assert untaken() == []
    toy.execute(
        context.db,
        "UPDATE chunk SET sent_at = now() - make_interval(secs => :old) WHERE id = :id",
        old=PATIENCE + 1,
        id=ready[1],
    )
    assert untaken() == ready[1:2]
    claimed(context, ready[1])
    assert untaken() == []


# --- idempotency and retry ------------------------------------------------------------------------


def enqueue_with_key(db: sa.Engine, key: str, body: bytes) -> tuple[int, bool]:
    with transaction(db) as connection:
        return jobs.create(
            connection,
            kind="toy",
            params={},
            plan=[jobs.NewStage("toy", "toy", "match", {"items": 1, "size": 1})],
            model_id=None,
            idempotency_key=key,
            request_hash=body,
        )


def test_an_idempotency_key_means_one_job(context: Context) -> None:
    first, new = enqueue_with_key(context.db, "k", b"body")
    assert new
    assert enqueue_with_key(context.db, "k", b"body") == (first, False)
    other, new = enqueue_with_key(context.db, "l", b"body")
    assert new
    assert other != first
    with pytest.raises(ConflictError, match=f"'k' belongs to job {first}"):
        enqueue_with_key(context.db, "k", b"another body")
    assert len(toy.chunk_ids(context.db, first)) == 1


def test_one_key_used_at_once_means_one_job(context: Context) -> None:
    together = threading.Barrier(4, timeout=10.0)

    def enqueue(_: int) -> tuple[int, bool]:
        together.wait()
        return enqueue_with_key(context.db, "k", b"body")

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(enqueue, range(4)))
    assert len({job_id for job_id, _ in answers}) == 1
    assert sorted(new for _, new in answers) == [False, False, False, True]


@pytest.mark.usefixtures("stage")
def test_a_job_with_nothing_to_try_again_says_so(context: Context) -> None:
    job_id = toy.enqueue(context.db, items=2, size=1)
    with pytest.raises(ConflictError, match="is queued: it can be retried once it has ended"):
        retry(context, job_id)
    drive.run(context)
    with pytest.raises(ConflictError, match="succeeded and has nothing that could be tried again"):
        retry(context, job_id)
    with pytest.raises(NotFoundError, match="no job 999"):
        retry(context, 999)


@pytest.mark.usefixtures("stage")
def test_a_retry_takes_away_what_is_still_in_work(context: Context) -> None:
    job_id, ready = planned(context, items=4, size=2)
    slow, bad = claimed(context, ready[0]), claimed(context, ready[1])
    settle(context, bad, Cause.JOB)
    assert drive.find(context.db, job_id).state == "failed"
    retry(context, job_id)
    with transaction(context.db) as connection:
        assert leases.heartbeat(connection, slow, lease_seconds=60, idle_seconds=0) is None
    with pytest.raises(LeaseLostError):
        commit(context, slow)
    drive.run(context)
    assert drive.find(context.db, job_id).state == "succeeded"
    assert toy.effects(context.db, job_id) == [1, 2, 3, 4]


@pytest.mark.usefixtures("stage")
def test_a_chunk_in_work_when_its_job_fails_is_dropped(context: Context) -> None:
    job_id, ready = planned(context, items=4, size=2)
    slow, bad = claimed(context, ready[0]), claimed(context, ready[1])
    settle(context, bad, Cause.JOB)
    with transaction(context.db) as connection:
        state = leases.heartbeat(connection, slow, lease_seconds=60, idle_seconds=0)
    assert state == "failed"
    settle(context, slow, Cause.TRANSIENT)
    assert chunk_row(context, slow.id).state == "cancelled"
    assert drive.find(context.db, job_id).state == "failed"


def test_an_import_that_was_refused_cannot_be_tried_again(context: Context) -> None:
    strict = drive.upload(context.db, "list", [("a", "X"), ("a", "Y")], strict=True)
    drive.run(context)
    before = drive.find(context.db, strict)
    assert (before.state, before.errors) == ("failed", 1)
    with pytest.raises(ConflictError, match="mend the file and import it again"):
        retry(context, strict)
    assert drive.find(context.db, strict) == before


def test_a_failure_of_a_stage_that_cannot_go_on_without_is_the_jobs(
    context: Context, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plan(_connection: sa.Connection, _context: Context, _chunk: Claimed) -> int:
        raise RecordError("the collection is gone")

    monkeypatch.setattr(stage, "plan", plan)
    buried: list[Failed] = []
    monkeypatch.setattr(stage, "bury", lambda _c, failed, *_: buried.append(failed))
    job_id = toy.enqueue(context.db, items=2, size=1)
    drive.run(context)
    job = drive.find(context.db, job_id)
    assert (job.state, job.error) == (
        "failed",
        "The stage 'toy 0' failed: the collection is gone",
    )
    assert [failed.items for failed in buried] == [[]]


@pytest.mark.usefixtures("stage")
def test_a_small_job_gets_its_turn_one_hint_at_a_time(context: Context) -> None:
    """In steady state there is room for one message at a time: the older job must not take all."""
    big, _ = planned(context, items=40, size=1)
    with transaction(context.db) as connection:
        dispatch.mark_sent(connection, list(dispatch.unsent(connection, "match", room=4)))
    small, small_ids = planned(context, items=2, size=1)
    with transaction(context.db) as connection:
        first = []
        for _ in range(2):
            (next_id,) = dispatch.unsent(connection, "match", room=1)
            dispatch.mark_sent(connection, [next_id])
            first.append(next_id)
    assert first == sorted(small_ids), (big, small)
