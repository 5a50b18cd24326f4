"""How fast a job gets on and how long it will take, from what its chunks add up to."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from aparella.db.stages import Progress


@dataclass(frozen=True)
class Pace:
    """Items per second, and seconds to go; None where either is unknown."""

    rate: float | None = None
    eta_seconds: float | None = None


def stage_pace(stage: Progress, now: datetime) -> Pace:
    """The pace of one stage.

    While it runs the rate is that of the last minute, or of all its time if nothing was finished
    in the last minute (its chunks take longer than that). Afterwards it is the average.
    """
    handled = stage.done + stage.failed
    if stage.started_at is None or not handled:
        return Pace()
    if stage.finished_at is not None:
        return Pace(_rate(handled, (stage.finished_at - stage.started_at).total_seconds()))
    if stage.recent and stage.recent_seconds:
        rate = _rate(stage.recent, stage.recent_seconds)
    else:
        rate = _rate(handled, (now - stage.started_at).total_seconds())
    return Pace(rate, _seconds(stage.total - handled, rate))


def job_pace(
    stages: Sequence[Progress],
    started_at: datetime | None,
    finished_at: datetime | None,
    now: datetime,
) -> Pace:
    """The pace of a whole job.

    While it runs its rate is that of the stage at work. Its remaining time is known only in its
    last stage: how much the others find to do shows when they start. Once it has ended the rate
    is the average over all stages.
    """
    if started_at is None:
        return Pace()
    if finished_at is not None:
        handled = sum(stage.done + stage.failed for stage in stages)
        return Pace(_rate(handled, (finished_at - started_at).total_seconds()))
    running = next((stage for stage in stages if stage.state == "running"), None)
    if running is None:
        return Pace()
    pace = stage_pace(running, now)
    if any(stage.state == "waiting" for stage in stages):
        return Pace(pace.rate)
    return pace


def _rate(items: int, seconds: float) -> float | None:
    """Items per second to three digits: more would only flicker."""
    return float(f"{items / seconds:.3g}") if items > 0 and seconds > 0 else None


def _seconds(items: int, rate: float | None) -> float | None:
    if rate is None:
        return None
    seconds = max(items, 0) / rate
    return round(seconds, 1) if seconds < 10 else float(round(seconds))
