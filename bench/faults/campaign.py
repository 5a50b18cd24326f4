"""A campaign: an undisturbed run, the storm, poison, a clean end, and the ledger of it all."""

import csv
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic, sleep, strftime, time
from typing import Any

import sqlalchemy as sa

from aparella.errors import AparellaError
from bench.faults import audit, faults, journal, ledger, network, poison, servers, surroundings
from bench.faults.faults import Strike, query
from bench.faults.journal import Happening
from bench.faults.ledger import Account
from bench.faults.processes import K, Stack, poison_allowed, stack, until
from bench.faults.schedule import ALWAYS_REACHED, API_POINTS, FULL, SHORT, Event, draw
from bench.faults.watcher import Watcher


@dataclass(frozen=True)
class Plan:
    """How big a campaign is.

    Attributes:
        lines: rows of the source; a chunk has four.
        records: rows of the catalogue.
        counts: faults by kind.
        pauses: seconds between two, least and most.
        pace: seconds that a chunk takes longer during the storm.
        processes: of each worker.
        poisons: the kinds of poison.
        throughput: seconds of each of the two measurements; 0: none.
        surroundings: whether a host of its own and a small disk are tried.
        freeze: seconds that Redis is frozen.
        patience: seconds that a job may take to end after the last fault.
    """

    lines: int
    records: int
    counts: Mapping[str, int]
    pauses: tuple[float, float]
    pace: float
    processes: Mapping[str, int]
    poisons: tuple[str, ...]
    throughput: float
    surroundings: bool
    freeze: float
    patience: float


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
    patience=600.0,
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


@dataclass
class Result:
    """What came of a campaign."""

    happenings: list[Happening] = field(default_factory=list)
    accounts: list[Account] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    """What is wrong besides the ledger."""
    facts: dict[str, Any] = field(default_factory=dict)


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


def say(words: str) -> None:
    """Show how far it is."""
    print(f"  {strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


def imported(on: Stack, name: str, texts: list[str]) -> int:
    """Import a collection; its id."""
    path = on.folder / f"{name}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["id", "text"])
        out.writerows((f"{name}{i}", text) for i, text in enumerate(texts))
    with on.client() as client:
        job = client.wait(client.import_file(name, path, key="id", text=["text"]).id)
    if job.state != "succeeded":
        raise RuntimeError(f"the import of {name} {job.state}: {job.error}")
    ((number,),) = query(on, "SELECT id FROM collection WHERE name = :name", name=name)
    return int(number)


def forget_vectors(on: Stack) -> None:
    """So that the next job encodes everything again."""
    with on.db.begin() as connection:
        connection.execute(sa.text("TRUNCATE embedding"))


def enqueue(on: Stack, source: str) -> int:
    """Start a match job, however often the API has to be asked."""

    def ask() -> int | None:
        try:
            with on.client() as client:
                return client.match(source, "catalogue", k=K, idempotency_key=key).id
        except AparellaError:
            return None

    key = f"{source} {time()}"
    job = until(ask, 60)
    if job is None:
        raise RuntimeError("the API takes no job")
    return job


def ended(on: Stack, job: int, seconds: float) -> str | None:
    """The state in which a job ends; None if it does not in time."""
    query_ = "SELECT state FROM job WHERE id = :id AND finished_at IS NOT NULL"
    rows = until(lambda: query(on, query_, id=job), seconds, every=0.2)
    return str(rows[0].state) if rows else None


def watched(
    on: Stack, job: int, during: Callable[[], None], seconds: float
) -> tuple[str | None, list[str]]:
    """Do something while a client watches a job, and wait for its end."""
    watcher = Watcher(on.api_url, job)
    watcher.start()
    try:
        during()
        state = ended(on, job, seconds)
        sleep(0.6)
    finally:
        watcher.stop()
    return state, watcher.trouble(state)


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


def draw_up(
    on: Stack,
    job: int,
    state: str | None,
    source: int,
    calm: int,
    progress: list[str],
    deadly: Mapping[int, str] | None = None,
) -> Account:
    """The account of a job."""
    with on.db.begin() as connection:
        connection.execute(sa.text("SET LOCAL work_mem = '64MB'"))
        return ledger.account(
            connection,
            job,
            state=state,
            source=source,
            k=K,
            calm=calm,
            progress=progress,
            poisoned=deadly,
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
