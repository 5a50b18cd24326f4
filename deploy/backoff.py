"""When a child that died is started again. Pure decisions, no clock."""

FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0
STABLE_AFTER = 60.0
"""Seconds of life after which a death counts as the first one again."""


def failures_after(failures: int, uptime: float) -> int:
    """How many deaths in a row there were, now that the child died after `uptime` seconds."""
    return 1 if uptime >= STABLE_AFTER else failures + 1


def restart_delay(failures: int) -> float:
    """Seconds until the restart after that many deaths in a row: doubled each time, bounded."""
    # The exponent is bounded too: a child that dies for days must not overflow a float.
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(failures - 1, 16))
