"""A state machine that drives the job engine through whatever may happen, on a real database.

The invariants: each item's effect lands exactly once, a stale lease writes nothing, progress only
grows, and every job ends. The tests at the end show that the checks can fail.
"""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import redis
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase
from hypothesis import settings as profile
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from aparella.db import jobs, leases, retries, stages
from aparella.db.engine import transaction
from aparella.db.leases import Claimed
from aparella.errors import AparellaError, ConflictError, LeaseLostError
from aparella.workers import decisions, engine, runner
from aparella.workers.app import make_app
from aparella.workers.broker import Broker
from aparella.workers.context import Context
from aparella.workers.contracts import QUEUES
from aparella.workers.decisions import Cause
from aparella.workers.reconciler import Reconciler
from tests.integration import drive, toy

PROFILE = profile(
    max_examples=int(os.environ.get("EX", "40")),
    stateful_step_count=40,
    deadline=None,
    derandomize="CI" in os.environ,
    print_blob=True,
    # Shrinking a failure takes minutes: add Phase.shrink to understand one.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
ENDED = ("succeeded", "succeeded_with_errors", "failed", "cancelled")
UNKNOWN_CHUNK = 999_999_999


@dataclass
class Plant:
    """A database with toy jobs, and what a test does to them; it keeps no copy of their state."""

    context: Context
    toy: toy.ToyStage
    killers: set[tuple[int, int]] = field(default_factory=set)
    """(job, item) whose worker vanishes without a word."""
    done: dict[int, int] = field(default_factory=dict)
    """For each stage how many items were done when the checks last looked."""

    def __post_init__(self) -> None:
        settings = self.context.settings
        self.app = make_app(settings)
        self.redis = redis.Redis.from_url(settings.redis_url)
        self.reconciler = Reconciler(self.db, settings, Broker(settings, self.app))

    @property
    def db(self) -> sa.Engine:
        return self.context.db

    def empty(self) -> None:
        toy.execute(self.db, "TRUNCATE job, effect RESTART IDENTITY CASCADE")
        self.redis.flushdb()
        self.toy.poison.clear()
        self.killers.clear()
        self.done.clear()

    def lease_of(self, chunk_id: int) -> tuple[str, int] | None:
        rows = toy.execute(
            self.db, "SELECT state, lease_token FROM chunk WHERE id = :id", id=chunk_id
        )
        return (rows[0].state, rows[0].lease_token) if rows else None

    def claim(self, chunk_id: int) -> Claimed | None:
        return drive.claim(self.context, chunk_id)

    def work(self, chunk: Claimed, *, fan_in: bool = True) -> None:
        """What `runner.run_chunk` does with a chunk that it has claimed, minus the heartbeat."""
        if chunk.kind == "work" and {(chunk.job_id, item) for item in chunk.items} & self.killers:
            return
        try:
            write = runner._work(self.context, chunk, lambda _: None)
            engine.commit(self.db, chunk, write)
        except LeaseLostError:
            raise
        except AparellaError as error:
            self.fail(chunk, decisions.cause_of(error), fan_in=fan_in)
        else:
            if fan_in:
                engine.advance(self.db, chunk.stage_id)

    def fail(self, chunk: Claimed, cause: Cause, *, fan_in: bool = True) -> None:
        with transaction(self.db) as connection:
            engine.settle(connection, chunk.id, chunk.lease_token, cause, "it went wrong")
        if fan_in:
            engine.advance(self.db, chunk.stage_id, after_failure=True)

    def drain(self, *, reconcile: bool = True, fan_in: bool = True, rounds: int = 60) -> None:
        """Let all workers vanish; then let time pass and others work until all jobs have ended."""
        for _ in range(rounds):
            toy.pass_time(self.db)
            toy.execute(self.db, "UPDATE chunk SET lease_until = '-infinity' WHERE state='leased'")
            if reconcile:
                self.reconciler.reconcile()
            if not self.unended():
                return
            self.reconciler.dispatch()
            while ids := toy.take_messages(self.redis, *QUEUES):
                for chunk_id in ids:
                    chunk = self.claim(chunk_id)
                    if chunk is not None:
                        self.work(chunk, fan_in=fan_in)
                self.reconciler.dispatch()

    def unended(self) -> list[tuple[object, ...]]:
        rows = toy.execute(
            self.db, "SELECT id, state FROM job WHERE NOT state = ANY(:ended)", ended=[*ENDED]
        )
        return [tuple(row) for row in rows]

    def check_effects(self) -> None:
        """No item was done twice, and nothing was written under a lease that was lost."""
        twice = "SELECT stage_id, item, count(*) FROM effect GROUP BY 1, 2 HAVING count(*) > 1"
        assert toy.execute(self.db, twice) == []
        stale = """
            SELECT e.*, c.state, c.lease_token FROM effect e LEFT JOIN chunk c ON c.id = e.chunk_id
            WHERE (c.state = 'done' AND c.lease_token = e.token) IS NOT TRUE
        """
        assert toy.execute(self.db, stale) == []

    def check_progress(self) -> None:
        """Done items are those with an effect; they never get fewer, and there are never more of
        done and failed together than there are in all."""
        rows = toy.execute(self.db, "SELECT stage_id, count(*) FROM effect GROUP BY 1")
        landed = {row.stage_id: row.count for row in rows}
        with transaction(self.db) as connection:
            job_ids = [job.id for job in jobs.page(connection, limit=1_000)]
            progress = stages.progress(connection, job_ids)
        for stage in progress:
            assert stage.done == landed.get(stage.id, 0)
            assert stage.done >= self.done.get(stage.id, 0)
            assert stage.done + stage.failed <= stage.total
            self.done[stage.id] = stage.done

    def check_ended(self) -> None:
        """A job that has ended has no stage left to do, and one that succeeded left nothing out:
        each item of each stage has its effect or its error, never both."""
        open_stages = """
            SELECT j.id, j.state, s.state FROM job j JOIN stage s ON s.job_id = j.id
            WHERE j.state = ANY(:ended) AND s.state IN ('waiting', 'running')
        """
        assert toy.execute(self.db, open_stages, ended=[*ENDED]) == []
        unlike = """
            SELECT s.job_id, j.state, s.id, item, ok, bad FROM job j
            JOIN stage s ON s.job_id = j.id
            CROSS JOIN generate_series(1, (s.params->>'items')::int) item
            CROSS JOIN LATERAL (
                SELECT (SELECT count(*) FROM effect e WHERE e.stage_id = s.id AND e.item = i) AS ok,
                       (SELECT count(*) FROM job_error e WHERE e.stage_id = s.id AND e.row = i)
                         AS bad
                FROM (SELECT item AS i) one) found
            WHERE j.state = 'succeeded' AND (ok, bad) <> (1, 0)
               OR j.state = 'succeeded_with_errors' AND ok + bad <> 1
        """
        assert toy.execute(self.db, unlike) == []

    def check_all(self) -> None:
        self.check_effects()
        self.check_progress()
        self.check_ended()

    def check_at_rest(self) -> None:
        """Every job has ended, and nothing of it is open."""
        assert self.unended() == []
        still_open = "SELECT id, job_id, state FROM chunk WHERE state IN ('ready', 'leased')"
        assert toy.execute(self.db, still_open) == []


items_of_a_job = st.integers(1, 5)


class Life(RuleBasedStateMachine):
    """Jobs, workers, time and accidents in any order; messages are claims of any chunk's id."""

    jobs: Bundle[int] = Bundle("jobs")
    hands: Bundle[Claimed] = Bundle("hands")
    """All that was ever claimed: what is done, lost or taken over is still in some worker's hands,
    and may be worked on again."""

    plant: ClassVar[Plant]

    def __init__(self) -> None:
        super().__init__()
        self.enqueued = 0
        self.plant.empty()

    def teardown(self) -> None:
        self.plant.redis.flushdb()
        self.plant.drain()
        self.plant.check_all()
        self.plant.check_at_rest()

    # Few jobs, so that much happens to each.
    @precondition(lambda self: self.enqueued < 2)
    @rule(
        target=jobs,
        items=st.sampled_from([5, 4, 2, 0]),
        size=st.integers(1, 3),
        stages=st.integers(1, 2),
        planned=st.sampled_from([True, True, False]),
        poison=st.sets(items_of_a_job, max_size=1),
        killers=st.sets(items_of_a_job, max_size=1),
    )
    def enqueue(
        self,
        items: int,
        size: int,
        stages: int,
        planned: bool,
        poison: set[int],
        killers: set[int],
    ) -> int:
        self.enqueued += 1
        job_id = toy.enqueue(self.plant.db, items=items, size=size, stages=stages)
        if planned:
            self.work_well(job_id, 1)
        self.plant.toy.poison |= {(job_id, item) for item in poison}
        self.plant.killers |= {(job_id, item) for item in killers}
        return job_id

    def claim(self, chunk_id: int) -> list[Claimed]:
        """Claim; what was ready is leased with the next token, all else is not to be had."""
        before = self.plant.lease_of(chunk_id)
        claimed = self.plant.claim(chunk_id)
        if claimed is None:
            after = self.plant.lease_of(chunk_id)
            # A lease that has expired is settled on the way.
            expired = before is not None and before[0] == "leased"
            assert after == before or (expired and after is not None and after[0] != "leased")
            return []
        assert before == ("ready", claimed.lease_token - 1)
        assert self.plant.lease_of(chunk_id) == ("leased", claimed.lease_token)
        return [claimed]

    @rule(target=hands, job=jobs, most=st.integers(1, 3))
    def claim_ready_chunks(self, job: int, most: int) -> MultipleResults[Claimed]:
        return multiple(*self.claim_ready(job, most))

    def claim_ready(self, job: int, most: int) -> list[Claimed]:
        toy.pass_time(self.plant.db)
        ready = toy.chunk_ids(self.plant.db, job, "ready")[:most]
        return [claimed for chunk_id in ready for claimed in self.claim(chunk_id)]

    @rule(target=hands, chunk=hands, taken_over=st.booleans())
    def expire(self, chunk: Claimed, taken_over: bool) -> MultipleResults[Claimed]:
        toy.expire(self.plant.db, [chunk.id])
        if not taken_over:
            return multiple()
        self.plant.reconciler.reconcile()
        return multiple(*self.claim_ready(chunk.job_id, 3))

    @rule(target=hands, job=jobs, pick=st.integers(0, 99))
    def claim_any_chunk(self, job: int, pick: int) -> MultipleResults[Claimed]:
        ids = [*toy.chunk_ids(self.plant.db, job), UNKNOWN_CHUNK]
        return multiple(*self.claim(ids[pick % len(ids)]))

    @rule(target=hands, chunk=hands)
    def go_on(self, chunk: Claimed) -> MultipleResults[Claimed]:
        """Claim the next one of the stage, as a worker that has done a chunk does."""
        with transaction(self.plant.db) as connection:
            found = leases.claim_next(connection, chunk, worker="test", seconds=3_600)
        if found is None:
            return multiple()
        assert found.stage_id == chunk.stage_id
        assert self.plant.lease_of(found.id) == ("leased", found.lease_token)
        return multiple(found)

    @rule(chunk=hands, fan_in=st.booleans(), answer_lost=st.booleans())
    def work(self, chunk: Claimed, fan_in: bool, answer_lost: bool) -> None:
        lease = self.plant.lease_of(chunk.id)
        valid = lease in (("leased", chunk.lease_token), ("done", chunk.lease_token))
        try:
            for _ in range(2 if answer_lost else 1):
                self.plant.work(chunk, fan_in=fan_in)
        except LeaseLostError:
            if not valid:
                assert self.plant.lease_of(chunk.id) == lease
            else:
                # The first time, the chunk was settled as failed.
                assert answer_lost

    @rule(job=jobs, most=st.integers(1, 8))
    def work_well(self, job: int, most: int) -> None:
        toy.pass_time(self.plant.db)
        for _ in range(most):
            for chunk_id in toy.chunk_ids(self.plant.db, job, "ready")[:1]:
                for claimed in self.claim(chunk_id):
                    self.plant.work(claimed)

    @rule(chunk=hands, cause=st.sampled_from([*Cause]), fan_in=st.booleans())
    def fail(self, chunk: Claimed, cause: Cause, fan_in: bool) -> None:
        # A worker hears of a cancel from the job's state only.
        job = drive.find(self.plant.db, chunk.job_id)
        if cause is Cause.CANCELLED and job.state in ("queued", "running"):
            return
        lease = self.plant.lease_of(chunk.id)
        self.plant.fail(chunk, cause, fan_in=fan_in)
        if lease == ("leased", chunk.lease_token):
            assert self.plant.lease_of(chunk.id) != lease
        else:
            assert self.plant.lease_of(chunk.id) == lease

    @rule(chunk=hands, idle=st.sampled_from([0.0, 1e6]))
    def beat(self, chunk: Claimed, idle: float) -> None:
        lease = self.plant.lease_of(chunk.id)
        with transaction(self.plant.db) as connection:
            state = leases.heartbeat(connection, chunk, lease_seconds=3_600, idle_seconds=idle)
        assert (state is None) == (lease != ("leased", chunk.lease_token))
        if state is not None:
            assert state == drive.find(self.plant.db, chunk.job_id).state

    @rule(time_passes=st.booleans(), messages=st.sampled_from(["none", "sent", "lost"]))
    def reconcile(self, time_passes: bool, messages: str) -> None:
        if time_passes:
            toy.pass_time(self.plant.db)
        self.plant.reconciler.reconcile()
        if messages != "none":
            self.plant.reconciler.dispatch()
        if messages == "lost":
            self.plant.redis.flushdb()

    @rule(job=jobs)
    def cancel(self, job: int) -> None:
        before = drive.find(self.plant.db, job).state
        with transaction(self.plant.db) as connection:
            assert jobs.cancel(connection, job) == (before in ("queued", "running"))

    @rule(job=jobs, mended=st.booleans(), then=st.integers(0, 8))
    def retry(self, job: int, mended: bool, then: int) -> None:
        before = drive.find(self.plant.db, job).state
        if mended:
            self.plant.toy.poison -= {(job, item) for item in range(9)}
            self.plant.killers -= {(job, item) for item in range(9)}
        try:
            with transaction(self.plant.db) as connection:
                retries.begin(connection, job)
        except ConflictError:
            assert drive.find(self.plant.db, job).state == before
        else:
            assert before in ("failed", "succeeded_with_errors", "cancelled")
            self.work_well(job, then)

    @invariant()
    def holds(self) -> None:
        self.plant.check_all()


@pytest.fixture
def plant(context: Context, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    """An empty database of toy jobs; only what a test expires does expire."""
    context.settings.lease_seconds = 3_600.0
    stage = toy.ToyStage()
    toy.install(context, monkeypatch, stage)
    plant = Plant(context, stage)
    yield plant
    plant.redis.close()
    plant.app.close()


def test_every_effect_lands_once_and_every_job_ends(
    plant: Plant, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, logger="aparella")
    run_state_machine_as_test(type("Life", (Life,), {"plant": plant}), settings=PROFILE)


# --- negative controls: with a part of the engine taken out, the checks fail ----------------------


def work_chunk_of(plant: Plant, *, items: int, size: int) -> tuple[int, list[int]]:
    """A job whose plan is done: its id and its ready chunks."""
    job_id = toy.enqueue(plant.db, items=items, size=size)
    plan = plant.claim(toy.chunk_ids(plant.db, job_id)[0])
    assert plan is not None
    plant.work(plan)
    return job_id, toy.chunk_ids(plant.db, job_id, "ready")


def zombie(plant: Plant) -> None:
    """A worker loses its lease, another does the chunk, and the first comes back with its work."""
    _, (chunk_id,) = work_chunk_of(plant, items=1, size=1)
    first = plant.claim(chunk_id)
    toy.expire(plant.db, [chunk_id])
    plant.reconciler.reconcile()
    toy.pass_time(plant.db)
    second = plant.claim(chunk_id)
    assert first is not None
    assert second is not None
    assert second.lease_token > first.lease_token
    plant.work(second)
    plant.work(first)


def test_the_fence_keeps_a_zombie_out(plant: Plant) -> None:
    with pytest.raises(LeaseLostError):
        zombie(plant)
    plant.check_all()
    plant.drain()
    plant.check_at_rest()


def test_without_the_fence_the_check_of_effects_fails(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "fence", lambda _connection, _chunk: True)
    zombie(plant)
    with pytest.raises(AssertionError):
        plant.check_effects()


def test_without_the_fence_a_stale_lease_shows_even_alone(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "fence", lambda _connection, _chunk: True)
    _, (chunk_id,) = work_chunk_of(plant, items=1, size=1)
    first = plant.claim(chunk_id)
    assert first is not None
    toy.expire(plant.db, [chunk_id])
    plant.reconciler.reconcile()
    toy.pass_time(plant.db)
    assert plant.claim(chunk_id) is not None
    plant.work(first)
    with pytest.raises(AssertionError):
        plant.check_effects()


def test_without_fan_in_and_reconciler_a_job_does_not_end(plant: Plant) -> None:
    toy.enqueue(plant.db, items=4, size=2, stages=2)
    plant.drain(reconcile=False, fan_in=False, rounds=5)
    with pytest.raises(AssertionError):
        plant.check_at_rest()
    plant.drain(fan_in=False)
    plant.check_all()
    plant.check_at_rest()


def test_without_the_reconciler_an_expired_lease_is_for_ever(plant: Plant) -> None:
    job_id, (chunk_id,) = work_chunk_of(plant, items=3, size=3)
    assert plant.claim(chunk_id) is not None
    plant.drain(reconcile=False, rounds=5)
    assert plant.unended() == [(job_id, "running")]
    plant.drain()
    plant.check_at_rest()
    assert toy.effects(plant.db, job_id) == [1, 2, 3]


def test_an_item_left_out_of_a_job_that_succeeded_shows(plant: Plant) -> None:
    job_id = toy.enqueue(plant.db, items=3, size=2)
    plant.drain()
    plant.check_all()
    assert drive.find(plant.db, job_id).state == "succeeded"
    toy.execute(plant.db, "DELETE FROM effect WHERE item = 2")
    with pytest.raises(AssertionError):
        plant.check_ended()


def test_progress_that_goes_backwards_shows(plant: Plant) -> None:
    toy.enqueue(plant.db, items=3, size=2)
    plant.drain()
    plant.check_progress()
    toy.execute(plant.db, "DELETE FROM chunk")
    toy.execute(plant.db, "DELETE FROM effect")
    with pytest.raises(AssertionError):
        plant.check_progress()
