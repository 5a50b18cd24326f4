"""The ledger: what came of each row and of each chunk, held against a run without faults."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import sqlalchemy as sa

ENDED = ("succeeded", "succeeded_with_errors")

_ROWS = """
    SELECT count(*) FROM record r WHERE r.collection_id = :source AND r.removed_at IS NULL
"""
# lost: source rows without exactly their k matches, or not the ranks 1 to k
_LOST = """
    SELECT count(*) FROM record r
    LEFT JOIN (SELECT source_id, count(*) AS n, count(DISTINCT rank) AS ranks, max(rank) AS last
               FROM match WHERE job_id = :job GROUP BY source_id) m ON m.source_id = r.id
    WHERE r.collection_id = :source AND r.removed_at IS NULL AND NOT (r.id = ANY(:excused))
      AND (coalesce(m.n, 0) <> :k OR m.ranks <> :k OR m.last <> :k)
"""
_DIFFERENT = """
    SELECT count(*) FROM (
        (SELECT source_id, rank, target_id, score FROM match WHERE job_id = :one EXCEPT ALL
         SELECT source_id, rank, target_id, score FROM match WHERE job_id = :other)) d
    WHERE NOT (source_id = ANY(:excused))
"""
# chunks: each item of a stage's chunks was done, or has died, exactly once
_DOUBLED_ITEMS = """
    SELECT count(*) FROM (
        SELECT c.stage_id, item FROM chunk c, unnest(c.items) item
        WHERE c.job_id = :job AND c.state IN ('done', 'dead')
        GROUP BY 1, 2 HAVING count(*) > 1) d
"""
_LOST_ITEMS = """
    SELECT count(*) FROM (
        SELECT c.stage_id, item FROM chunk c, unnest(c.items) item WHERE c.job_id = :job
        EXCEPT
        SELECT c.stage_id, item FROM chunk c, unnest(c.items) item
        WHERE c.job_id = :job AND c.state IN ('done', 'dead')) d
"""
_OPEN = "SELECT count(*) FROM chunk WHERE job_id = :job AND state IN ('ready', 'leased')"
_DONE_TWICE = """
    SELECT count(*) FROM (SELECT chunk FROM fault_chunk WHERE job = :job AND new = 'done'
                          GROUP BY chunk HAVING count(*) > 1) d
"""
# stale: a chunk that was ended by someone without its lease, or that moved after its end
_STALE_ENDS = """
    SELECT count(*) FROM fault_chunk WHERE job = :job
      AND (new = 'done' AND (old <> 'leased' OR old_token <> new_token)
           OR old IN ('done', 'dead', 'split', 'cancelled'))
"""
# unfenced: results that were not written in a transaction that ended a leased chunk with that item
_UNFENCED = """
    SELECT count(*) FROM fault_write w WHERE w.what = 'match' AND w.job = :job AND NOT EXISTS (
        SELECT FROM fault_chunk f JOIN chunk c ON c.id = f.chunk
        WHERE f.xid = w.xid AND f.new = 'done' AND f.old = 'leased' AND w.item = ANY(c.items))
"""
_UNFENCED_VECTORS = """
    SELECT count(*) FROM fault_write w WHERE w.what = 'vector' AND NOT EXISTS (
        SELECT FROM fault_chunk f WHERE f.xid = w.xid AND f.new = 'done' AND f.old = 'leased')
"""
_TWICE_WRITTEN = """
    SELECT count(*) FROM (SELECT item FROM fault_write WHERE what = 'match' AND job = :job
                          GROUP BY item HAVING count(DISTINCT xid) > 1) d
"""
_DEAD = "SELECT count(*) FROM chunk WHERE job_id = :job AND state = 'dead'"


@dataclass
class Account:
    """A job in the ledger. All but `rows`, `chunks` and `state` must be 0 or empty.

    Attributes:
        job: its id.
        state: that it ended in; None: it did not end in time.
        rows: of its source.
        chunks: of all its stages, those of a split included.
        lost: rows without exactly one full set of matches.
        different: matches that the run without faults does not have, and the other way round.
        items_lost: items of chunks that were neither done nor buried.
        items_doubled: items of more than one chunk that was.
        open: chunks that are ready or leased though the job ended.
        done_twice: chunks that were marked done more than once.
        stale: chunks that were ended without their lease, or moved after their end.
        unfenced: results written in a transaction that did not end their chunk.
        written_twice: rows whose matches were written by more than one transaction.
        dead: chunks that died and no poison explains.
        progress: what was wrong about the progress that a client saw.
    """

    job: int
    state: str | None
    rows: int = 0
    chunks: int = 0
    lost: int = 0
    different: int = 0
    items_lost: int = 0
    items_doubled: int = 0
    open: int = 0
    done_twice: int = 0
    stale: int = 0
    unfenced: int = 0
    written_twice: int = 0
    dead: int = 0
    progress: list[str] = field(default_factory=list)

    @property
    def faults(self) -> dict[str, Any]:
        """What is wrong; empty if nothing is."""
        facts = asdict(self)
        wrong = {
            k: v for k, v in facts.items() if k not in ("job", "state", "rows", "chunks") and v
        }
        if self.state not in ENDED:
            wrong["state"] = self.state or "it did not end"
        return wrong


def account(
    connection: sa.Connection,
    job: int,
    *,
    state: str | None,
    source: int,
    k: int,
    calm: int,
    progress: list[str],
    poisoned: Mapping[int, str] | None = None,
) -> Account:
    """Draw up the account of a match job.

    Args:
        connection: on the database with the audit.
        job: its id.
        state: that it ended in, if it did.
        source: its source collection.
        k: matches that each row has.
        calm: the same match job, undisturbed.
        progress: what the watcher has to say.
        poisoned: records that were to die, and of what.
    """
    excused = list(poisoned or {})
    values = {"job": job, "source": source, "k": k, "excused": excused}

    def count(query: str, **more: Any) -> int:
        return int(connection.execute(sa.text(query), {**values, **more}).scalar_one())

    # A record that died twice over, in its encoding and then in the search, is one.
    dead = count(_DEAD)
    return Account(
        job=job,
        state=state,
        rows=count(_ROWS),
        chunks=count("SELECT count(*) FROM chunk WHERE job_id = :job"),
        lost=count(_LOST),
        different=count(_DIFFERENT, one=job, other=calm) + count(_DIFFERENT, one=calm, other=job),
        items_lost=count(_LOST_ITEMS),
        items_doubled=count(_DOUBLED_ITEMS),
        open=count(_OPEN),
        done_twice=count(_DONE_TWICE),
        stale=count(_STALE_ENDS),
        unfenced=count(_UNFENCED) + count(_UNFENCED_VECTORS),
        written_twice=count(_TWICE_WRITTEN),
        dead=max(0, dead - len(excused)),
        progress=progress,
    )
