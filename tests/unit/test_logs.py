import json
import logging
import threading
from collections.abc import Iterator
from contextvars import copy_context

import pytest

from aparella import logs

log = logging.getLogger("aparella.test")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_of_json_says_what_it_is_about(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("json")
    with logs.about(job=3, stage="embed list"):
        with logs.about(chunk=7, attempt=2):
            log.warning("text %s is too long", "«ò»")
        log.info("done")
    log.info("idle")
    inner, outer, none = lines(capsys)
    assert inner["message"] == "text «ò» is too long"
    assert inner["level"] == "warning"
    assert inner["logger"] == "aparella.test"
    assert str(inner["time"]).endswith("+00:00")
    assert {name: inner.get(name) for name in ("job", "stage", "chunk", "attempt")} == {
        "job": 3,
        "stage": "embed list",
        "chunk": 7,
        "attempt": 2,
    }
    assert (outer["job"], "chunk" in outer, "job" in none) == (3, False, False)


def test_a_traceback_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("json")
    try:
        int("odd\nwords")
    except ValueError:
        log.exception("it failed")
    (line,) = lines(capsys)
    assert "ValueError: invalid literal" in str(line["error"])


def test_threads_know_what_their_starter_was_about(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("json")
    with logs.about(job=1):
        inheriting = copy_context()
    others = threading.Thread(target=log.info, args=("alien",))
    own = threading.Thread(target=inheriting.run, args=(log.info, "own"))
    for thread in (others, own):
        thread.start()
        thread.join()
    alien, mine = lines(capsys)
    assert ("job" in alien, mine.get("job")) == (False, 1)


def test_text_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("json")
    logs.set_up("text")
    with logs.about(job=3):
        log.info("done")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(" INFO done")
