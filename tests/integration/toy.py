"""A kind of stage for tests of the engine: each item's work is one row in a table.

The table has no unique key on purpose: work that is done twice shows, and is not prevented.
"""

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from aparella.db import chunks, jobs
from aparella.db.chunks import Failed
from aparella.db.engine import transaction
from aparella.db.jobs import NewStage
from aparella.db.leases import Claimed
from aparella.errors import RecordError
from aparella.workers.context import Context, Outcome, Tick, Write
from aparella.workers.stages import HANDLERS

CREATE = sa.text("""
    CREATE TABLE effect (job_id bigint, stage_id bigint, chunk_id bigint, token bigint, item bigint)
""")
_MISSING = sa.text("""
    SELECT item FROM generate_series(1, :items) item
    WHERE NOT EXISTS (SELECT FROM effect e WHERE e.stage_id = :stage AND e.item = item.item)
    ORDER BY 1
""")
_WRITE = sa.text("""
    INSERT INTO effect (job_id, stage_id, chunk_id, token, item)
    SELECT :job, :stage, :chunk, :token, unnest(CAST(:items AS bigint[]))
""")
_BURY = sa.text("""
    INSERT INTO job_error (job_id, stage_id, row, code, message)
    SELECT :job, :stage, unnest(CAST(:items AS bigint[])), :code, :message
""")


@dataclass
class ToyStage:
    """A handler. `poison` holds (job, item) whose work raises."""

    poison: set[tuple[int, int]] = field(default_factory=set)

    def plan(self, connection: sa.Connection, _context: Context, chunk: Claimed) -> int:
        """Chunks of `size` of the items 1 to `items` that have no effect yet."""
        values = {"items": chunk.params["items"], "stage": chunk.stage_id}
        missing = list(connection.execute(_MISSING, values).scalars())
        for start in range(0, len(missing), chunk.params["size"]):
            part = missing[start : start + chunk.params["size"]]
            chunks.add(
                connection,
                job_id=chunk.job_id,
                stage_id=chunk.stage_id,
                kind="work",
                items=part,
                size=len(part),
            )
        return 0

    def work(self, _context: Context, chunk: Claimed, tick: Tick) -> Write:
        """Nothing to compute; `write` leaves a row for each item."""
        tick(0)
        bad = sorted(item for item in chunk.items if (chunk.job_id, item) in self.poison)
        if bad:
            raise RecordError(f"poison among the items {bad}")

        def write(connection: sa.Connection) -> Outcome:
            values = {
                "job": chunk.job_id,
                "stage": chunk.stage_id,
                "chunk": chunk.id,
                "token": chunk.lease_token,
                "items": chunk.items,
            }
            connection.execute(_WRITE, values)
            return Outcome(size=len(chunk.items))

        return write

    def bury(self, connection: sa.Connection, chunk: Failed, code: str, message: str) -> None:
        """List the items as the job's errors."""
        values = {
            "job": chunk.job_id,
            "stage": chunk.stage_id,
            "items": chunk.items,
            "code": code,
            "message": message,
        }
        connection.execute(_BURY, values)


def install(context: Context, monkeypatch: pytest.MonkeyPatch, stage: ToyStage) -> None:
    """Make the engine know this kind of stage, and create its table."""
    monkeypatch.setitem(HANDLERS, "toy", stage)
    with transaction(context.db) as connection:
        connection.execute(CREATE)


def enqueue(db: sa.Engine, *, items: int, size: int, stages: int = 1, queue: str = "match") -> int:
    """Enqueue a job of so many stages, each with the items 1 to `items`; returns its id."""
    params = {"items": items, "size": size}
    plan = [NewStage(f"toy {n}", "toy", queue, params) for n in range(stages)]
    with transaction(db) as connection:
        return jobs.create(connection, kind="toy", params={}, plan=plan, model_id=None)[0]


def effects(db: sa.Engine, job_id: int) -> list[int]:
    """The items of a job that have an effect, as often as they have one, in order."""
    query = sa.text("SELECT item FROM effect WHERE job_id = :job ORDER BY item")
    with transaction(db) as connection:
        return list(connection.execute(query, {"job": job_id}).scalars())


def chunk_ids(db: sa.Engine, job_id: int, *states: str) -> list[int]:
    """Ids of a job's chunks in one of these states (of all, if none is named), in order."""
    query = sa.text(
        "SELECT id FROM chunk WHERE job_id = :job AND (:any OR state = ANY(:states)) ORDER BY id"
    )
    values = {"job": job_id, "any": not states, "states": list(states)}
    with transaction(db) as connection:
        return list(connection.execute(query, values).scalars())


def execute(db: sa.Engine, statement: str, **values: object) -> list[sa.Row[Any]]:
    """Run one statement in a transaction of its own; its rows, if it has any."""
    with transaction(db) as connection:
        result = connection.execute(sa.text(statement), values)
        return list(result.all()) if result.returns_rows else []


def expire(db: sa.Engine, ids: Iterable[int]) -> None:
    """Let the leases of these chunks run out."""
    execute(
        db,
        "UPDATE chunk SET lease_until = now() - interval '1 s' "
        "WHERE id = ANY(:ids) AND state = 'leased'",
        ids=list(ids),
    )


def pass_time(db: sa.Engine) -> None:
    """Let the waits of all ready chunks, and the patience with sent messages, be over."""
    execute(
        db,
        "UPDATE chunk SET available_at = least(available_at, now()), "
        "sent_at = sent_at - interval '1 hour' WHERE state = 'ready'",
    )


def take_messages(broker: redis.Redis, *queues: str, most: int = 1_000) -> list[int]:
    """Take messages out of the queues, as workers do; the ids of the chunks that they name."""
    ids = []
    for queue in queues:
        messages: Any = broker.rpop(queue, most)
        for message in messages or []:
            arguments, _, _ = json.loads(base64.b64decode(json.loads(message)["body"]))
            ids.append(int(arguments[0]))
    return ids
