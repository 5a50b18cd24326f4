"""What weighing all evidence costs: a whole match job with fusion against one by vectors alone."""

import os

from bench._pairs import Figure, compare
from bench._services import stack, workers
from bench.overhead import PROCESSES, imported, matched, texts, warm

SOURCES = 4_000
TARGETS = 2_000
PAIRS = int(os.environ.get("BENCH_PAIRS", "3"))


def run() -> list[Figure]:
    """Lines a second of both, in pairs, encoding included; imports and model loading are not."""
    edition = 0
    with stack() as on, workers(on, PROCESSES):
        warm(on)

        def rate(scoring: str) -> float:
            nonlocal edition
            edition += 1
            imported(on, f"list{edition}", texts("list.csv", SOURCES, edition))
            imported(on, f"catalogue{edition}", texts("catalogue.csv", TARGETS, edition))
            seconds, _ = matched(on, f"list{edition}", f"catalogue{edition}", scoring=scoring)
            return SOURCES / seconds

        return [
            compare(
                f"match: {SOURCES:,} x {TARGETS:,} with fusion : by vectors alone",
                lambda: rate("fused"),
                lambda: rate("cosine"),
                unit="lines/s",
                pairs=PAIRS,
                target=0.7,
            )
        ]
