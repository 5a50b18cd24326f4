"""How many messages a queue holds beyond one for each busy process, and how soon to look again.

Few messages wait, so that a small job's chunk is never far from the front; but never none while
there is work, however short its chunks are. So what waits follows what is taken. Pure.
"""

from dataclasses import dataclass

LEAST, MOST = 4, 64
SOONEST, LATEST = 0.02, 0.5
"""Seconds between two looks at the queues: while messages are being taken, and while none are."""


@dataclass(frozen=True)
class Supply:
    """For one queue; `spare` messages may wait there beyond one for each busy process."""

    spare: int = LEAST

    def after(self, *, sent: int, waiting: int) -> "Supply":
        """What it is to be from a look on.

        Args:
            sent: messages that went out and led to no claim yet.
            waiting: of those, the ones that still wait in Redis.
        """
        if sent and not waiting:  # it ran dry: processes may have waited for the reconciler
            return Supply(min(self.spare * 2, MOST))
        if waiting > self.spare // 2:
            return Supply(max(self.spare - 1, LEAST))
        return self


def pause(before: float, *, sent: bool) -> float:
    """Seconds to the next look, given those to this one and whether it sent anything."""
    return SOONEST if sent else min(before * 2, LATEST)
