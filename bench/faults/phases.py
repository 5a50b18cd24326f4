"""The phases beside the storm: poison, a clean end, and throughput under kills."""

from time import monotonic, sleep, time

from bench.faults import audit, faults
from bench.faults.faults import query
from bench.faults.processes import Stack, poison_allowed, until
from bench.faults.schedule import Event
from bench.faults.work import (
    Plan,
    Result,
    draw_up,
    ended,
    enqueue,
    forget_vectors,
    imported,
    say,
    watched,
)


def poisoned(on: Stack, plan: Plan, result: Result) -> None:
    """A job with poison among its records: each ends alone as dead, with its reason."""
    if not plan.poisons:
        return
    texts = [f"METZINA {i}" for i in range(10 * len(plan.poisons))]
    for number, kind in enumerate(plan.poisons):
        texts[10 * number + 5] += f" {kind}"
    source = imported(on, "poisoned", texts)
    calm = enqueue(on, "poisoned")
    if ended(on, calm, 120) != "succeeded":
        raise RuntimeError("the undisturbed job with harmless poison did not succeed")
    forget_vectors(on)
    poison_allowed(on, yes=True)
    rows = query(
        on, "SELECT id, text FROM record WHERE collection_id = :id AND text ~ 'POISON'", id=source
    )
    deadly = {int(row.id): str(row.text).rsplit(" ", 1)[1] for row in rows}
    begin, job = monotonic(), enqueue(on, "poisoned")
    state, progress = watched(on, job, lambda: None, 240)
    poison_allowed(on, yes=False)
    result.accounts.append(draw_up(on, job, state, source, calm, progress, deadly))
    if state != "succeeded_with_errors":
        result.findings.append(f"the job with poison ended as {state}")
    found = query(on, "SELECT record_id, code, message FROM job_error WHERE job_id = :id", id=job)
    reasons = {int(row.record_id): f"{row.code}: {row.message}" for row in found}
    if set(reasons) != set(deadly) or len(found) != len(deadly):
        result.findings.append(f"poison: errors of {reasons}, expected of {deadly}")
    result.facts["poison"] = {
        "seconds": round(monotonic() - begin, 1),
        "records": {deadly[i]: reasons.get(i, "no error") for i in sorted(deadly)},
    }
    say(f"poison: job {job} {state} {result.accounts[-1].faults or 'nothing wrong'}")


def clean_end(on: Stack, plan: Plan, source: int, calm: int, result: Result) -> None:
    """SIGTERM of a worker in the middle of its work: each chunk ends, or goes back."""
    forget_vectors(on)
    on.pace(1.0)
    job = enqueue(on, "list")
    name, held = "worker-a", list[int]()

    def end() -> None:
        pids = [p.pid for p in until(lambda: on.pool(name), 30) or []]
        until(lambda: all(faults.in_hand(on, pid) for pid in pids), 30)
        held.extend(c for pid in pids if (c := faults.in_hand(on, pid)))
        begin = monotonic()
        code = on.remove(name)
        took = monotonic() - begin
        left = [c for pid in pids if (c := faults.in_hand(on, pid))]
        if left or code != 0 or not held:
            result.findings.append(f"SIGTERM: {held} in hand, left {left}, exit code {code}")
        result.facts["sigterm"] = {
            "in_hand": len(held),
            "left": len(left),
            "seconds": round(took, 1),
        }
        on.pace(0)

    state, progress = watched(on, job, end, plan.patience)
    account = draw_up(on, job, state, source, calm, progress)
    result.accounts.append(account)
    ((lost,),) = query(
        on,
        "SELECT count(*) FROM chunk WHERE id = ANY(:ids) AND (attempt > 1 OR lost > 0)",
        ids=held,
    )
    if lost:
        result.findings.append(f"SIGTERM: {lost} chunks had to be done again")
    say(f"SIGTERM: {result.facts.get('sigterm')}, job {state}: {account.faults or 'nothing wrong'}")


def throughput(on: Stack, plan: Plan, source: int, calm: int, result: Result) -> dict[str, float]:
    """Chunks a second in peace, and with a kill of a pool's process every 10 s."""
    forget_vectors(on)
    on.pace(plan.pace)
    job = enqueue(on, "list")
    rates: list[float] = []

    def rate(begin: float, end: float) -> float:
        with on.db.begin() as connection:
            return audit.done_between(connection, begin, end) / (end - begin)

    def during() -> None:
        sleep(5)
        begin = time()
        sleep(plan.throughput)
        rates.append(rate(begin, time()))
        begin = time()
        for number in range(round(plan.throughput / 10)):
            event = Event("kill pool", 0, number * 0.37 % 1)
            happening = faults.kill_pool(on, event)
            result.happenings.append(happening)
            sleep(max(0.0, begin + 10 * (number + 1) - time()))
        rates.append(rate(begin, time()))
        on.pace(0)

    state, progress = watched(on, job, during, plan.patience)
    result.accounts.append(draw_up(on, job, state, source, calm, progress))
    found = {
        "undisturbed_per_s": round(rates[0], 2),
        "a_kill_every_10_s_per_s": round(rates[1], 2),
        "ratio": round(rates[1] / rates[0], 3),
    }
    say(f"throughput: {found}; job {state}: {result.accounts[-1].faults or 'nothing wrong'}")
    return found
