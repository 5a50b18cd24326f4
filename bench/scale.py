"""How the engine scales: efficiency with more workers, its chunk rate, one job on two cores.

The encoder that sleeps takes the cores out of the question: what is left is the engine's own work
in PostgreSQL, Redis, the reconciler and the workers, all on this machine.
"""

import os
import sys
from contextlib import ExitStack
from statistics import median
from time import monotonic, sleep

import redis
import sqlalchemy as sa

from aparella.db import jobs, models, records
from aparella.db.engine import transaction
from aparella.workers import pipelines
from aparella.workers.stages.embed import FIRST_CHUNK
from bench._pairs import Figure
from bench._services import Stack, finished, process, stack, variables, workers
from bench.overhead import imported, matched, texts

COUNTS = [int(n) for n in os.environ.get("BENCH_WORKERS", "1,2,4,8,16,32,64").split(",")]
CHUNK_SECONDS = 5.0
CHUNK_TEXTS = 100
ROUNDS = 4
"""Chunks that each process gets."""
SMALL = int(os.environ.get("BENCH_CHUNKS", "4000"))
"""Chunks of one text each, for the chunk rate."""
RATE_PROCESSES = 4
PAIRS = int(os.environ.get("BENCH_PAIRS", "3"))
SOURCES, TARGETS = int(os.environ.get("BENCH_ROWS", "3000")), 1_000
PARTS = os.environ.get("BENCH_PARTS", "efficiency,rate,cores").split(",")


def run() -> list[Figure]:
    """All three, or those of BENCH_PARTS."""
    parts = {"efficiency": efficiency, "rate": rate, "cores": cores}
    return [figure for name in PARTS for figure in parts[name]()]


def efficiency() -> list[Figure]:
    """Chunks of 5 s at so many processes, against so many times the rate of the first count."""
    with (
        variables(
            APARELLA_ENCODER=f"hash:{CHUNK_SECONDS / CHUNK_TEXTS}",
            APARELLA_EMBED_CHUNK=str(CHUNK_TEXTS),
        ),
        stack() as on,
    ):
        with workers(on, 1):
            for count in COUNTS:
                number = count * ROUNDS * CHUNK_TEXTS
                imported(on, f"list{count}", [f"{count} {n}" for n in range(number)])
        rates: dict[int, float] = {}
        for count in COUNTS:
            with workers(on, count):
                up(on, count)
                seconds = embedded(on, f"list{count}")
            rates[count] = count * ROUNDS / seconds
            say(f"{count} processes: {rates[count]:.2f} chunks/s")
    first = COUNTS[0]
    return [
        Figure(
            name=f"scale: {count} processes : {count} x one, chunks of 5 s",
            ours=rates[count],
            baseline=count / first * rates[first],
            unit="chunks/s",
            ratios=[rates[count] / (count / first * rates[first])],
            target=0.9,
        )
        for count in COUNTS[1:]
    ]


def rate() -> list[Figure]:
    """Chunks of one text that costs nothing, and a bare task that does nothing, in turn."""
    ours, bare = [], []
    with variables(APARELLA_ENCODER="hash", APARELLA_EMBED_CHUNK="1"), stack() as on:
        with workers(on, 1):
            for pair in range(PAIRS):
                imported(on, f"small{pair}", [f"{pair} {n}" for n in range(SMALL)])
        for pair in range(PAIRS):
            with workers(on, RATE_PROCESSES):
                up(on, RATE_PROCESSES)
                ours.append(SMALL / embedded(on, f"small{pair}"))
            bare.append(bare_rate(on))
            say(f"{ours[-1]:.0f} chunks/s, {bare[-1]:.0f} bare tasks/s")
    return [
        Figure(
            name="scale: chunks of the engine : 300, the target",
            ours=median(ours),
            baseline=300.0,
            unit="chunks/s",
            ratios=[one / 300.0 for one in ours],
            target=1.0,
        ),
        Figure(
            name="scale: chunks of the engine : bare Celery tasks",
            ours=median(ours),
            baseline=median(bare),
            unit="1/s",
            ratios=[one / other for one, other in zip(ours, bare, strict=True)],
            target=0.1,
        ),
    ]


def cores() -> list[Figure]:
    """One match job with the real model: a process on one core, and two on a core each."""
    speedups, seconds = [], []
    available = sorted(os.sched_getaffinity(0))[:2]
    with stack() as on:
        for pair in range(PAIRS):
            took = []
            for number in (1, 2):
                edition = 2 * pair + number
                with ExitStack() as started:
                    started.enter_context(process(on, "workers.reconciler"))
                    for core in available[:number]:
                        arguments = ("--concurrency", "1", "--name", f"core{core}")
                        started.enter_context(process(on, "workers", *arguments, cores=[core]))
                    up(on, number)
                    source = texts("list.csv", SOURCES, edition)
                    imported(on, f"list{edition}", source)
                    target = texts("catalogue.csv", TARGETS, edition)
                    imported(on, f"catalogue{edition}", target)
                    warm(on, edition)
                    took.append(matched(on, f"list{edition}", f"catalogue{edition}")[0])
            say(f"{took[0]:.1f} s on one core, {took[1]:.1f} s on two")
            speedups.append(took[0] / took[1])
            seconds.append(took)
    return [
        Figure(
            name=f"scale: match job of {SOURCES:,} x {TARGETS:,}, two cores : one",
            ours=1 / median(took[1] for took in seconds),
            baseline=1 / median(took[0] for took in seconds),
            unit="jobs/s",
            ratios=speedups,
            target=1.85,
        )
    ]


def embedded(on: Stack, name: str) -> float:
    """Seconds from the plan's end to the last chunk of embedding a collection."""
    with transaction(on.db) as connection:
        model = models.find_model(connection, None)
        collection_id = records.collection_id(connection, name)
        job_id, _ = jobs.create(
            connection,
            kind="embed",
            params={"collection": name},
            plan=pipelines.embed_stages(model.id, collection_id),
            model_id=model.id,
        )
    finished(on.db, job_id)
    query = sa.text("""
        SELECT extract(epoch FROM max(finished_at) FILTER (WHERE kind = 'work')
                                - max(finished_at) FILTER (WHERE kind = 'plan'))::float8
        FROM chunk WHERE job_id = :id
    """)
    with transaction(on.db) as connection:
        return float(connection.execute(query, {"id": job_id}).scalar_one())


def warm(on: Stack, edition: int) -> None:
    """Let every process load the model: texts that each of them gets some of."""
    name = f"warm{edition}"
    imported(on, name, [f"{edition} {n}" for n in range(6 * FIRST_CHUNK)])
    matched(on, name, name)


def up(on: Stack, count: int) -> None:
    """Wait until so many processes report themselves."""
    query = sa.text("""
        SELECT count(*) FROM worker_process p JOIN worker w ON w.id = p.worker_id
        WHERE w.kind = 'worker' AND w.stopped_at IS NULL
    """)
    deadline = monotonic() + 300
    while True:
        with transaction(on.db) as connection:
            if int(connection.execute(query).scalar_one()) >= count:
                return
        assert monotonic() < deadline, f"no {count} processes within 300 s"
        sleep(0.2)


def bare_rate(on: Stack) -> float:
    """Tasks a second of a worker with as many processes, whose task does nothing."""
    with (
        variables(BENCH_PROCESSES=str(RATE_PROCESSES), DATABASE_URL=on.settings.database_url),
        variables(REDIS_URL=on.settings.redis_url),
    ):
        from bench import _bare

        _bare.app.conf.broker_url = on.settings.redis_url
        with (
            redis.Redis.from_url(on.settings.redis_url) as server,
            process(on, "_bare", package="bench"),
        ):
            send(_bare.app, 200)
            drained(server)
            send(_bare.app, SMALL)
            start, left = monotonic(), int(server.llen(_bare.QUEUE))  # type: ignore[arg-type]
            drained(server)
            return left / (monotonic() - start)


def send(app: object, number: int) -> None:
    """Send tasks, all in one queue."""
    from bench import _bare

    with app.connection_for_write() as connection, connection.channel() as channel:  # type: ignore[attr-defined]
        producer = app.amqp.Producer(channel)  # type: ignore[attr-defined]
        for n in range(number):
            _bare.nothing.apply_async((n,), producer=producer, queue=_bare.QUEUE)


def drained(server: "redis.Redis") -> None:
    """Wait until the queue of bare tasks is empty."""
    deadline = monotonic() + 300
    while server.llen("bare"):
        assert monotonic() < deadline, "the bare tasks are not done within 300 s"
        sleep(0.01)


def say(words: str) -> None:
    """Show how far it is."""
    print(f"  {words}", file=sys.stderr, flush=True)
