"""Ends a process that hangs in C and keeps the interpreter's lock: no thread of Python's could.

The heartbeat's thread watches the work's progress, but it needs that lock to run. The lease of such
a chunk expires and others do it, yet the process would hang on for good, and the pool with it.
"""

import faulthandler
import threading
from time import sleep

_LONGEST = 15.0
"""Seconds between two signs of life."""


def start(seconds: float) -> None:
    """Watch this process from now on.

    Args:
        seconds: without the interpreter's lock for so long, it is hung: what its threads do is
            written to standard error, and it ends with exit code 1.
    """
    thread = threading.Thread(target=_live, args=(seconds,), name="watchdog", daemon=True)
    thread.start()


def _live(seconds: float) -> None:
    while True:
        # A thread in C, which each call begins anew, waits for the time and asks for no lock.
        faulthandler.dump_traceback_later(seconds, exit=True)
        sleep(min(seconds / 4, _LONGEST))
