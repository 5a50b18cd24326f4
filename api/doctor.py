"""What an operator should know, and do: findings from facts. Pure functions."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from aparella.api.broker import Broker
from aparella.db import budget
from aparella.db.condition import Server, Work
from aparella.db.migrate import PGVECTOR
from aparella.db.queues import Depth
from aparella.db.workers import Worker, alive

Status = Literal["ok", "warning", "failed"]

SKEW_WARNING, SKEW_FAILED = 2.0, 30.0
"""Seconds. All times that matter are the database's, so a clock that is wrong costs no work; logs
and what users are shown go wrong with it, and tokens and certificates of other programs."""
CONNECTIONS_WARNING = 0.8
TRANSACTION_WARNING = 3_600.0
MEMORY_WARNING = 0.8
DISK_WARNING, DISK_FAILED = 5 << 30, 1 << 30
LEASE_PATIENCE = 60.0
"""Seconds after which an expired lease should have been settled: a dozen rounds."""
WAIT_WARNING = 600.0
"""Seconds for which a chunk may wait while workers of its queue are there."""
RECENT = 86_400.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `advice` says what to do unless all is well."""

    check: str
    status: Status
    finding: str
    advice: str | None = None


def no_database(reason: str) -> Finding:
    """The database did not answer the API."""
    return Finding(
        "database",
        "failed",
        f"it {reason}",
        "Look at the server of DATABASE_URL and its log, and at the API's log for the driver's "
        "words. Jobs wait meanwhile; nothing is lost.",
    )


def database(server: Server) -> Iterator[Finding]:
    """The server, its connections, and whatever holds it up."""
    share = f"{server.connections} of {server.connections_most} connections"
    sentence = f"PostgreSQL {server.version}, {share}, {_size(server.bytes)}"
    if server.read_only:
        yield Finding(
            "database",
            "failed",
            f"{sentence}; it is a read-only replica",
            "Set DATABASE_URL to the primary.",
        )
    elif server.connections > CONNECTIONS_WARNING * server.connections_most:
        yield Finding(
            "database",
            "warning",
            sentence,
            "Raise max_connections, run fewer worker processes (up to "
            f"{budget.PROCESS.most} connections each), or put a pooler in between.",
        )
    else:
        yield Finding("database", "ok", sentence)
    if server.oldest_transaction_seconds > TRANSACTION_WARNING:
        hours = server.oldest_transaction_seconds / 3_600
        yield Finding(
            "transactions",
            "warning",
            f"one has been open for {hours:.1f} h",
            "It keeps dead rows from being cleared away. Find it with SELECT pid, query FROM "
            "pg_stat_activity ORDER BY xact_start LIMIT 1, and end it with pg_terminate_backend.",
        )


def extensions(server: Server) -> Finding:
    """Those that the schema needs, and pgvector's version."""
    missing = [name for name, version in server.extensions.items() if version is None]
    if missing:
        return Finding(
            "extensions",
            "failed",
            f"{', '.join(missing)} not installed",
            "Run python -m aparella.db.migrate as a role that may create extensions.",
        )
    vector = server.extensions["vector"] or "0"
    sentence = ", ".join(f"{name} {version}" for name, version in server.extensions.items())
    if tuple(int(part) for part in re.findall(r"\d+", vector)[:3]) < PGVECTOR:
        return Finding(
            "extensions",
            "failed",
            sentence,
            f"Aparella needs pgvector {'.'.join(map(str, PGVECTOR))} or newer: install it, then "
            "ALTER EXTENSION vector UPDATE.",
        )
    return Finding("extensions", "ok", sentence)


def migrations(current: str | None, head: str | None) -> Finding:
    """Whether the schema is this version's."""
    if current == head:
        return Finding("migrations", "ok", f"at {head}, this version's")
    return Finding(
        "migrations",
        "failed",
        f"the database is at {current or 'none'}, this version's is {head}",
        "Run python -m aparella.db.migrate of the newest version that runs anywhere, then restart "
        "what is older.",
    )


def broker(found: Broker) -> Finding:
    """Redis: whether it answers, and keeps what it is given."""
    if found.problem is not None:
        return Finding(
            "redis",
            "failed",
            found.problem,
            "Start the server of REDIS_URL, or mend the URL. Jobs are taken meanwhile and start "
            "when it is back.",
        )
    sentence = f"maxmemory-policy {found.policy}, {_size(found.memory)} used"
    if found.policy != "noeviction":
        return Finding(
            "redis",
            "failed",
            sentence,
            "It may drop whole queues: redis-cli config set maxmemory-policy noeviction, and in "
            "its configuration file.",
        )
    if found.memory_most and found.memory > MEMORY_WARNING * found.memory_most:
        return Finding(
            "redis",
            "warning",
            f"{sentence} of {_size(found.memory_most)}",
            "Something else fills it, since hints take kilobytes: give Aparella a Redis of its own "
            "or raise maxmemory.",
        )
    return Finding("redis", "ok", sentence)


def clocks(api_skew: float, workers: Sequence[Worker]) -> Finding:
    """How far the clocks of the API's host and of the workers' are from the database's."""
    skews = {"the API's host": api_skew} | {w.name: w.skew_seconds for w in workers}
    who, worst = max(skews.items(), key=lambda item: abs(item[1]))
    if abs(worst) <= SKEW_WARNING:
        return Finding("clocks", "ok", f"within {abs(worst):.1f} s of the database's")
    status: Status = "failed" if abs(worst) > SKEW_FAILED else "warning"
    way = "ahead of" if worst > 0 else "behind"
    return Finding(
        "clocks",
        status,
        f"{who} is {abs(worst):.1f} s {way} the database",
        "Let NTP (chrony, systemd-timesyncd) run on both hosts.",
    )


def reconciler(workers: Sequence[Worker], work: Work) -> Finding:
    """Whether one runs: nothing starts without."""
    there = alive(workers, "reconciler")
    if there:
        return Finding("reconciler", "ok", f"{len(there)} running")
    return Finding(
        "reconciler",
        "failed",
        f"none runs, and {work.open_jobs} jobs wait for one" if work.open_jobs else "none runs",
        "Start python -m aparella.workers.reconciler: only it sends work to the queues.",
    )


def fleet(workers: Sequence[Worker]) -> Finding:
    """Who works, and who vanished."""
    there = alive(workers)
    lost = [w for w in workers if not w.alive]
    processes = sum(worker.processes for worker in there)
    sentence = f"{len(there)} with {processes} processes"
    if not there:
        return Finding(
            "workers",
            "failed",
            "none runs",
            "Start python -m aparella.workers on some machine; it needs DATABASE_URL, REDIS_URL "
            "and APARELLA_ARTIFACTS.",
        )
    if lost:
        names = ", ".join(sorted({worker.name for worker in lost}))
        return Finding(
            "workers",
            "warning",
            f"{sentence}; {names} vanished without a word within the last hour",
            "Look for what killed it (its host's log, memory limits). Its chunks went to others.",
        )
    return Finding("workers", "ok", sentence)


def queues(
    names: Sequence[str],
    depths: Sequence[Depth],
    oldest: Mapping[str, float],
    paused: Sequence[str],
    lengths: Mapping[str, int],
    workers: Sequence[Worker],
) -> Iterator[Finding]:
    """For each queue what waits, and whether anybody takes it.

    Args:
        names: of the queues.
        depths: what the database holds.
        oldest: seconds for which something could have been taken up.
        paused: queues that rest.
        lengths: messages in Redis.
        workers: that report themselves.
    """
    taking = {q for worker in alive(workers) if not worker.draining for q in worker.queues}
    for name in names:
        own = [depth for depth in depths if depth.queue == name]
        waiting, leased = sum(d.waiting for d in own), sum(d.leased for d in own)
        resting = sum(d.paused for d in own)
        sentence = f"{waiting} waiting, {leased} in work, {lengths.get(name, 0)} hints in Redis"
        sentence += f", {resting} paused" if resting else ""
        check = f"queue {name}"
        if name in paused:
            advice = f"Let it go on with `aparella queue resume {name}`."
            yield Finding(check, "warning", f"paused; {sentence}", advice)
        elif waiting and name not in taking:
            yield Finding(
                check,
                "failed",
                f"{sentence}, and no worker takes from it",
                f"Start python -m aparella.workers --queues {name}, or `aparella worker resume` "
                "one that was drained.",
            )
        elif oldest.get(name, 0.0) > WAIT_WARNING:
            yield Finding(
                check,
                "warning",
                f"{sentence}, the first for {oldest[name] / 60:.0f} min",
                "Its workers do not keep up: start more, or see in `aparella workers` what they "
                "are at.",
            )
        else:
            yield Finding(check, "ok", sentence)


def leases(work: Work) -> Finding:
    """Chunks in hand that nobody works on."""
    if work.expired:
        return Finding(
            "leases",
            "failed",
            f"{work.expired} ran out over a minute ago and were not settled",
            "The reconciler does that: see that one runs and reaches the database; its log says "
            "what keeps it.",
        )
    if work.idle:
        return Finding(
            "leases",
            "warning",
            f"{work.idle} chunks in hand have made no progress for 5 min",
            "Wait: a worker that hangs ends itself after APARELLA_PROGRESS_SECONDS (600), and its "
            "chunk goes to another.",
        )
    return Finding("leases", "ok", "none is stuck")


def dead(work: Work) -> Finding:
    """Chunks that were given up."""
    if not work.dead:
        return Finding("dead chunks", "ok", "none in the jobs of the last day")
    jobs = ", ".join(str(job) for job in list(work.dead)[:5])
    number = sum(work.dead.values())
    noun = "chunk was" if number == 1 else "chunks were"
    return Finding(
        "dead chunks",
        "warning",
        f"{number} {noun} given up, in jobs {jobs}{' …' if len(work.dead) > 5 else ''}",
        f"Read why with `aparella job errors {next(iter(work.dead))}`, mend it, and try those "
        "again alone with `aparella job retry`.",
    )


def disk(free: Mapping[str, int]) -> Finding:
    """Room where artifacts are kept and on the workers' hosts. The database's disk shows nowhere.

    Args:
        free: bytes, by place.
    """
    if not free:
        return Finding("disk", "ok", "nothing is kept on the API's host, and no worker reports")
    place, least = min(free.items(), key=lambda item: item[1])
    sentence = f"{_size(least)} free at {place}"
    if least >= DISK_WARNING:
        return Finding("disk", "ok", sentence)
    return Finding(
        "disk",
        "failed" if least < DISK_FAILED else "warning",
        sentence,
        "Make room, or move APARELLA_ARTIFACTS or the cache there (XDG_CACHE_HOME) to a larger "
        "disk; `aparella model retire` frees old models.",
    )


def _size(octets: int) -> str:
    """`1.4 GiB`."""
    number, units = float(octets), ("B", "KiB", "MiB", "GiB")
    for unit in units:
        if number < 1024 or unit == units[-1]:
            break
        number /= 1024
    return f"{number:,.0f} {unit}" if unit == "B" else f"{number:,.1f} {unit}"
