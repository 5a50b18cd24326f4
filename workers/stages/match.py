"""The stage that ranks catalogue records for each source record."""

import numpy as np
import sqlalchemy as sa

from aparella.db import answers, faults, index, matches, records, vectors
from aparella.db.chunks import Failed
from aparella.db.engine import transaction
from aparella.db.leases import Claimed
from aparella.workers import pacing
from aparella.workers.context import Context, Outcome, Tick, Write
from aparella.workers.features.attributes import Attributes
from aparella.workers.fusion.candidates import DEPTH
from aparella.workers.fusion.search import Answers, search
from aparella.workers.matching import DECIMALS, Ids, Scores, top_k
from aparella.workers.stages.editions import again_if_moved

LARGEST_CHUNK = 2_000
"""Lines in a chunk: their evidence for all candidates is held at once."""
_NEAREST = 3 * DEPTH
"""Records asked for by their vectors, so that among them are `DEPTH` of different texts."""


def plan(connection: sa.Connection, context: Context, chunk: Claimed) -> int:
    """Chunks of source records that have no match in this job yet."""
    matches.plan(
        connection,
        chunk.params["source_id"],
        job_id=chunk.job_id,
        stage_id=chunk.stage_id,
        size=pacing.choose(
            connection,
            chunk,
            records.count(connection, chunk.params["source_id"]),
            fixed=context.settings.match_chunk,
            first=LARGEST_CHUNK,
            most=LARGEST_CHUNK,
        ),
    )
    return 0


def work(context: Context, chunk: Claimed, tick: Tick) -> Write:
    """The k best of the catalogue for each of the chunk's records that has a vector."""
    model_id = chunk.params["model_id"]
    k, fused = chunk.params["k"], chunk.params.get("fused", False)
    with transaction(context.db) as connection:
        source = vectors.load_some(connection, model_id, chunk.items)
    near = _nearest(context, chunk, source, max(k, _NEAREST) if fused else k, tick)
    found: Answers | None = None
    if fused:
        found = _fuse(context, chunk, source, near, tick)
    else:
        tick(len(source.ids))
    ids, scores = (found.ids, found.scores) if found else near
    without = sorted(set(chunk.items) - set(source.ids.tolist()))

    def write(connection: sa.Connection) -> Outcome:
        if (outcome := again_if_moved(connection, chunk)) is not None:
            return outcome
        places, columns = np.nonzero(ids >= 0)
        matches.store(
            connection,
            chunk.job_id,
            source.ids[places],
            (columns + 1).astype(np.int16),
            ids[places, columns],
            scores[places, columns],
            found.confidences[places, columns] if found else None,
        )
        if found:
            answers.store(
                connection,
                chunk.job_id,
                source.ids,
                found.explanations,
                _accepted(found, chunk.params.get("threshold")),
                found.contradicted.tolist(),
                found.floors,
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


def _nearest(
    context: Context, chunk: Claimed, source: vectors.Block, k: int, tick: Tick
) -> tuple[Ids, Scores]:
    """The k records whose vectors are nearest, (m, k) each."""
    model_id, collection_id = chunk.params["model_id"], chunk.params["collection_id"]
    if chunk.params["search"] == "hnsw":
        with transaction(context.db) as connection:
            found = index.nearest(connection, model_id, collection_id, source.ids.tolist(), k)
        return index.as_arrays(found, source.ids, k)
    catalogue = context.catalogue(model_id, collection_id, chunk.params["stamp"], tick)
    tick(0)
    return top_k(catalogue, source.vectors, k, exclude=source.ids)


def _fuse(
    context: Context,
    chunk: Claimed,
    source: vectors.Block,
    near: tuple[Ids, Scores],
    tick: Tick,
) -> Answers:
    model_id, collection_id = chunk.params["model_id"], chunk.params["collection_id"]
    shelf = context.shelf(collection_id, chunk.params["stamp"], tick)
    with transaction(context.db) as connection:
        texts = records.texts(connection, source.ids.tolist())
        own = records.attributes(connection, source.ids.tolist())

    def cosine(places: Ids, ids: Ids) -> Scores:
        wanted = np.unique(ids)
        if chunk.params["search"] == "exact":
            catalogue = context.catalogue(model_id, collection_id, chunk.params["stamp"], tick)
            known, matrix = catalogue.some(wanted)
        else:
            with transaction(context.db) as connection:
                block = vectors.load_some(connection, model_id, wanted.tolist())
            known, matrix = block.ids, block.vectors
        scores = np.full(len(ids), np.nan, dtype=np.float32)
        here = np.isin(ids, known)
        right = matrix[np.searchsorted(known, ids[here])].astype(np.float64)
        left = source.vectors[places[here]]
        scores[here] = np.einsum("ij,ij->i", left, right).round(DECIMALS)
        return scores

    def beside(places: Ids, ids: Ids) -> tuple[list[Attributes], list[Attributes]]:
        with transaction(context.db) as connection:
            known = records.attributes(connection, np.unique(ids).tolist())
        lines: list[Attributes] = [own.get(i, {}) for i in source.ids[places].tolist()]
        return lines, [known.get(i, {}) for i in ids.tolist()]

    fusion = context.fusion(model_id, tick)
    return search(
        *(shelf, fusion, texts, near, cosine, chunk.params["k"], source.ids, tick),
        beside=beside if own or fusion.categories.offsets else None,
    )


def _accepted(found: Answers, threshold: float | None) -> list[bool]:
    """Which first candidates are accepted unseen: sure enough, and no measure contradicts."""
    if threshold is None:
        return [False] * len(found.contradicted)
    sure = np.nan_to_num(found.confidences[:, 0]) >= np.float32(threshold)
    return [bool(one) for one in sure & ~found.contradicted]
