"""The stage that takes answers over from an earlier match job, where they are sure to be the same.

- Only lines whose text is the same, that have candidates, and only between jobs of one basis.
- By all evidence, only if the catalogue's texts are the same: one new record changes what words are
  worth (IDF) for every line.
- By the vectors alone, with an exact search, a line's candidates change only if one of them was
  changed or removed, or if a new or changed record is as near as the last of them.

All other lines are left for the stage `match`.
"""

from typing import Any

import numpy as np
import sqlalchemy as sa

from aparella.db import carried, changes, jobs, stages, vectors
from aparella.db.chunks import Failed
from aparella.db.engine import transaction
from aparella.db.leases import Claimed
from aparella.workers import basis
from aparella.workers.context import Context, Outcome, Tick, Write
from aparella.workers.matching import Catalogue, Ids, Scores, top_k
from aparella.workers.stages.editions import again_if_moved
from aparella.workers.stages.match import LARGEST_CHUNK

_LINES = 10
"""Chunks of the stage `match` that one chunk of this stage is as large as: copying is quick."""
_NONE = -2.0
"""Below all cosines."""


def plan(connection: sa.Connection, context: Context, chunk: Claimed) -> int:
    """Chunks of lines whose answers may still hold; none, and why, if none can."""
    since = chunk.params["since"]
    earlier = stages.params(connection, since, "match")
    changed, reason = _catalogue(connection, chunk, earlier)
    figures: dict[str, Any] = {"job": since}
    if reason is not None:
        figures["all_matched_because"] = reason
    else:
        stages.add_params(connection, chunk.job_id, "carry", {"earlier": {"changed": changed}})
        carried.plan(
            connection,
            since,
            chunk.params["source_id"],
            earlier["editions"]["source"],
            job_id=chunk.job_id,
            stage_id=chunk.stage_id,
            size=(context.settings.match_chunk or LARGEST_CHUNK) * _LINES,
        )
    jobs.add_summary(connection, chunk.job_id, {"since": figures})
    return 0


def work(context: Context, chunk: Claimed, tick: Tick) -> Write:
    """Take over the answers of those of the chunk's lines for which they still hold."""
    since, ids = chunk.params["since"], chunk.items
    if chunk.params["earlier"]["changed"]:
        ids = _unmoved(context, chunk, tick)
    tick(len(ids))

    def write(connection: sa.Connection) -> Outcome:
        if (outcome := again_if_moved(connection, chunk)) is not None:
            return outcome
        carried.carry(connection, since, chunk.job_id, ids, chunk.params.get("threshold"))
        return Outcome(size=len(ids))

    return write


def bury(_connection: sa.Connection, _chunk: Failed, _code: str, _message: str) -> None:
    """Nothing is lost: what was not taken over is matched."""


def _catalogue(
    connection: sa.Connection, chunk: Claimed, earlier: dict[str, Any]
) -> tuple[bool, str | None]:
    """Whether the catalogue has changed since, and why no answer can be taken over, if so."""
    since, target = chunk.params["since"], chunk.params["collection_id"]
    if (reason := basis.difference(earlier.get("basis"), chunk.params["basis"])) is not None:
        return True, reason
    if earlier.get("one_to_one"):
        return True, "its answers were assigned one to one, each by regard to all others"
    if carried.missed_targets(connection, since, target):
        return True, "it could not look at some records of the catalogue"
    changed = changes.moved(connection, target, earlier["editions"]["target"])
    if changed and chunk.params["fused"]:
        return True, ("the catalogue has changed, and with it what words are worth, for every line")
    if changed and chunk.params["search"] != "exact":
        return True, "the catalogue has changed, and an index does not find all there is"
    return changed, None


def _unmoved(context: Context, chunk: Claimed, tick: Tick) -> list[int]:
    """Lines of the chunk whose candidates are the same, by the vectors alone."""
    params, since = chunk.params, chunk.params["since"]
    model_id, collection_id = params["model_id"], params["collection_id"]
    with transaction(context.db) as connection:
        edition = stages.params(connection, since, "match")["editions"]["target"]
        lasts = carried.lasts(connection, since, chunk.items, edition)
        wanted = changes.ids(connection, collection_id, edition)
        source = vectors.load_some(connection, model_id, chunk.items)
    catalogue = context.catalogue(model_id, collection_id, params["stamp"], tick)
    tick(0)
    ids, matrix = catalogue.some(np.array(wanted, dtype=np.int64))
    fresh = Catalogue.build(ids, [i.tobytes() for i in ids], matrix)
    near: tuple[Ids, Scores] = top_k(fresh, source.vectors, 1, exclude=source.ids)
    scores = np.nan_to_num(near[1][:, 0], nan=_NONE).tolist()
    best = dict(zip(source.ids.tolist(), scores, strict=True))
    return [
        one
        for one in source.ids.tolist()
        if (last := lasts.get(one)) is not None
        and not last.touched
        # As near as the last one is near enough: of equal ones the lower id comes first. Where
        # there is room below the last one, any new record finds it.
        and (best[one] == _NONE or (last.candidates == params["k"] and best[one] < last.last))
    ]
