"""Whose turn it is: how long a job of one line takes to end behind a big one, and among a hundred.

`BENCH_BIG` (10,000) is the number of chunks of the biggest job, which is there before the others.
"""

import os
import sys
import time

import sqlalchemy as sa
from fastapi.testclient import TestClient

from aparella.api.app import create_app
from aparella.db.engine import transaction
from bench._pairs import Figure
from bench._services import finished, stack, variables, workers
from bench.backlog import fill, number

BIG = int(os.environ.get("BENCH_BIG", "10000"))
JOBS = 100
SINGLE = 5
"""Jobs of one line among them."""
SECONDS = 10.0
"""Within which such a one is to end."""


def run() -> list[Figure]:
    """Seconds from asking for a job of one line until it has ended."""
    # One record a chunk: as many chunks as records, and what counts is whose turn it is.
    with variables(APARELLA_ENCODER="hash", APARELLA_EMBED_CHUNK="1"), stack() as on:
        sizes = [1 if i < SINGLE else 1 + i * i // 20 for i in range(JOBS - 1)]
        for place, rows in enumerate(sizes):
            fill(on.db, rows, name=f"list{place}")
        fill(on.db, 1, name="alone")
        fill(on.db, BIG, name="big")
        settings = on.settings.model_copy(update={"anonymous": True})
        with TestClient(create_app(settings)) as api, workers(on, 2):
            big = embed(api, "big")
            while number(on.db, big) <= BIG:
                time.sleep(0.1)
            begin = time.perf_counter()
            finished(on.db, embed(api, "alone"))
            alone = time.perf_counter() - begin
            begin = time.perf_counter()
            # The biggest first: the single lines have everybody before them.
            asked = {place: embed(api, f"list{place}") for place in reversed(range(len(sizes)))}
            among = []
            for place in range(SINGLE):
                finished(on.db, asked[place])
                among.append(time.perf_counter() - begin)
            with transaction(on.db) as connection:
                query = "SELECT count(*) FROM chunk WHERE state = 'ready'"
                left = int(connection.execute(sa.text(query)).scalar_one())
    print(f"bench: {left:,} chunks of the others were left then", file=sys.stderr)
    return [
        figure(f"a job of one chunk behind {BIG:,}", [alone]),
        figure(f"one of one chunk among {JOBS}", among),
    ]


def figure(what: str, took: list[float]) -> Figure:
    """The longest of some times against the limit."""
    ratios = [one / SECONDS for one in took]
    name = f"turns: {what} : the target"
    return Figure(name, max(took), SECONDS, "s", ratios, 1.0, higher_is_better=False)


def embed(api: TestClient, collection: str) -> int:
    """Ask for a collection's vectors; the job's id."""
    answer = api.post("/v1/jobs", json={"kind": "embed", "collection": collection})
    return int(answer.raise_for_status().json()["id"])
