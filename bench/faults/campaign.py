"""A campaign: an undisturbed run, the storm, poison, a clean end, and the ledger of it all."""

from collections import Counter
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from time import monotonic, sleep

from bench.faults import faults, journal, network, poison, servers, surroundings
from bench.faults.faults import Strike, query
from bench.faults.journal import Happening
from bench.faults.phases import clean_end, poisoned, throughput
from bench.faults.processes import K, Stack, poison_allowed
from bench.faults.schedule import ALWAYS_REACHED, API_POINTS, FULL, SHORT, Event, draw
from bench.faults.standing import stack
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

FULL_PLAN = Plan(
    lines=20_000,
    records=400,
    counts=FULL,
    pauses=(0.2, 3.0),
    pace=0.3,
    processes={"worker-a": 2, "worker-b": 2},
    poisons=poison.KINDS,
    throughput=100.0,
    surroundings=True,
    freeze=servers.FREEZE,
    patience=900.0,
)
SHORT_PLAN = Plan(
    lines=600,
    records=80,
    counts=SHORT,
    pauses=(0.0, 0.5),
    pace=0.25,
    processes={"worker-a": 2, "worker-b": 1},
    poisons=("POISONRAISE",),
    throughput=0.0,
    surroundings=False,
    freeze=servers.SHORT_FREEZE,
    patience=60.0,
)


def strikes(plan: Plan) -> dict[str, Strike]:
    """What does each kind of fault."""
    found: dict[str, Strike] = {
        "kill pool": faults.kill_pool,
        "kill parent": faults.kill_parent,
        "kill reconciler": faults.kill_process("reconciler", "reconciler-2"),
        "kill api": faults.kill_process("api"),
        "redis kill": servers.redis_kill,
        "redis flush": servers.redis_flush,
        "redis freeze": partial(servers.redis_freeze, plan.freeze),
        "redis other run id": servers.redis_other_run,
        "redis evicts": servers.redis_evicts,
        "postgres restart": servers.postgres_restart,
        "postgres kill backend": servers.postgres_kill_backend,
        "postgres kill": servers.postgres_kill,
        "postgres cut mid-transaction": servers.postgres_cut,
        "postgres swallow answers": servers.postgres_swallow,
        "postgres full disk": servers.postgres_full_disk,
        "postgres statement timeout": servers.postgres_statement_timeout,
        "postgres deadlock": servers.postgres_deadlock,
        "link down": network.link_down,
        "network delay": network.delay,
        "network reset": network.reset,
        "network half-open": network.half_open,
        "network black hole": network.black_hole,
        "queue duplicates": network.duplicates,
        "queue reorders": network.reorders,
        "queue corrupt": network.corrupt,
        "queue unknown": network.unknown,
    }
    every = (*ALWAYS_REACHED, "fanned-in", "settled", "marked", "sent", "between", *API_POINTS)
    found |= {f"kill at {point}": faults.kill_at(point) for point in every}
    return found | {f"zombie at {p}": faults.zombie_at(p) for p in ("worked", "fenced", "written")}


def run(plan: Plan, seed: int, keep: Path) -> Result:
    """Run a campaign.

    Args:
        plan: how big.
        seed: of the schedule.
        keep: folder for the logs.
    """
    result = Result()
    with ExitStack() as opened:
        on = opened.enter_context(stack(plan.processes, keep=keep))
        if plan.surroundings:
            result.facts |= surroundings.prepare(on, opened)
        list_, calm = undisturbed(on, plan, result)
        if plan.throughput:
            result.facts["throughput"] = throughput(on, plan, list_, calm, result)
        storm(on, plan, draw(seed, plan.counts, plan.pauses), list_, calm, result)
        poisoned(on, plan, result)
        clean_end(on, plan, list_, calm, result)
        with on.db.begin() as connection:
            journal.settle(connection, result.happenings, [a.job for a in result.accounts])
        unplanned = {
            name: on.deaths[name] - on.planned[name]
            for name in on.deaths
            if on.deaths[name] > on.planned[name] and name not in ("postgres", "valkey")
        }
        result.facts["deaths_of_their_own"] = unplanned
        result.facts["deaths"] = dict(on.deaths)
    return result


def undisturbed(on: Stack, plan: Plan, result: Result) -> tuple[int, int]:
    """Import, and match once in peace; the source's id and the job's."""
    on.pace(0)
    poison_allowed(on, yes=False)
    imported(on, "tiny", ["XERINGA"])
    imported(on, "catalogue", [f"CATALEG AGULLA {i} G" for i in range(plan.records)])
    source = imported(on, "list", [f"LLISTA XERINGA {i} ML" for i in range(plan.lines)])
    forget_vectors(on)
    begin = monotonic()
    calm = enqueue(on, "list")
    state = ended(on, calm, 1_200)
    if state != "succeeded":
        raise RuntimeError(f"the undisturbed job ended as {state}")
    ((rows, chunks),) = query(
        on,
        "SELECT (SELECT count(*) FROM match WHERE job_id = :id), "
        "(SELECT count(*) FROM chunk WHERE job_id = :id)",
        id=calm,
    )
    if rows != plan.lines * K:
        raise RuntimeError(f"the undisturbed job has {rows} matches")
    took = monotonic() - begin
    result.facts["undisturbed"] = {"chunks": chunks, "matches": rows, "seconds": round(took, 1)}
    say(f"undisturbed: {chunks:,} chunks in {took:.0f} s")
    return source, calm


def storm(
    on: Stack, plan: Plan, events: list[Event], source: int, calm: int, result: Result
) -> None:
    """All events, upon one match job after the other; then peace until the last one ends."""
    does, jobs = strikes(plan), 0
    left = list(events)
    while left:
        forget_vectors(on)
        on.pace(plan.pace)
        job, jobs = enqueue(on, "list"), jobs + 1

        def during(job: int = job) -> None:
            while left and not query(
                on, "SELECT 1 FROM job WHERE id = :id AND finished_at IS NOT NULL", id=job
            ):
                event = left.pop(0)
                sleep(event.after)
                happening = does[event.kind](on, event)
                result.happenings.append(happening)
                say(f"{len(events) - len(left)}/{len(events)} {_line(happening)}")
            if not left:
                on.pace(0)

        state, progress = watched(on, job, during, plan.patience)
        result.accounts.append(draw_up(on, job, state, source, calm, progress))
        say(f"job {job} {state}: {result.accounts[-1].faults or 'nothing wrong'}")
        if state is None:
            break
    result.facts["not_begun"] = dict(Counter(event.kind for event in left))


def _line(happening: Happening) -> str:
    words = [happening.kind]
    if happening.chunk:
        words.append(f"chunk {happening.chunk}")
    if happening.over > happening.at:
        words.append(f"{happening.over - happening.at:.1f} s")
    if happening.note:
        words.append(happening.note)
    if happening.missed:
        words.append(f"MISSED: {happening.missed}")
    return ", ".join(words)
