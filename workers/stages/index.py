"""The stage that prepares the search: chooses exact or HNSW, builds the index, measures recall."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from aparella.db import changes, chunks, index, jobs, records, restarts, stages, vectors
from aparella.db.chunks import Failed
from aparella.db.engine import transaction
from aparella.db.leases import Claimed
from aparella.db.partitions import partition
from aparella.db.reporting import DEPTHS
from aparella.db.tables import DIMENSIONS
from aparella.workers import basis
from aparella.workers.context import Context, Outcome, Tick, Write, waiting
from aparella.workers.fusion.corpus import Corpus
from aparella.workers.matching import Catalogue, recall, top_k
from aparella.workers.planning import choose_search
from aparella.workers.ranking import merge

_SAMPLE = 200
"""Source records on which the recall is measured: a standard error of at most 0.004 at 0.99 with
k = 10."""
_TEXTS = 1_000
"""Catalogue texts by which the memory for all is estimated."""
_MIB = 1 << 20


def plan(connection: sa.Connection, _context: Context, chunk: Claimed) -> int:
    """One chunk: there is one index."""
    chunks.add_whole(connection, chunk)
    return 0


def work(context: Context, chunk: Claimed, tick: Tick) -> Write:
    """Choose the search for this catalogue, build its index if need be, and measure its recall."""
    model_id, collection_id = chunk.params["model_id"], chunk.params["collection_id"]
    source_id = chunk.params.get("source_id", collection_id)
    matching = "source_id" in chunk.params
    # First of all: what is read after it is of these editions, or of later ones, which is seen.
    editions = _editions(context, source_id, collection_id)
    if matching and (again := _begin_again(context, chunk, editions["source"], tick)):
        return again
    with waiting(tick), transaction(context.db) as connection:
        index.analyze(connection, model_id, collection_id)
        rows = vectors.count(connection, model_id, collection_id)
        texts = vectors.count_texts(connection, model_id, collection_id)
        sources = records.count(connection, source_id)
        existing = index.built(connection, model_id, collection_id)
    memory, shared = context.matrix_memory(model_id, collection_id, rows)
    # By records, not by distinct texts: a copy of one's own is read with every record's vector.
    search = choose_search(
        *(rows, DIMENSIONS, memory * _MIB, sources), indexed=existing is not None, shared=shared
    )
    chosen, reason = search.search, search.reason
    if chunk.params["always"]:
        chosen, reason = "hnsw", "an index was asked for"
    figures: dict[str, Any] = {
        "search": chosen,
        "reason": reason,
        "catalogue_rows": rows,
        "distinct_texts": texts,
        "matrix_mb": round(search.matrix_bytes / _MIB, 1),
    }
    if chosen == "hnsw":
        if chunk.params["always"] or existing is None:
            with (
                waiting(tick, lambda: _how_far(context, model_id, collection_id)),
                transaction(context.db) as connection,
            ):
                existing = index.build(
                    connection,
                    model_id,
                    collection_id,
                    memory_mb=context.settings.index_memory_mb,
                    anew=chunk.params["always"],
                )
        figures |= {"index_mb": round(existing.bytes / _MIB, 1), "index_s": existing.seconds}
    stamp = [editions["target"], rows]
    figures |= _measure(context, chunk, chosen, stamp, tick)
    if shared and figures.get("matrix_shared") is False:
        figures["reason"] += " When it was built it could not be shared: a worker's log says why."
    fused, said = _choose_scoring(context, chunk, tick) if matching else (False, {})
    figures |= said
    found: dict[str, Any] = {"search": chosen, "stamp": stamp, "fused": fused}
    if matching:
        found |= {"editions": editions, "basis": _basis(context, chunk, found, tick)}

    def write(connection: sa.Connection) -> Outcome:
        jobs.add_summary(connection, chunk.job_id, {chunk.params.get("summary", "plan"): figures})
        if matching:
            _forget_stale(connection, chunk)
        for handler in ("match", "carry", "assign", "conclude"):
            stages.add_params(connection, chunk.job_id, handler, found)
        return Outcome(size=chunk.size)

    return write


def bury(_connection: sa.Connection, _chunk: Failed, _code: str, _message: str) -> None:
    """The job fails as a whole; its error says why."""


def _editions(context: Context, source_id: int, target_id: int) -> dict[str, int]:
    with transaction(context.db) as connection:
        return {
            "source": records.edition(connection, source_id),
            "target": records.edition(connection, target_id),
        }


def _basis(
    context: Context, chunk: Claimed, found: Mapping[str, Any], tick: Tick
) -> dict[str, Any]:
    fusion = context.fusion(chunk.params["model_id"], tick) if found["fused"] else None
    return basis.of(chunk.params, found["search"], fusion, context.settings.encoder)


def _begin_again(context: Context, chunk: Claimed, source_edition: int, tick: Tick) -> Write | None:
    """What lets a match job embed again if an import came in after it had embedded."""
    sides = (chunk.params["source_id"], chunk.params["collection_id"])
    with waiting(tick), transaction(context.db) as connection:
        if not changes.without_vector(connection, chunk.params["model_id"], sides, chunk.job_id):
            return None

    def write(connection: sa.Connection) -> Outcome:
        # Answers of an earlier try are looked at by whoever comes to the end of this stage.
        fatal = restarts.restart(
            connection, chunk.job_id, source_edition=source_edition, everything=False
        )
        return Outcome(size=chunk.size, fatal=fatal)

    return write


def _forget_stale(connection: sa.Connection, chunk: Claimed) -> None:
    """Delete answers that an earlier try of the job gave, where an import came in since."""
    earlier = stages.params(connection, chunk.job_id, "match").get("editions")
    if earlier is not None:
        target = chunk.params["collection_id"]
        restarts.forget(
            connection,
            chunk.job_id,
            source_edition=earlier["source"],
            everything=changes.moved(connection, target, earlier["target"]),
        )


def _how_far(context: Context, model_id: int, collection_id: int) -> Mapping[str, Any] | None:
    with transaction(context.db) as connection:
        found = index.progress(connection, partition(model_id, collection_id))
    return None if found is None else {"index": found["phase"], "percent": found["percent"]}


def _choose_scoring(context: Context, chunk: Claimed, tick: Tick) -> tuple[bool, dict[str, Any]]:
    """Whether a match job weighs all evidence or the vectors alone, and what it says of that."""
    fused, said = _scoring(context, chunk, tick)
    if not fused and chunk.params.get("threshold") is not None:
        said["scoring_reason"] += "; nothing is accepted unseen by vectors alone"
    return fused, said


def _scoring(context: Context, chunk: Claimed, tick: Tick) -> tuple[bool, dict[str, Any]]:
    if context.settings.encoder != "sentence-transformers":
        return False, {"scoring": "cosine", "scoring_reason": "a stand-in encodes"}
    if chunk.params.get("scoring") == "cosine":
        return False, {"scoring": "cosine", "scoring_reason": "it was asked for"}
    with transaction(context.db) as connection:
        sample = vectors.sample(
            connection, chunk.params["model_id"], chunk.params["collection_id"], _TEXTS
        )
        texts = records.texts(connection, sample.ids.tolist())
        count = records.count(connection, chunk.params["collection_id"])
    if not texts:
        return False, {"scoring": "cosine", "scoring_reason": "the catalogue has no vectors"}
    with waiting(tick):
        needed = Corpus(texts).memory_for(count)
    if needed > context.settings.fusion_memory_mb * _MIB:
        return False, {
            "scoring": "cosine",
            "scoring_reason": (
                f"the catalogue's words would take {needed >> 20:,} MiB, and a worker may use "
                f"{context.settings.fusion_memory_mb:,} (APARELLA_FUSION_MEMORY_MB)"
            ),
        }
    return True, {"scoring": "fused", "words_mb": round(needed / _MIB, 1)}


def _measure(
    context: Context, chunk: Claimed, chosen: str, stamp: list[int], tick: Tick
) -> dict[str, Any]:
    """Recall of the chosen search against the exact one, on a sample of the source records."""
    model_id, collection_id = chunk.params["model_id"], chunk.params["collection_id"]
    source_id, k = chunk.params.get("source_id", collection_id), chunk.params.get("k", 10)
    with transaction(context.db) as connection:
        sample = vectors.sample(connection, model_id, source_id, _SAMPLE)
    if not len(sample.ids):
        return {}
    exact_ids = np.full((len(sample.ids), k), -1, dtype=np.int64)
    exact_scores = np.full((len(sample.ids), k), np.nan, dtype=np.float32)

    def add_block(block: vectors.Block) -> None:
        nonlocal exact_ids, exact_scores
        part = Catalogue.build(block.ids, block.hashes.tolist(), block.vectors)
        found = top_k(part, sample.vectors, k, exclude=sample.ids)
        exact_ids, exact_scores = merge((exact_ids, exact_scores), found, k)
        tick(0)

    with transaction(context.db) as connection:
        vectors.each_block(connection, model_id, collection_id, add_block)

    def measured(ids: NDArray[np.int64], scores: NDArray[np.float32]) -> float:
        return round(float(recall(exact_ids, ids, exact_scores, scores)), 6)

    def by_index(depth: int) -> float:
        with transaction(context.db) as connection:
            found = index.nearest(
                *(connection, model_id, collection_id, sample.ids.tolist(), k), ef_search=depth
            )
        tick(0)
        return measured(*index.as_arrays(found, sample.ids, k))

    how: dict[str, Any] = {}
    if chosen == "exact":
        catalogue = context.catalogue(model_id, collection_id, stamp, tick)
        reached = measured(*top_k(catalogue, sample.vectors, k, exclude=sample.ids))
        how = {"matrix_shared": catalogue.mapped}
    else:
        reached = by_index(index.EF_SEARCH)
        with transaction(context.db) as connection:
            known = index.has_recall(connection, model_id, collection_id)
        if not known:
            # Reports ask for a recall, and search as deep as was seen to reach it.
            depths = {d: reached if d == index.EF_SEARCH else by_index(d) for d in DEPTHS if d >= k}
            with transaction(context.db) as connection:
                index.store_recall(
                    *(connection, model_id, collection_id, depths), sample=len(sample.ids), k=k
                )
    return {"recall": reached, "recall_sample": len(sample.ids), **how}
