"""A file that a process touches while it lives, and the probe for it.

`python -m aparella.workers.pulse` exits with 0 if the file of `APARELLA_PULSE` was touched a moment
ago, else with 1 and the reason: a health check for containers. It is run every few seconds beside
the workers, so it imports nothing that takes time.
"""

import os
import sys
import time
from pathlib import Path

VARIABLE = "APARELLA_PULSE"
STALE_SECONDS = 60.0
"""Without a touch for so long a process counts as hung."""


class Pulse:
    """Touches the file; without a path it does nothing.

    Args:
        path: of the file; its folder is there. Empty: nobody probes.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path) if path else None

    def beat(self) -> None:
        """Touch the file. A full or missing disk is the probe's to see, not the work's."""
        if self._path is not None:
            try:
                self._path.touch()
            except OSError:
                return


def trouble(path: str, *, now: float | None = None) -> str | None:
    """What speaks against the process that touches the file living; None if nothing does.

    Args:
        path: of the file.
        now: seconds since the epoch, for tests.
    """
    if not path:
        return f"{VARIABLE} is not set: name the file that the process touches."
    try:
        age = (time.time() if now is None else now) - Path(path).stat().st_mtime
    except OSError:
        return f"There is no {path}: the process has not come up yet."
    if age > STALE_SECONDS:
        return f"{path} was touched {age:.0f} s ago: the process hangs."
    return None


def main() -> None:
    """Run the command."""
    if sentence := trouble(os.environ.get(VARIABLE, "")):
        sys.exit(f"aparella: {sentence}")


if __name__ == "__main__":
    main()
