"""The stage that takes answers over from an earlier match job, where nothing new concerns them.

- Only lines whose text is the same, that have candidates, and only between jobs of one basis.
- None of the line's candidates was changed or removed, and no new or changed record comes into
  question: as near as the last candidate by the vectors, or, by all evidence, as good as the last
  of one of the lists that candidates come from.
- By all evidence, no more than a tenth of the catalogue has changed: what words are worth (IDF)
  hangs on all of it, and answers that are taken over have it of the edition they were given in.

All other lines are left for the stage `match`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa

from aparella.db import carried, changes, jobs, records, stages, vectors
from aparella.db.chunks import Failed
from aparella.db.engine import transaction
from aparella.db.leases import Claimed
from aparella.workers import basis
from aparella.workers.context import Context, Outcome, Tick, Write
from aparella.workers.fusion.lexical import VIEWS
from aparella.workers.fusion.newcomers import Newcomers
from aparella.workers.fusion.search import Shelf
from aparella.workers.matching import Catalogue, Ids, Scores, top_k
from aparella.workers.stages.editions import again_if_moved
from aparella.workers.stages.match import LARGEST_CHUNK

_LINES = 10
"""So many chunks of the stage `match` are one of this stage: comparing is that much quicker."""
RENEWED = 0.1
"""Share of the catalogue that may be new before all lines are weighed again."""
MOST = 100_000
"""New records that lines are compared with: their vectors, 154 MB, are read for each chunk."""
FLOORS = 1 + len(VIEWS)


def plan(connection: sa.Connection, context: Context, chunk: Claimed) -> int:
    """Chunks of lines whose answers may still hold; none, and why, if none can."""
    since = chunk.params["since"]
    earlier = stages.params(connection, since, "match")
    figures: dict[str, Any] = {"job": since}
    # Written either way: a job that begins anew may have noted something else before.
    noted: dict[str, Any] | None = None
    if (reason := _reason(connection, chunk, earlier)) is not None:
        figures["all_matched_because"] = reason
    else:
        editions = earlier["editions"]
        noted = {
            "changed": changes.moved(connection, chunk.params["collection_id"], editions["target"]),
            "weighed": _weighed(connection, since, editions["target"]),
        }
        carried.plan(
            connection,
            since,
            chunk.params["source_id"],
            editions["source"],
            job_id=chunk.job_id,
            stage_id=chunk.stage_id,
            size=(context.settings.match_chunk or LARGEST_CHUNK) * _LINES,
        )
    stages.add_params(connection, chunk.job_id, "carry", {"earlier": noted})
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


def _reason(connection: sa.Connection, chunk: Claimed, earlier: Mapping[str, Any]) -> str | None:
    """Why no answer can be taken over; None: some can."""
    since, target = chunk.params["since"], chunk.params["collection_id"]
    if (reason := basis.difference(earlier.get("basis"), chunk.params["basis"])) is not None:
        return reason
    if earlier.get("one_to_one"):
        return "its answers were assigned one to one, each by regard to all others"
    if carried.missed_targets(connection, since, target):
        return "it could not look at some records of the catalogue"
    edition = earlier["editions"]["target"]
    if chunk.params["fused"]:
        weighed = _weighed(connection, since, edition)
        changed = changes.count(connection, target, weighed)
        if changed > RENEWED * records.count(connection, target):
            return (
                f"more than {RENEWED:.0%} of the catalogue is new or has changed since words were "
                "weighed, and with it what they are worth, for every line"
            )
    if changes.count(connection, target, edition) > MOST:
        return f"more than {MOST:,} records have changed, too many to be compared with each line"
    return None


def _weighed(connection: sa.Connection, since: int, edition: int) -> int:
    """The catalogue's edition in which the oldest of a job's answers were given."""
    noted = stages.params(connection, since, "carry").get("earlier") or {}
    return int(noted.get("weighed", edition))


def _unmoved(context: Context, chunk: Claimed, tick: Tick) -> list[int]:
    """Lines of the chunk that nothing new concerns."""
    params, since = chunk.params, chunk.params["since"]
    model_id, collection_id = params["model_id"], params["collection_id"]
    with transaction(context.db) as connection:
        edition = stages.params(connection, since, "match")["editions"]["target"]
        lasts = carried.lasts(connection, since, chunk.items, edition)
        new = changes.ids(connection, collection_id, edition)
        late = changes.ids(connection, collection_id, params["earlier"]["weighed"])
        block = vectors.load_some(connection, model_id, new)
    near = Catalogue.build(block.ids, block.hashes.tolist(), block.vectors)
    newcomers: Newcomers | None = None
    if params["fused"]:
        shelf = context.shelf(collection_id, params["stamp"], tick)
        newcomers = Newcomers(shelf.corpus, _rows(shelf, new), _rows(shelf, late))
    kept: list[int] = []
    for start in range(0, len(chunk.items), LARGEST_CHUNK):
        tick(0)
        with transaction(context.db) as connection:
            part = chunk.items[start : start + LARGEST_CHUNK]
            source = vectors.load_some(connection, model_id, part)
            texts = records.texts(connection, source.ids.tolist())
        scores = top_k(near, source.vectors, 1, exclude=source.ids)[1][:, 0]
        best: Scores = np.nan_to_num(scores, nan=-np.inf)
        known = [lasts.get(line) for line in source.ids.tolist()]
        if newcomers is not None:
            floors = np.array([_floors(last) for last in known], dtype=np.float32)
            concerned = newcomers.concern(texts, best, floors.reshape(-1, FLOORS))
        else:
            floor = np.array([_last(last, params["k"]) for last in known], dtype=np.float32)
            # As near as the last one is near enough: of equal ones the lower id comes first.
            concerned = (best > -np.inf) & (best >= floor)
        kept += [
            last.source_id
            for last, reached in zip(known, concerned.tolist(), strict=True)
            if last is not None and not last.touched and not reached
        ]
    return kept


def _rows(shelf: Shelf, ids: Sequence[int]) -> Ids:
    """The distinct texts of some records, of those that are on the shelf."""
    rows = np.unique(shelf.rows(np.array(ids, dtype=np.int64)))
    return rows[rows >= 0]


def _last(last: carried.Last | None, k: int) -> float:
    """The cosine of an answer's last candidate; -inf where there is room below it."""
    return last.last if last is not None and last.candidates == k else -np.inf


def _floors(last: carried.Last | None) -> list[float]:
    """An answer's floors; where none were noted, everything reaches them."""
    return last.floors if last is not None and last.floors else [-np.inf] * FLOORS
