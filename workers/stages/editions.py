"""Whether what a match job looks at is still what it embedded."""

import sqlalchemy as sa

from aparella.db import changes, restarts
from aparella.db.leases import Claimed
from aparella.workers.context import Outcome


def again_if_moved(connection: sa.Connection, chunk: Claimed) -> Outcome | None:
    """Let the job begin anew if an import changed either side since its index stage looked.

    Called in the commit of a chunk, it vouches for all that its work has read before: texts,
    vectors and the catalogues in memory are of one edition, or nothing of it is kept.

    Returns:
        None: all is as it was, go on and write.
    """
    editions = chunk.params.get("editions")
    if editions is None:
        return None
    source, target = chunk.params["source_id"], chunk.params["collection_id"]
    catalogue = changes.moved(connection, target, editions["target"])
    if not catalogue and not changes.moved(connection, source, editions["source"]):
        return None
    fatal = restarts.restart(
        connection, chunk.job_id, source_edition=editions["source"], everything=catalogue
    )
    return Outcome(size=chunk.size, fatal=fatal)
