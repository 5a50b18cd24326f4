"""A review's next line: how long a reviewer waits in a job of many lines, half of them decided.

Beside what it costs the database to count the job's candidates: it may look at all decisions, and
must not look at each line anew. The statistics are those of an empty table, as after a bulk import.
"""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from aparella.db import review
from aparella.db.engine import transaction
from aparella.db.review import Reviewed
from bench._pairs import Figure
from bench._services import Stack, stack

LINES = int(os.environ.get("BENCH_ROWS", "100000"))
ROUNDS = 5
_FILL = (
    "INSERT INTO collection (name) VALUES ('list'), ('catalogue')",
    """
    INSERT INTO record (collection_id, key, text, text_hash, cleaner_version)
    SELECT side, n::text, 'XERINGA ' || n, decode(md5(side || '.' || n), 'hex'), 1
    FROM generate_series(1, 2) side, generate_series(1, :lines) n ORDER BY side, n
    """,
    "INSERT INTO job (kind, state, finished_at) VALUES ('match', 'succeeded', now())",
    """
    INSERT INTO match (job_id, source_id, rank, target_id, score)
    SELECT 1, s.id, rank, :lines + 1 + (s.id * 7 + rank) % :lines, 1 - rank * 0.001 * (s.id % 97)
    FROM record s, generate_series(1, 10) rank WHERE s.collection_id = 1 ORDER BY 2, 3
    """,
    "ANALYZE record, match",
)
_DECIDE = sa.text("""
    INSERT INTO decision (source_id, target_id, catalogue_id, verdict, source_hash, target_hash,
                          decided_by)
    SELECT s.id, t.id, 2, 'accept', s.text_hash, t.text_hash, 'anna'
    FROM review_line l JOIN match m ON m.source_id = l.source_id AND m.rank = 1
    JOIN record s ON s.id = m.source_id JOIN record t ON t.id = m.target_id
    WHERE l.place <= :lines / 2
""")


def run() -> list[Figure]:
    """Measure it."""
    reviewed = Reviewed(1, 1, 2, datetime(2020, 1, 1, tzinfo=UTC))
    with stack() as on:
        with transaction(on.db) as connection:
            for statement in _FILL:
                connection.execute(sa.text(statement), {"lines": LINES})
            review.build(connection, reviewed)
            connection.execute(_DECIDE, {"lines": LINES})

        def next_line(connection: sa.Connection) -> object:
            return review.lease(connection, reviewed, by="anna", order="uncertain", limit=1)

        def count(connection: sa.Connection) -> object:
            return connection.execute(sa.text("SELECT count(*) FROM match WHERE job_id = 1")).all()

        pairs = [(_seconds(on, next_line), _seconds(on, count)) for _ in range(ROUNDS)]
    ours, baseline = (sorted(side)[ROUNDS // 2] for side in zip(*pairs, strict=True))
    return [
        Figure(
            name=f"review: next of {LINES:,} lines, half decided / counting its candidates",
            ours=ours,
            baseline=baseline,
            unit="s",
            ratios=[one / other for one, other in pairs],
            target=20,
            higher_is_better=False,
        )
    ]


def _seconds(on: Stack, what: Callable[[sa.Connection], Any]) -> float:
    begin = time.perf_counter()
    with transaction(on.db) as connection:
        what(connection)
    return time.perf_counter() - begin
