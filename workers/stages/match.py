"""The stage that ranks catalogue records for each source record."""

import numpy as np
import sqlalchemy as sa

from aparella.db import faults, index, matches, vectors
from aparella.db.chunks import Claimed, Failed
from aparella.db.engine import transaction
from aparella.workers.context import Context, Outcome, Tick, Write
from aparella.workers.matching import top_k


def plan(connection: sa.Connection, context: Context, chunk: Claimed) -> int:
    """Chunks of source records that have no match in this job yet."""
    matches.plan(
        connection,
        chunk.params["source_id"],
        job_id=chunk.job_id,
        stage_id=chunk.stage_id,
        size=context.settings.match_chunk,
    )
    return 0


def work(context: Context, chunk: Claimed, tick: Tick) -> Write:
    """The k best of the catalogue for each of the chunk's records that has a vector."""
    model_id, collection_id = chunk.params["model_id"], chunk.params["collection_id"]
    k = chunk.params["k"]
    with transaction(context.db) as connection:
        source = vectors.load_some(connection, model_id, chunk.items)
        if chunk.params["search"] == "hnsw":
            found = index.nearest(connection, model_id, collection_id, source.ids.tolist(), k)
            ids, scores = index.as_arrays(found, source.ids, k)
    if chunk.params["search"] == "exact":
        catalogue = context.catalogue(model_id, collection_id, chunk.params["stamp"])
        tick(0)
        ids, scores = top_k(catalogue, source.vectors, k, exclude=source.ids)
    tick(len(source.ids))
    without = sorted(set(chunk.items) - set(source.ids.tolist()))

    def write(connection: sa.Connection) -> Outcome:
        present = ids >= 0
        places, columns = np.nonzero(present)
        matches.store(
            connection,
            chunk.job_id,
            source.ids[places],
            (columns + 1).astype(np.int16),
            ids[present],
            scores[present],
        )
        if without:
            faults.add_for_records(
                connection,
                without,
                job_id=chunk.job_id,
                stage_id=chunk.stage_id,
                code="no_vector",
                message="it has no vector: its text could not be encoded, or changed meanwhile",
            )
        return Outcome(size=len(chunk.items), failed=len(without))

    return write


def bury(connection: sa.Connection, chunk: Failed, code: str, message: str) -> None:
    """The record has no matches."""
    faults.add_for_records(
        connection,
        chunk.items,
        job_id=chunk.job_id,
        stage_id=chunk.stage_id,
        code=code,
        message=f"it could not be matched: {message}",
    )
