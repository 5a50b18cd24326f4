"""The stage that gives each record a vector: every distinct text is encoded once."""

from collections.abc import Callable, Sequence

import numpy as np
import sqlalchemy as sa

from aparella.db import copy, faults, jobs, partitions, records, vectors
from aparella.db.chunks import Failed
from aparella.db.engine import statements
from aparella.db.leases import Claimed
from aparella.workers import pacing
from aparella.workers.context import Context, Outcome, Tick, Write

FIRST_CHUNK = 125
"""Texts in a chunk while no rate is known: a CPU encodes so many at a time as fast as 1,000."""


def plan(connection: sa.Connection, context: Context, chunk: Claimed) -> int:
    """Chunks of distinct texts without a vector; texts known from elsewhere are copied."""
    model_id, collection_id = chunk.params["model_id"], chunk.params["collection_id"]
    partitions.ensure_partition(connection, model_id, collection_id)
    skipped = vectors.count(connection, model_id, collection_id)
    reused = vectors.reuse(connection, model_id, collection_id)
    vectors.plan_missing(
        connection,
        model_id,
        collection_id,
        job_id=chunk.job_id,
        stage_id=chunk.stage_id,
        size=pacing.choose(
            connection,
            chunk,
            records.count(connection, collection_id) - skipped - reused,
            fixed=context.settings.embed_chunk,
            first=FIRST_CHUNK,
            most=10_000,
        ),
    )
    jobs.add_to_summary(
        connection, chunk.job_id, {"skipped_embeddings": skipped, "reused_embeddings": reused}
    )
    return skipped + reused


def work(context: Context, chunk: Claimed, tick: Tick) -> Write:
    """Encode the chunk's texts and give the vectors to all records that bear them."""
    store = encode(
        context, chunk.params["model_id"], chunk.params["collection_id"], chunk.items, tick
    )

    def write(connection: sa.Connection) -> Outcome:
        store(connection)
        return Outcome(size=len(chunk.items))

    return write


def encode(
    context: Context, model_id: int, collection_id: int, items: Sequence[int], tick: Tick
) -> Callable[[sa.Connection], None]:
    """Encode the texts of records; returns what stores the vectors, for all that bear them."""
    encoder = context.encoder(model_id)
    tick(0)
    with statements(context.db) as connection:
        texts = vectors.missing_texts(connection, model_id, items)
    encoded = encoder.encode([text.text for text in texts], tick)

    def store(connection: sa.Connection) -> None:
        bearers = np.repeat(np.arange(len(texts)), [len(text.record_ids) for text in texts])
        block = vectors.Block(
            ids=np.array([i for text in texts for i in text.record_ids], dtype=np.int64),
            hashes=copy.hashes([text.text_hash for text in texts])[bearers],
            vectors=encoded[bearers],
        )
        if len(block.ids):
            vectors.store(connection, model_id, collection_id, block)

    return store


def bury(connection: sa.Connection, chunk: Failed, code: str, message: str) -> None:
    """The records that bear the text have no vector, and so no matches."""
    faults.add_for_records(
        connection,
        chunk.items,
        job_id=chunk.job_id,
        stage_id=chunk.stage_id,
        code=code,
        message=f"its text could not be encoded: {message}",
        same_text=True,
    )
