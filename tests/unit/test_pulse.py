"""The file that tells that a process lives, and who is believed by it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aparella.workers import liveness, pulse


def test_a_touched_file_speaks_for_its_process(tmp_path: Path) -> None:
    path = tmp_path / "pulse"
    pulse.Pulse(str(path)).beat()
    touched = path.stat().st_mtime
    assert pulse.trouble(str(path), now=touched + pulse.STALE_SECONDS) is None
    late = pulse.trouble(str(path), now=touched + pulse.STALE_SECONDS + 5)
    assert late is not None
    assert late.endswith("was touched 65 s ago: the process hangs.")


def test_a_beat_moves_the_time(tmp_path: Path) -> None:
    path = tmp_path / "pulse"
    path.touch()
    os.utime(path, (0, 0))
    pulse.Pulse(str(path)).beat()
    assert pulse.trouble(str(path)) is None


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "aparella: APARELLA_PULSE is not set: name the file that the process touches."),
        (
            {"APARELLA_PULSE": "/nowhere/pulse"},
            "aparella: There is no /nowhere/pulse: the process has not come up yet.",
        ),
    ],
)
def test_the_probe_fails_with_a_sentence(variables: dict[str, str], words: str) -> None:
    kept = {k: v for k, v in os.environ.items() if k != pulse.VARIABLE}
    done = subprocess.run(
        [sys.executable, "-m", "aparella.workers.pulse"],
        env={**kept, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr.strip()) == (1, words)


def test_a_pulse_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    pulse.Pulse(str(tmp_path / "missing" / "pulse")).beat()
    pulse.Pulse("").beat()


@pytest.mark.parametrize(
    ("idle", "connected", "redis_answers", "living"),
    [
        (1.0, True, True, True),
        (61.0, True, True, False),
        (61.0, True, False, True),
        (3_600.0, False, True, True),
    ],
)
def test_a_loop_that_waits_for_redis_is_not_ill(
    idle: float, connected: bool, redis_answers: bool, living: bool
) -> None:
    found = liveness.lives(idle=idle, connected=connected, redis_answers=lambda: redis_answers)
    assert found is living
