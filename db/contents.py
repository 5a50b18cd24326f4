"""What the vectors of a collection are at one moment: how many, and a fingerprint of their bits.

Two moments with the same content have the same vectors of the same records, to the last bit: in
another database, after a restored backup, or with a model of the same number too.
"""

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from aparella.db import vectors
from aparella.db.tables import DIMENSIONS

# look: reads every vector once, in the server; the rows come in any order, so the sum must not care
_LOOK = sa.text(f"""
    SELECT count(*) AS rows,
           coalesce(bit_xor(hash_record_extended(
               ROW(e.record_id, e.text_hash, vector_send(e.embedding)), 0)), 0) AS fingerprint
    FROM {vectors.CURRENT}
""")


@dataclass(frozen=True)
class Content:
    """What a collection's current vectors are.

    Attributes:
        rows: records that have a vector which fits their text.
        fingerprint: 64 bits of hash over ids, texts' hashes and vectors.
    """

    rows: int
    fingerprint: int

    @property
    def name(self) -> str:
        """The content as a word, fit for a file's name."""
        return f"{self.rows}-{self.fingerprint & (1 << 64) - 1:016x}"

    @property
    def bytes(self) -> int:
        """What it takes as a matrix of all records and their ids, at most."""
        return self.rows * (4 * DIMENSIONS + 16)


def look(connection: sa.Connection, model_id: int, collection_id: int) -> Content:
    """The content as it is now."""
    row = connection.execute(_LOOK, {"model": model_id, "collection": collection_id}).one()
    return Content(int(row.rows), int(row.fingerprint))


def read(
    connection: sa.Connection,
    model_id: int,
    collection_id: int,
    take: Callable[[vectors.Block], None],
) -> Content:
    """Hand all current vectors on in the order of the record ids, and say what they are.

    Memory is that of one block. Must be the transaction's first statement: it takes one snapshot.
    """
    connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    found = look(connection, model_id, collection_id)
    vectors.each_block(connection, model_id, collection_id, take, ordered=True)
    return found
