"""What to do with a failed attempt, how to bisect, when a stage and a job end: pure functions.

They know neither the clock nor the database.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from aparella.errors import (
    CancelledError,
    ConfigurationError,
    JobError,
    NotFoundError,
    TransientError,
)


class Cause(Enum):
    """Why an attempt ended without a commit."""

    TRANSIENT = "transient"
    """A service failed; nothing is wrong with the work."""
    LOST = "lost"
    """The worker vanished or hung: perhaps it was killed, perhaps a record killed it."""
    RECORD = "record"
    """An error that some record of the chunk causes."""
    JOB = "job"
    """An error that every chunk of the job would meet."""
    CANCELLED = "cancelled"
    """The job is being cancelled."""
    DRAINED = "drained"
    """The worker is being stopped and hands the chunk back."""


@dataclass(frozen=True)
class Retry:
    """Make the chunk ready again after `delay` seconds; an uncounted attempt does not add up."""

    delay: float
    counted: bool = True


@dataclass(frozen=True)
class Split:
    """Replace the chunk by its two halves."""


@dataclass(frozen=True)
class Bury:
    """The chunk is dead: its one record (or the stage's one piece of work) cannot be done."""


@dataclass(frozen=True)
class Drop:
    """The job is being cancelled: the chunk goes with it."""


@dataclass(frozen=True)
class FailJob:
    """No chunk of this job can be done."""


Decision = Retry | Split | Bury | Drop | FailJob

MAX_TRANSIENT = 12
"""Attempts before a transient error counts as lasting: with the back-off about 25 minutes."""
MAX_LOST = 3
"""Attempts of a single record that ended with the worker gone: one kill is an accident."""
MAX_LOST_WHOLE = 8
"""The same for work that is no record's fault (planning, an index): more patience."""
_FIRST_DELAY, _LONGEST_DELAY = 1.0, 300.0
"""Seconds of exponential back-off."""


def cause_of(error: BaseException) -> Cause:
    """Which kind of failure an exception is, by its class.

    What is not ours is taken to be some record's doing: bisection then finds which, or shows
    that all are hit.
    """
    if isinstance(error, TransientError):
        return Cause.TRANSIENT
    if isinstance(error, CancelledError):
        return Cause.CANCELLED
    if isinstance(error, JobError | ConfigurationError | NotFoundError):
        return Cause.JOB
    # Memory may be short because of neighbours, not because of the record.
    return Cause.LOST if isinstance(error, MemoryError) else Cause.RECORD


def after_failure(cause: Cause, *, attempt: int, size: int, lost: int = 0) -> Decision:
    """What becomes of a chunk whose attempt failed.

    Args:
        cause: of the failure.
        attempt: how many attempts there were, this one included (from 1).
        size: items in the chunk; 0 for work that is no item's (a plan, an index).
        lost: how many of the attempts before this one ended with the worker gone. Only those speak
            against the record: an outage of a server, however long, does not.
    """
    match cause:
        case Cause.CANCELLED:
            return Drop()
        case Cause.DRAINED:
            return Retry(0.0, counted=False)
        case Cause.JOB:
            return FailJob()
        case Cause.TRANSIENT:
            return Retry(backoff(attempt)) if attempt < MAX_TRANSIENT else Bury()
        case Cause.LOST | Cause.RECORD if size > 1:
            # The next attempt would be the second: bisect at once, so that a record that kills
            # its worker kills about log2(size) of them and not twice as many.
            return Split()
        case Cause.LOST:
            most = MAX_LOST if size == 1 else MAX_LOST_WHOLE
            return Retry(backoff(attempt)) if lost + 1 < most else Bury()
        case Cause.RECORD:
            return Bury()


def backoff(attempt: int) -> float:
    """Seconds to wait after the attempt of this number (from 1): doubling, up to five minutes."""
    return float(min(_FIRST_DELAY * 2 ** min(attempt - 1, 30), _LONGEST_DELAY))


def halves(items: Sequence[int]) -> list[list[int]]:
    """Two halves of at least two items, in order, which together are the items."""
    middle = len(items) // 2
    return [list(items[:middle]), list(items[middle:])]


class StageEnd(Enum):
    """What a stage without open chunks has come to."""

    DONE = "done"
    FAILED = "failed"


GIVE_UP_AFTER, GIVE_UP_SHARE = 1_000, 0.5
"""A stage with so many failed items that are more than this share of what was tried: something
is wrong with the job and not with its records."""


def stage_end(*, open_chunks: int, dead_whole: int, tried: int, failed: int) -> StageEnd | None:
    """Whether a stage is over, and how; None while it goes on.

    Args:
        open_chunks: ready or leased.
        dead_whole: dead chunks that are no record's (a plan, an index): nothing can go on without.
        tried: items of done and of dead chunks.
        failed: those of them that have an error of their own, or whose chunk died.
    """
    if dead_whole or hopeless(tried=tried, failed=failed):
        return StageEnd.FAILED
    return None if open_chunks else StageEnd.DONE


def hopeless(*, tried: int, failed: int) -> bool:
    """Whether so much fails that going on only wastes time."""
    return failed >= GIVE_UP_AFTER and failed > GIVE_UP_SHARE * tried


def job_end(*, errors: int) -> str:
    """State of a job whose stages are all done."""
    return "succeeded_with_errors" if errors else "succeeded"
