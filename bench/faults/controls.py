"""Negative controls: without one of the safeguards the campaign must fail, or it proves nothing."""

from pathlib import Path
from typing import Any

from bench.faults.campaign import storm, undisturbed
from bench.faults.schedule import Event
from bench.faults.standing import stack
from bench.faults.work import Plan, Result, say

EVENTS = {
    "fencing": [Event("zombie at worked", 1.0, 0.0)],
    "reconciler": [Event("kill at claimed", 1.0, 0.0)],
    "transaction": [Event("kill at between", 1.0, 0.0)],
}
"""The fault that each safeguard is there for."""
SHOWS = {"fencing": "stale", "reconciler": "state", "transaction": "unfenced"}
"""What in the ledger tells that it is missing."""
PLAN = Plan(
    lines=120,
    records=40,
    counts={},
    pauses=(0.0, 0.0),
    pace=0.3,
    processes={"worker-a": 2},
    poisons=(),
    throughput=0.0,
    surroundings=False,
    freeze=0.0,
    patience=30.0,
)


def run(safeguard: str, keep: Path) -> dict[str, Any]:
    """Do without a safeguard; whether the ledger saw it, and what it says.

    Args:
        safeguard: of `EVENTS`.
        keep: folder for the logs.
    """
    result = Result()
    with stack(PLAN.processes, off=safeguard, keep=keep / f"without-{safeguard}") as on:
        source, calm = undisturbed(on, PLAN, result)
        storm(on, PLAN, EVENTS[safeguard], source, calm, result)
    missed = [h.missed for h in result.happenings if h.missed]
    wrong = result.accounts[0].faults
    why = "; ".join(f"{name}: {what}" for name, what in wrong.items()) or str(missed or "nothing")
    say(f"without {safeguard}: {why}")
    return {"failed": SHOWS[safeguard] in wrong and not missed, "why": why}
