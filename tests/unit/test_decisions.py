import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aparella import errors
from aparella.workers import decisions
from aparella.workers.decisions import (
    GIVE_UP_AFTER,
    MAX_LOST,
    MAX_LOST_WHOLE,
    MAX_TRANSIENT,
    Bury,
    Cause,
    Drop,
    FailJob,
    Retry,
    Split,
    StageEnd,
    after_failure,
    backoff,
    cause_of,
    halves,
    hopeless,
    job_end,
    stage_end,
)
from aparella.workers.heartbeat import DrainedError

# --- halves ---------------------------------------------------------------------------------------

several_items = st.lists(st.integers(), min_size=2, max_size=300, unique=True)


@given(several_items)
def test_halves_partition_the_items_in_order(items: list[int]) -> None:
    first, second = halves(items)
    assert first + second == items
    assert first
    assert second
    assert abs(len(first) - len(second)) <= 1


@given(several_items)
def test_halving_reaches_single_items_in_log2_levels(items: list[int]) -> None:
    level, levels = [items], 0
    while any(len(part) > 1 for part in level):
        level = [half for part in level for half in (halves(part) if len(part) > 1 else [part])]
        levels += 1
    assert [item for part in level for item in part] == items
    assert levels == math.ceil(math.log2(len(items)))


# --- backoff --------------------------------------------------------------------------------------


@given(st.integers(1, 10**6))
def test_backoff_grows_and_is_bounded(attempt: int) -> None:
    assert 1.0 <= backoff(attempt) <= backoff(attempt + 1) <= 300.0


def test_backoff_doubles_from_one_second() -> None:
    assert [backoff(n) for n in range(1, 11)] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]
    patience = sum(backoff(n) for n in range(1, MAX_TRANSIENT))
    assert 15 * 60 < patience < 30 * 60


# --- after_failure --------------------------------------------------------------------------------

attempts = st.integers(1, 100)
sizes = st.integers(0, 100)


@given(attempts, sizes)
def test_some_causes_are_decided_whatever_the_chunk(attempt: int, size: int) -> None:
    assert after_failure(Cause.CANCELLED, attempt=attempt, size=size) == Drop()
    assert after_failure(Cause.JOB, attempt=attempt, size=size) == FailJob()
    assert after_failure(Cause.DRAINED, attempt=attempt, size=size) == Retry(0.0, counted=False)


@given(st.sampled_from([Cause.LOST, Cause.RECORD]), attempts, st.integers(2, 100))
def test_a_chunk_of_several_items_is_split_at_once(cause: Cause, attempt: int, size: int) -> None:
    assert after_failure(cause, attempt=attempt, size=size) == Split()


@given(attempts, sizes)
def test_a_transient_error_never_splits(attempt: int, size: int) -> None:
    decision = after_failure(Cause.TRANSIENT, attempt=attempt, size=size)
    assert decision == (Retry(backoff(attempt)) if attempt < MAX_TRANSIENT else Bury())


@pytest.mark.parametrize(("size", "most"), [(1, MAX_LOST), (0, MAX_LOST_WHOLE)])
def test_one_vanished_worker_is_an_accident(size: int, most: int) -> None:
    ends = [after_failure(Cause.LOST, attempt=n, size=size, lost=n - 1) for n in range(1, most + 1)]
    assert ends == [*(Retry(backoff(n)) for n in range(1, most)), Bury()]


@given(st.integers(1, MAX_TRANSIENT - 1))
def test_an_outage_does_not_speak_against_a_record(outages: int) -> None:
    """However often a server failed before: the first vanished worker is an accident."""
    decision = after_failure(Cause.LOST, attempt=outages + 1, size=1, lost=0)
    assert decision == Retry(backoff(outages + 1))


@pytest.mark.parametrize("size", [0, 1])
def test_a_single_bad_record_is_buried_at_once(size: int) -> None:
    assert after_failure(Cause.RECORD, attempt=1, size=size) == Bury()


class EndedError(Exception):
    """The simulated job failed or was cancelled as a whole."""


def simulate(
    items: list[int], fate: Callable[[list[int]], Cause | None]
) -> tuple[set[int], set[int], int]:
    """Run one chunk to its end as the engine does; `fate` says how each attempt ends.

    Returns:
        The items done, the items dead, and how many attempts were counted.
    """
    done: set[int] = set()
    dead: set[int] = set()
    total = 0
    open_chunks = [(items, 0, 0)]
    while open_chunks:
        chunk, attempt, lost = open_chunks.pop()
        cause = fate(chunk)
        if cause is None:
            done |= set(chunk)
            total += 1
            continue
        match after_failure(cause, attempt=attempt + 1, size=len(chunk), lost=lost):
            case Retry(_, counted):
                open_chunks.append((chunk, attempt + counted, lost + (cause is Cause.LOST)))
                total += counted
            case Split():
                open_chunks += [(half, 0, 0) for half in halves(chunk)]
                total += 1
            case Bury():
                dead |= set(chunk)
                total += 1
            case Drop() | FailJob():
                raise EndedError
    return done, dead, total


def most_attempts(n: int) -> int:
    """How many a chunk has at most, and bisection makes 2n - 1 chunks."""
    return (MAX_TRANSIENT + MAX_LOST_WHOLE) * max(2 * n - 1, 1)


@given(st.integers(0, 40), st.data())
def test_a_chunk_ends_whatever_happens_to_it(n: int, data: st.DataObject) -> None:
    causes = data.draw(
        st.lists(
            st.sampled_from([None, Cause.TRANSIENT, Cause.LOST, Cause.RECORD, Cause.DRAINED]),
            max_size=60,
        )
    )
    lasting = data.draw(st.sampled_from([Cause.TRANSIENT, Cause.LOST, Cause.RECORD]))
    sequence = iter(causes)
    items = list(range(n))
    done, dead, total = simulate(items, lambda _: next(sequence, lasting))
    assert done | dead == set(items)
    assert not done & dead
    assert total <= most_attempts(n)


@given(st.integers(1, 64), st.data())
def test_bad_records_end_dead_and_all_others_done(n: int, data: st.DataObject) -> None:
    bad = data.draw(st.dictionaries(st.integers(0, n - 1), st.sampled_from(["raises", "kills"])))

    def fate(chunk: list[int]) -> Cause | None:
        kinds = {bad[item] for item in chunk if item in bad}
        if "kills" in kinds:
            return Cause.LOST
        return Cause.RECORD if kinds else None

    done, dead, total = simulate(list(range(n)), fate)
    assert dead == set(bad)
    assert done == set(range(n)) - set(bad)
    levels = math.ceil(math.log2(n)) if n > 1 else 0
    # Each bad record is alone after `levels` bisections, which each leave one other half behind.
    assert total <= 1 + len(bad) * (2 * levels + MAX_LOST)


@given(st.lists(st.sampled_from([Cause.DRAINED, Cause.TRANSIENT]), max_size=MAX_TRANSIENT - 1))
def test_an_outage_and_restarts_lose_nothing(causes: list[Cause]) -> None:
    sequence = iter(causes)
    done, dead, _ = simulate([1, 2, 3], lambda _: next(sequence, None))
    assert (done, dead) == ({1, 2, 3}, set())


# --- cause_of -------------------------------------------------------------------------------------

CAUSES = {
    errors.AparellaError: Cause.RECORD,
    errors.TransientError: Cause.TRANSIENT,
    errors.ServiceUnavailableError: Cause.TRANSIENT,
    errors.ResourceExhaustedError: Cause.TRANSIENT,
    errors.BusyError: Cause.TRANSIENT,
    errors.PermanentError: Cause.RECORD,
    errors.InputError: Cause.RECORD,
    errors.NotFoundError: Cause.JOB,
    errors.ConflictError: Cause.RECORD,
    errors.RecordError: Cause.RECORD,
    errors.JobError: Cause.JOB,
    errors.LeaseLostError: Cause.RECORD,
    errors.CancelledError: Cause.CANCELLED,
    errors.ConfigurationError: Cause.JOB,
}


@pytest.mark.parametrize(("kind", "cause"), CAUSES.items())
def test_each_error_of_the_tree_has_its_cause(
    kind: type[errors.AparellaError], cause: Cause
) -> None:
    assert cause_of(kind("a sentence")) is cause


def test_no_error_of_the_tree_was_forgotten() -> None:
    tree = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.AparellaError)
    }
    assert tree == set(CAUSES)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (ValueError("x"), Cause.RECORD),
        (ZeroDivisionError(), Cause.RECORD),
        (RuntimeError("CUDA error"), Cause.RECORD),
        (MemoryError(), Cause.LOST),
        (DrainedError("the worker is being stopped"), Cause.TRANSIENT),
    ],
)
def test_errors_of_others_have_a_cause(error: Exception, cause: Cause) -> None:
    assert cause_of(error) is cause


# --- the end of a stage and of a job --------------------------------------------------------------

counts = st.integers(0, 10**6)


@given(counts, counts)
def test_a_stage_goes_on_while_a_chunk_is_open(tried: int, failed: int) -> None:
    end = stage_end(open_chunks=1, dead_whole=0, tried=tried, failed=min(failed, tried))
    assert end is (StageEnd.FAILED if hopeless(tried=tried, failed=min(failed, tried)) else None)


@given(counts, counts, counts)
def test_a_stage_without_its_plan_has_failed(open_chunks: int, tried: int, failed: int) -> None:
    end = stage_end(open_chunks=open_chunks, dead_whole=1, tried=tried, failed=min(failed, tried))
    assert end is StageEnd.FAILED


@given(counts, st.integers(0, GIVE_UP_AFTER - 1))
def test_few_failures_do_not_end_a_stage(tried: int, failed: int) -> None:
    tried = max(tried, failed)
    assert stage_end(open_chunks=0, dead_whole=0, tried=tried, failed=failed) is StageEnd.DONE


@pytest.mark.parametrize(
    ("tried", "failed", "expected"),
    [
        (0, 0, False),
        (999, 999, False),
        (1_000, 1_000, True),
        (2_000, 1_000, False),
        (1_999, 1_000, True),
        (10**6, 400_000, False),
        (10**6, 600_000, True),
    ],
)
def test_a_stage_is_hopeless_when_over_half_of_many_fails(
    tried: int, failed: int, expected: bool
) -> None:
    assert hopeless(tried=tried, failed=failed) is expected


def test_a_job_with_errors_says_so() -> None:
    assert job_end(errors=0) == "succeeded"
    assert job_end(errors=1) == "succeeded_with_errors"


def test_every_decision_is_carried_out_by_the_engine() -> None:
    made = {
        type(after_failure(cause, attempt=n, size=size))
        for cause in Cause
        for n in (1, MAX_TRANSIENT)
        for size in (0, 1, 2)
    }
    assert made == set(decisions.Decision.__args__)
