"""Rates and remaining times."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aparella.api.progress import Pace, job_pace, stage_pace
from aparella.db.stages import Progress

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


RUNNING = Progress(
    id=1,
    job_id=1,
    name="embed",
    queue="embed",
    state="running",
    skipped=0,
    started_at=ago(300),
    finished_at=None,
    total=1_000,
    done=390,
    failed=10,
    recent=120,
    recent_seconds=60.0,
)
WAITING = replace(
    RUNNING,
    state="waiting",
    started_at=None,
    total=0,
    done=0,
    failed=0,
    recent=0,
    recent_seconds=None,
)
DONE = replace(RUNNING, state="done", started_at=ago(400), finished_at=ago(300), done=990)


def test_a_running_stage_has_the_rate_of_its_last_minute() -> None:
    assert stage_pace(RUNNING, NOW) == Pace(2.0, 300.0)


def test_without_a_chunk_in_the_last_minute_the_rate_is_that_of_all_its_time() -> None:
    assert stage_pace(replace(RUNNING, recent=0), NOW) == Pace(1.33, 451.0)


@pytest.mark.parametrize(
    "stage", [WAITING, replace(RUNNING, done=0, failed=0, recent=0), replace(RUNNING, total=0)]
)
def test_what_is_unknown_is_none(stage: Progress) -> None:
    pace = stage_pace(stage, NOW)
    assert pace.eta_seconds in (None, 0.0)
    assert pace.rate is None or stage.done


def test_a_finished_stage_has_its_average_and_nothing_to_go() -> None:
    assert stage_pace(DONE, NOW) == Pace(10.0, None)


def test_a_stage_that_took_no_time_has_no_rate() -> None:
    assert stage_pace(replace(DONE, finished_at=DONE.started_at), NOW) == Pace()


def test_the_last_seconds_are_told_in_tenths() -> None:
    assert stage_pace(replace(RUNNING, done=987, failed=10), NOW).eta_seconds == 1.5


def test_a_job_in_its_last_stage_knows_its_remaining_time() -> None:
    assert job_pace([DONE, RUNNING], ago(400), None, NOW) == Pace(2.0, 300.0)


def test_a_job_with_waiting_stages_knows_its_rate_only() -> None:
    assert job_pace([RUNNING, WAITING], ago(300), None, NOW) == Pace(2.0, None)


def test_an_ended_job_has_the_average_of_all_stages() -> None:
    assert job_pace([DONE, DONE], ago(400), ago(200), NOW) == Pace(10.0, None)


def test_a_queued_job_has_none() -> None:
    assert job_pace([RUNNING, WAITING], None, None, NOW) == Pace()


@given(
    total=st.integers(0, 10**9),
    done=st.integers(0, 10**9),
    recent=st.integers(0, 10**9),
    seconds=st.floats(0, 60),
    elapsed=st.floats(-5, 10**7),
)
def test_no_figures_break_it_and_none_are_negative(
    total: int, done: int, recent: int, seconds: float, elapsed: float
) -> None:
    stage = replace(
        RUNNING,
        total=total,
        done=done,
        recent=recent,
        recent_seconds=seconds,
        started_at=ago(elapsed),
    )
    pace = stage_pace(stage, NOW)
    assert pace.rate is None or pace.rate > 0
    assert pace.eta_seconds is None or pace.eta_seconds >= 0
