"""A hundred jobs of very different sizes at once: how long one of a single line takes to end.

`BENCH_BIG` (10,000) is the number of chunks of the biggest, which is there before the others.
"""

import os
import sys
import time
from statistics import median

import sqlalchemy as sa
from fastapi.testclient import TestClient

from aparella.api.app import create_app
from aparella.db.engine import transaction
from bench._pairs import Figure
from bench._services import Stack, finished, stack, variables, workers
from bench.backlog import fill, number

BIG = int(os.environ.get("BENCH_BIG", "10000"))
JOBS = 100
SINGLE = 5
"""Jobs of one line among them."""
LONGEST = 10.0
"""Seconds within which such a one is to end."""


def run() -> list[Figure]:
    """Seconds from asking for a job of one line until it has ended."""
    # One record a chunk: as many chunks as records, and what counts is whose turn it is.
    with variables(APARELLA_ENCODER="hash", APARELLA_EMBED_CHUNK="1"), stack() as on:
        sizes = [1 if i < SINGLE else 1 + i * i // 20 for i in range(JOBS - 1)]
        for place, rows in enumerate(sizes):
            fill(on.db, rows, name=f"list{place}")
        fill(on.db, BIG, name="big")
        settings = on.settings.model_copy(update={"anonymous": True})
        with TestClient(create_app(settings)) as api, workers(on, 2):
            big = embed(api, "big")
            while number(on.db, big) <= BIG:
                time.sleep(0.1)
            begin = time.perf_counter()
            # The biggest first: the single lines have everybody before them.
            asked = {place: embed(api, f"list{place}") for place in reversed(range(len(sizes)))}
            took = []
            for place in range(SINGLE):
                finished(on.db, asked[place])
                took.append(time.perf_counter() - begin)
            left = number_open(on, big)
            api.post(f"/v1/jobs/{big}/cancel").raise_for_status()
    print(
        f"bench: {SINGLE} jobs of one line ended within {max(took):.1f} s of asking for {JOBS - 1} "
        f"jobs; the big one had {left:,} of {BIG:,} chunks before it",
        file=sys.stderr,
    )
    return [
        Figure(
            *(f"turns: a line's job behind {BIG:,} chunks : the target", median(took), LONGEST),
            *("s", [one / LONGEST for one in took], 1.0, False),
        )
    ]


def embed(api: TestClient, collection: str) -> int:
    """Ask for a collection's vectors; the job's id."""
    answer = api.post("/v1/jobs", json={"kind": "embed", "collection": collection})
    return int(answer.raise_for_status().json()["id"])


def number_open(on: Stack, job_id: int) -> int:
    """How many of a job's chunks are still to be done."""
    query = sa.text("SELECT count(*) FROM chunk WHERE job_id = :job AND state = 'ready'")
    with transaction(on.db) as connection:
        return int(connection.execute(query, {"job": job_id}).scalar_one())
