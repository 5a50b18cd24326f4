"""A process that hangs in C with the interpreter's lock is ended; one that only waits is not."""

import subprocess
import sys

HANGS = """
import ctypes, time
from aparella.workers import watchdog
watchdog.start(0.4)
time.sleep(1.5)  # gives the lock away: no hang
print("waited", flush=True)
ctypes.PyDLL(None).sleep(60)
"""


def test_a_process_that_hangs_with_the_lock_ends_itself() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.stdout == "waited\n"
    assert ended.returncode == 1
    assert "Timeout" in ended.stderr
    assert "line 7" in ended.stderr  # where it hangs
