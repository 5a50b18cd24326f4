import io
import json
from typing import Any

import pytest
from rich.console import Console

from aparella.client import progress
from aparella.client.models import Job
from aparella.client.output import share_done
from aparella.client.progress import LINE_SECONDS, JsonLines, Lines, figures, is_terminal, showing


def job(*stages: dict[str, Any], state: str = "running") -> Job:
    return Job.read({"id": 7, "kind": "match", "state": state, "stages": list(stages)})


def stage(state: str = "running", **values: Any) -> dict[str, Any]:
    return {"name": "embed source", "state": state, "total": 5000, "done": 0, **values}


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"state": "waiting"}, "waiting"),
        ({"total": 0}, "starting"),
        ({"done": 1200}, "1,200 of 5,000"),
        (
            {"done": 1200, "failed": 3, "rate": 162.0, "eta_seconds": 23.0},
            "1,203 of 5,000, 3 failed, 162/s, about 23 s left",
        ),
        ({"state": "done", "done": 5000}, "5,000 done"),
        ({"state": "done", "total": 0, "skipped": 12000}, "nothing to do, 12,000 already there"),
        ({"state": "failed", "done": 70, "failed": 2}, "failed at 72 of 5,000, 2 failed"),
        ({"state": "cancelled", "total": 0}, "cancelled"),
        (
            {
                "state": "done",
                "done": 5000,
                "started_at": "2026-01-05T10:00:00Z",
                "finished_at": "2026-01-05T10:03:05Z",
            },
            "5,000 done, 3 min 05 s",
        ),
    ],
)
def test_a_stage_in_figures(values: dict[str, Any], text: str) -> None:
    assert figures(job(stage(**values)).stages[0]) == text


@pytest.mark.parametrize(
    ("stages", "share"),
    [
        ([stage("waiting"), stage("waiting")], None),
        # Texts in thousands that are done say little of steps that take seconds each.
        ([stage("done", done=5000), stage(total=90, done=9), stage("waiting", total=0)], 36),
        ([stage("done", total=0, skipped=5000), stage(total=4, done=1)], 62),
        ([stage("done", done=5000), stage(total=4, done=4)], 99),
        ([stage("skipped", total=0), stage("cancelled", total=4, done=1)], 62),
        ([], None),
    ],
)
def test_a_job_is_as_far_as_its_stages(stages: list[dict[str, Any]], share: int | None) -> None:
    assert share_done(job(*stages)) == share
    assert share_done(job(*stages, state="succeeded")) == 100


class Watched:
    """Lines under a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.file = io.StringIO()
        self.show = Lines(Console(file=self.file, width=200), lambda: self.now)

    def new(self, *stages: dict[str, Any], state: str = "running") -> list[str]:
        before = len(self.file.getvalue())
        self.show(job(*stages, state=state))
        return self.file.getvalue()[before:].splitlines()


def test_lines_tell_the_begin_and_the_end_of_a_stage_at_once() -> None:
    watched = Watched()
    assert watched.new(stage("waiting")) == []
    assert watched.new(stage()) == ["job 7: embed source: 0 of 5,000"]
    assert watched.new(stage("done", done=5000)) == ["job 7: embed source: 5,000 done"]
    assert watched.new(stage("done", done=5000)) == []


def test_lines_between_come_every_few_seconds_and_only_with_news() -> None:
    watched = Watched()
    watched.new(stage())
    watched.now = LINE_SECONDS - 0.1
    assert watched.new(stage(done=10)) == []
    watched.now = LINE_SECONDS
    assert watched.new(stage(done=20)) == ["job 7: embed source: 20 of 5,000"]
    watched.now *= 10
    assert watched.new(stage(done=20, rate=3.0)) == []


def test_lines_show_each_stage_that_runs() -> None:
    watched = Watched()
    other = {**stage(), "name": "match"}
    assert len(watched.new(stage("done"), other)) == 2


def test_lines_say_once_that_a_job_rests_and_that_it_goes_on() -> None:
    watched = Watched()
    watched.new(stage())
    assert watched.new(stage(), state="paused") == ["job 7: paused; `aparella job resume 7`"]
    assert watched.new(stage(), state="paused") == []
    assert watched.new(stage()) == ["job 7: goes on"]


def test_a_machine_gets_each_change_once() -> None:
    written: list[str] = []
    show = JsonLines(written.append)
    for done in (0, 0, 10, 10):
        show(job(stage(done=done)))
    assert [json.loads(line)["stages"][0]["done"] for line in written] == [0, 10]
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in written)


def test_colour_settings_make_no_terminal_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    console = Console(file=io.StringIO())
    assert console.is_terminal
    assert not is_terminal(console)
    with showing(console) as show:
        assert isinstance(show, Lines)


def test_a_training_says_what_it_does_besides() -> None:
    assert list(progress._detail({"part": "fusion 1/2: step 3 of 9"})) == [
        "fusion 1/2: step 3 of 9"
    ]
