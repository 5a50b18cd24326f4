"""At which rank a search finds the right record, over a whole catalogue read block by block."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Ids: TypeAlias = NDArray[np.int64]
Vectors: TypeAlias = NDArray[np.float32]
Exact: TypeAlias = Callable[[Ids, Ids], NDArray[np.float64]]
Blocks: TypeAlias = Callable[[], Iterable[tuple[Ids, Vectors]]]
"""Called once for each pass. Gives record ids int64 (n,) and their float32 (n, dim) vectors of
length 1, in any order and any block size, each record once."""

DECIMALS = 6
"""As in `matching`, which this module does not import because that would import torch: a search
must be evaluated in the very order that its users see. A test compares the two."""

# Tiles, as in `matching`: their scores take 16 MB.
_QUERY_TILE = 256
_ROW_TILE = 16_384
_EXACT_TILE = 4_096
_MARGIN = 5e-6
"""Scores closer than this in float32 may be in another order, or equal, once rounded."""


@dataclass(frozen=True)
class Ranked:
    """Where a search finds a query's right records.

    Attributes:
        ranks: of the right records that have a vector, from 1, ascending; never empty.
        right: number of right records, those without a vector too: they are never found.
    """

    ranks: tuple[int, ...]
    right: int

    @property
    def best(self) -> int:
        """Rank of the best right record."""
        return self.ranks[0]


Ranks: TypeAlias = list[Ranked | None]
"""One for each query; None, where the query or all its right records have no vector, is wrong."""


class Tally:
    """Counts, for each right record of each query, the records before it.

    Ranks need two passes over the catalogue: the first notes the right records' scores (`note`),
    the second counts those that score higher, or the same with a smaller id (`count`).
    Memory is that of the right records, whatever the catalogue's size.
    """

    def __init__(self, right: Sequence[Collection[int]], exclude: Ids | None = None) -> None:
        """Begin.

        Args:
            right: ids of the right records for each query, with those of the same text.
            exclude: int64 (queries,), a record that is not to be found by this query, -1 for
                none: a list matched with itself.
        """
        if exclude is None:
            exclude = np.full(len(right), -1, dtype=np.int64)
        self._exclude = exclude
        wanted = [
            sorted(set(ids) - {int(out)}) for ids, out in zip(right, exclude.tolist(), strict=True)
        ]
        sizes = [len(ids) for ids in wanted]
        self._starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])
        self._id = np.array([i for ids in wanted for i in ids], dtype=np.int64)
        self._query = np.repeat(np.arange(len(wanted)), sizes)
        self._score = np.full(len(self._id), np.nan)
        self._before = np.zeros(len(self._id), dtype=np.int64)
        self._by_id = np.argsort(self._id, kind="stable")
        self._sorted = self._id[self._by_id]

    def note(self, ids: Ids, exact: Exact) -> None:
        """First pass: note the scores of the right records among a block's.

        Args:
            ids: record ids, int64 (n,).
            exact: from places of queries (p,) and of records in this block (p,) to their scores,
                float64 (p,).
        """
        first = np.searchsorted(self._sorted, ids)
        count = np.searchsorted(self._sorted, ids, side="right") - first
        row = np.repeat(np.arange(len(ids)), count)
        place = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + first[row]
        entry = self._by_id[place]
        for start in range(0, len(row), _EXACT_TILE):
            part = slice(start, start + _EXACT_TILE)
            score = exact(self._query[entry[part]], row[part])
            self._score[entry[part]] = score.round(DECIMALS)

    def count(self, queries: slice, ids: Ids, scores: NDArray[np.floating], exact: Exact) -> None:
        """Second pass: count the records before each right one among a tile's.

        Args:
            queries: which queries, with start and stop.
            ids: record ids, int64 (n,).
            scores: (queries, n), within `_MARGIN` of the exact ones.
            exact: as in `note`; asked about those that are within the margin only.
        """
        for entry in range(self._starts[queries.start], self._starts[queries.stop]):
            own = self._score[entry]
            if np.isnan(own):
                continue
            query = int(self._query[entry])
            row = scores[query - queries.start]
            near = np.flatnonzero(row >= own - _MARGIN)
            clear = row[near] > own + _MARGIN
            out = ids[near] == self._exclude[query]
            self._before[entry] += int((clear & ~out).sum())
            near = near[~clear & ~out]
            for start in range(0, len(near), _EXACT_TILE):
                part = near[start : start + _EXACT_TILE]
                other = exact(np.full(len(part), query), part).round(DECIMALS)
                first = (other > own) | ((other == own) & (ids[part] < self._id[entry]))
                self._before[entry] += int(first.sum())

    def result(self) -> Ranks:
        """What was counted, for each query."""
        ranks: Ranks = []
        for first, last in zip(self._starts[:-1], self._starts[1:], strict=True):
            found = ~np.isnan(self._score[first:last])
            places = np.sort(self._before[first:last][found]) + 1
            ranks.append(Ranked(tuple(places.tolist()), int(last - first)) if found.any() else None)
        return ranks


def rank(
    queries: Vectors,
    right: Sequence[Collection[int]],
    blocks: Blocks,
    exclude: Ids | None = None,
) -> Ranks:
    """Rank a whole catalogue for each query by cosine, exactly, in the order of `matching.top_k`.

    That is by score rounded to `DECIMALS`, from high to low, then by record id. Memory is that of
    one block and 32 MB, whatever the catalogue's size.

    Args:
        queries: float32 (m, dim) of length 1; a row of NaN where a query has no vector.
        right: ids of each query's right records. Records with the same text as a right one are
            as right: the caller names them all.
        blocks: the catalogue; read twice.
        exclude: int64 (m,), see `Tally`.

    Raises:
        ValueError: the lengths differ.
    """
    if len(queries) != len(right):
        raise ValueError(f"{len(queries)} queries, right records for {len(right)}")
    known = np.isfinite(queries.sum(axis=1))
    tally = Tally(
        [ids if ok else () for ids, ok in zip(right, known.tolist(), strict=True)], exclude
    )
    queries = np.where(known[:, None], queries, np.float32(0))

    for ids, vectors in blocks():
        tally.note(ids, _scores_of(queries, vectors))
    for ids, vectors in blocks():
        for row in range(0, len(ids), _ROW_TILE):
            tile = vectors[row : row + _ROW_TILE]
            exact = _scores_of(queries, tile)
            for start in range(0, len(queries), _QUERY_TILE):
                part = slice(start, min(start + _QUERY_TILE, len(queries)))
                scores = queries[part] @ tile.T
                tally.count(part, ids[row : row + _ROW_TILE], scores, exact)
    return tally.result()


def _scores_of(queries: Vectors, vectors: Vectors) -> Exact:
    """Scores in float64, as `matching` computes those that decide the order."""

    def exact(query: Ids, row: Ids) -> NDArray[np.float64]:
        left = queries[query].astype(np.float64)
        scores: NDArray[np.float64] = np.einsum("ij,ij->i", left, vectors[row])
        return scores

    return exact
