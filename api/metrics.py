"""Aparella's figures in Prometheus's words. All names begin with `aparella_`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from aparella.api.broker import Broker
from aparella.db.queues import Depth
from aparella.db.workers import Worker, alive
from aparella.workers.contracts import STAGES
from aparella.workers.figures import BUCKETS, total

STATES = (
    *("queued", "running", "paused", "cancelling"),
    *("succeeded", "succeeded_with_errors", "failed", "cancelled"),
)
ENCODING = ("embed", "texts")
"""Kinds of stages whose items are texts that are encoded."""


@dataclass(frozen=True)
class Facts:
    """What there is to tell.

    Attributes:
        queues: names of all.
        depths: chunks by queue and kind of stage.
        oldest: seconds by queue.
        jobs: numbers by state.
        workers: that report themselves.
        figures: what each process has counted.
        broker: Redis, as it was found.
    """

    queues: Sequence[str]
    depths: Sequence[Depth]
    oldest: dict[str, float]
    jobs: dict[str, int]
    workers: Sequence[Worker]
    figures: Sequence[dict[str, Any]]
    broker: Broker


class Collector:
    """Gives the figures to a registry of `prometheus_client`."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def collect(self) -> Iterator[Metric]:
        """All families."""
        yield from self._queues()
        yield from self._jobs()
        yield from self._workers()
        yield from self._counted()

    def _queues(self) -> Iterator[Metric]:
        facts = self._facts
        waiting = _gauge("chunks_waiting", "Chunks that may be taken up", "queue", "stage")
        paused = _gauge("chunks_paused", "Chunks of paused jobs and queues", "queue", "stage")
        found = {(depth.queue, depth.handler): depth for depth in facts.depths}
        # A series that is there at zero can be scaled and alerted on; one that is missing cannot.
        known = [(queue, stage) for queue in facts.queues for stage in STAGES[queue]]
        for queue, stage in dict.fromkeys([*known, *found]):
            depth = found.get((queue, stage), Depth(queue, stage, 0, 0, 0))
            waiting.add_metric([queue, stage], depth.waiting)
            paused.add_metric([queue, stage], depth.paused)
        leased = _gauge("chunks_leased", "Chunks in some worker's hands", "queue")
        oldest = _gauge("oldest_waiting_seconds", "Since when a chunk could be taken up", "queue")
        for queue in facts.queues:
            leased.add_metric([queue], sum(d.leased for d in facts.depths if d.queue == queue))
            oldest.add_metric([queue], facts.oldest.get(queue, 0.0))
        up = _gauge("broker_up", "Whether Redis answers")
        up.add_metric([], float(facts.broker.problem is None))
        length = _gauge("broker_queue_length", "Hints in Redis, which sends few ahead", "queue")
        for queue, number in facts.broker.lengths.items():
            length.add_metric([queue], number)
        yield from (waiting, paused, leased, oldest, up, length)

    def _jobs(self) -> Iterator[Metric]:
        jobs = _gauge("jobs", "Jobs in this state", "state")
        for state in STATES:
            jobs.add_metric([state], self._facts.jobs.get(state, 0))
        yield jobs

    def _workers(self) -> Iterator[Metric]:
        there = alive(self._facts.workers)
        number = _gauge("workers_alive", "Workers that report themselves", "queue")
        processes = _gauge("worker_processes", "Processes that take from the queue", "queue")
        for queue in self._facts.queues:
            own = [w for w in there if queue in w.queues and not w.draining]
            number.add_metric([queue], len(own))
            processes.add_metric([queue], sum(worker.processes for worker in own))
        reconcilers = _gauge("reconcilers_alive", "Reconcilers that report themselves")
        reconcilers.add_metric([], len(alive(self._facts.workers, "reconciler")))
        texts = _gauge("worker_texts_per_second", "Texts encoded in the last minute", "worker")
        memory = _gauge("worker_memory_bytes", "Resident memory, with its processes", "worker")
        skew = _gauge("worker_clock_skew_seconds", "Its clock minus the database's", "worker")
        sums: dict[str, list[float]] = {}
        for worker in there:
            rate = sum(one.get(kind, 0.0) for one in worker.rates for kind in ENCODING)
            own_sums = sums.setdefault(worker.name, [0.0, 0.0, 0.0])
            own_sums[0] += rate
            own_sums[1] += worker.memory_bytes
            own_sums[2] = worker.skew_seconds
        for name, (rate, octets, seconds) in sums.items():
            texts.add_metric([name], rate)
            memory.add_metric([name], octets)
            skew.add_metric([name], seconds)
        yield from (number, processes, reconcilers, texts, memory, skew)

    def _counted(self) -> Iterator[Metric]:
        counted = total(self._facts.figures)
        seconds = HistogramMetricFamily(
            "aparella_worker_chunk_seconds",
            "From the claim of a chunk to its commit",
            labels=["stage"],
        )
        items = _counter("worker_items", "Items of chunks that were done", "stage")
        for handler, one in sorted(counted.get("chunks", {}).items()):
            seconds.add_metric([handler], _buckets(one["buckets"]), one["seconds"])
            items.add_metric([handler], one["items"])
        yield from (seconds, items)
        for name, key, words in (
            ("leases_expired", "expired", "Leases that ran out because a worker vanished or hung"),
            ("chunk_retries", "retries", "Attempts at chunks that were put back to try again"),
            ("chunks_dead", "dead", "Chunks that were given up"),
        ):
            family = _counter(name, words)
            family.add_metric([], counted.get(key, 0))
            yield family
        batches = counted.get("batches", {})
        tokens = _counter("encoder_tokens", "Tokens of texts that were encoded")
        tokens.add_metric([], batches.get("tokens", 0))
        room = _counter("encoder_batch_tokens", "Tokens that the batches had room for")
        room.add_metric([], batches.get("room", 0))
        fill = _gauge("encoder_batch_fill_ratio", "Share of that room that was used, of all time")
        fill.add_metric([], batches["tokens"] / batches["room"] if batches.get("room") else 0.0)
        yield from (tokens, room, fill)


def _gauge(name: str, words: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"aparella_{name}", words, labels=labels)


def _counter(name: str, words: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"aparella_{name}", words, labels=labels)


def _buckets(counts: dict[str, int]) -> list[tuple[str, float]]:
    """Prometheus's buckets hold all below their bound, those of lower ones included."""
    result, below = [], 0
    for bound in BUCKETS:
        below += counts.get(f"{bound:g}", 0)
        result.append((f"{bound:g}", float(below)))
    return [*result, ("+Inf", float(below + counts.get("inf", 0)))]
