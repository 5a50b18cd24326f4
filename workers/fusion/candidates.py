"""Which records come into question for each query: the best of each kind of evidence, united."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aparella.workers.fusion.lexical import VIEWS, LexicalIndex, Rows

DEPTH = 10
"""Records taken from each of the four lists. On the three sets of docs/matching.md the union holds
the right record of 99.7 % of the queries or more; deeper lists cost time in proportion."""

Ids = NDArray[np.int64]
Floors = NDArray[np.float32]


@dataclass(frozen=True)
class Candidates:
    """Pairs of a query and a row of the catalogue, sorted by query, then row; each pair once.

    Attributes:
        query: place of the query, int64 (n,).
        row: of the catalogue, int64 (n,).
    """

    query: Ids
    row: Ids

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.query)

    @property
    def starts(self) -> Ids:
        """Where each query that has candidates begins, int64."""
        if not len(self.query):
            return np.empty(0, dtype=np.int64)
        return np.concatenate([[0], np.flatnonzero(np.diff(self.query)) + 1])

    def where(self, kept: NDArray[np.bool_]) -> "Candidates":
        """Those for which `kept` (n,) is true."""
        return Candidates(self.query[kept], self.row[kept])


def unite(lists: Sequence[tuple[Ids, Ids]], rows: int) -> Candidates:
    """The union of lists of (query, row) pairs; rows are below `rows`."""
    keys = np.concatenate([query * rows + row for query, row in lists])
    query, row = np.divmod(np.unique(keys), rows)
    return Candidates(query, row)


def lexical(
    index: LexicalIndex, queries: Rows, depth: int = DEPTH
) -> tuple[list[tuple[Ids, Ids]], Floors]:
    """The `depth` best rows of each lexical view, as (query, row) pairs, and their floors.

    Returns:
        The lists, and float32 (queries, views): the score of the last row of a full list; 0 where
        there was room for more.
    """
    found = []
    floors = np.zeros((len(queries), len(VIEWS)), dtype=np.float32)
    for column, view in enumerate(VIEWS):
        best = index.top(queries, view, depth)
        count = np.diff(best.indptr)
        query = np.repeat(np.arange(best.shape[0], dtype=np.int64), count)
        found.append((query, best.indices.astype(np.int64)))
        full = count == depth
        floors[full, column] = best.data[best.indptr[1:][full] - 1]
    return found, floors
