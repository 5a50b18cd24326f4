"""Pairs and their places in the split: what the import of a file and decisions have in common.

Light: the API calls it too.
"""

import sqlalchemy as sa

from aparella.db import pairs
from aparella.workers.evaluation.split import PairKey, assign


def place(connection: sa.Connection, pair_set_id: int) -> list[int]:
    """Store the folds of a set's pairs, in the transaction that wrote them.

    Returns:
        Ids of the pairs that had a fold and stand in none any more: one of their texts has come
        to be on the other side.
    """
    found = [
        PairKey(key.id, key.source, key.target, key.positive, key.fold)
        for key in pairs.keys(connection, pair_set_id)
    ]
    before = {pair.id: pair.fold for pair in found}
    after = {pair_id: fold for pair_id, fold in assign(found).items() if fold != before[pair_id]}
    pairs.store_folds(connection, pair_set_id, after)
    return [pair_id for pair_id, fold in after.items() if fold is None]
