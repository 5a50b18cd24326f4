"""Exact search of a catalogue in memory, and the recall of any other search against it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Scores = NDArray[np.float32]

DECIMALS = 6
"""Scores are rounded to this many decimals: float32 carries no more, and what is equal to a user
is then equal to the order as well."""

# Tiles. Their product with a float32 is 16 MB of scores at a time. Measured with one thread on
# 100,000 rows: from 256 queries on, the matrix product is no faster (128: -10 %); with fewer rows
# a tile, picking the best costs more (16,384: 16 % of the time, 2,048: 30 %).
_QUERY_TILE = 256
_ROW_TILE = 16_384
_EXACT_TILE = 4_096
"""Pairs scored anew in float64 at a time: 2 x 12 MB at 384 dimensions."""
_EXPANSION = 400_000
"""Records at a time that rows are expanded to: 16 MB at the 40 bytes that each takes."""

_SPARE = 16
"""Candidates beyond the wanted, so that ties at the last place seldom need another look."""
_MARGIN = 5e-6
"""Two rows whose scores round to the same are less than this apart in float32: 1e-6 of rounding,
and 2e-6 for the error of each (unit vectors, 384 terms; seen: 3e-7)."""


class Rows:
    """Which row of the matrix each record has, told of the records part by part."""

    def __init__(self) -> None:
        self._row_of: dict[bytes, int] = {}
        self._ids: list[Ids] = [np.empty(0, np.int64)]
        self._rows: list[Ids] = [np.empty(0, np.int64)]

    def __len__(self) -> int:
        """Number of rows so far: of distinct texts."""
        return len(self._row_of)

    def add(self, ids: Ids, hashes: Sequence[bytes] | NDArray[Any]) -> Ids:
        """Take more records.

        Returns:
            Places in this part of the records whose text none before them has, int64, in the
            order of their rows.
        """
        known = len(self)
        keys = hashes.tolist() if isinstance(hashes, np.ndarray) else hashes
        row_of = self._row_of
        rows = np.fromiter((row_of.setdefault(h, len(row_of)) for h in keys), np.int64, len(ids))
        self._ids.append(np.asarray(ids, dtype=np.int64))
        self._rows.append(rows)
        found, first = np.unique(rows, return_index=True)
        return first[found >= known]

    def layout(self) -> tuple[Ids, Ids]:
        """`ids` and `starts` of the catalogue of all these records."""
        ids, rows = np.concatenate(self._ids), np.concatenate(self._rows)
        counts = np.bincount(rows, minlength=len(self))
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
        return ids[np.lexsort((ids, rows))], starts


@dataclass(frozen=True)
class Catalogue:
    """The records to search, those with the same text sharing one row of the matrix.

    Attributes:
        vectors: float32 (rows, dim) of length 1, one row per distinct text.
        ids: record ids, int64 (n,), those of row 0 first, ascending within a row.
        starts: int64 (rows + 1,): row r has the records `ids[starts[r] : starts[r + 1]]`.
        mapped: whether these are files that other processes of the machine map too.
    """

    vectors: NDArray[np.float32]
    ids: Ids
    starts: Ids
    mapped: bool = False

    @classmethod
    def build(
        cls, ids: Ids, hashes: Sequence[bytes] | NDArray[Any], vectors: NDArray[np.float32]
    ) -> "Catalogue":
        """Build from records in any order.

        Args:
            ids: record ids, int64 (n,), none negative.
            hashes: `text.text_hash` of each record's text, (n,).
            vectors: float32 (n, dim), of length 1. Kept without a copy where all texts differ.

        Raises:
            ValueError: the lengths differ.
        """
        if not len(ids) == len(hashes) == len(vectors):
            raise ValueError(f"{len(ids)} ids, {len(hashes)} hashes and {len(vectors)} vectors")
        rows = Rows()
        firsts = rows.add(ids, hashes)
        if len(rows) < len(ids):
            vectors = vectors[firsts]
        return cls(np.require(vectors, np.float32, ["C", "W"]), *rows.layout())

    def __len__(self) -> int:
        """Number of records."""
        return len(self.ids)

    def some(self, ids: Ids) -> tuple[Ids, NDArray[np.float32]]:
        """Those of some records that are here, in the order of their ids, and their vectors."""
        if not len(self.ids):
            return self.ids, self.vectors[:0]
        order = np.argsort(self.ids)
        place = np.searchsorted(self.ids, ids, sorter=order)
        found = order[np.minimum(place, max(len(order) - 1, 0))]
        found = np.sort(found[self.ids[found] == ids])
        found = found[np.argsort(self.ids[found])]
        rows = np.searchsorted(self.starts, found, side="right") - 1
        return self.ids[found], self.vectors[rows]

    @property
    def rows(self) -> int:
        """Number of distinct texts."""
        return len(self.vectors)

    @property
    def nbytes(self) -> int:
        """Bytes that the matrix and the ids take."""
        return self.vectors.nbytes + self.ids.nbytes + self.starts.nbytes


def top_k(
    catalogue: Catalogue, queries: NDArray[np.float32], k: int, exclude: Ids | None = None
) -> tuple[Ids, Scores]:
    """The k best records for each query by cosine, exactly.

    The order is the same on each machine and however the queries are split: by score, rounded to
    `DECIMALS`, from high to low; equal scores by record id. Temporary memory is bounded (below
    64 MB at 384 dimensions), however many queries and records there are.

    Args:
        catalogue: what to search.
        queries: float32 (m, dim), of length 1.
        k: how many records, at least 1.
        exclude: int64 (m,): a record that is not to be found by this query, -1 for none. A
            record matched against its own collection is not its own match.

    Returns:
        Record ids (m, k), padded with -1, and their scores (m, k), padded with NaN.
    """
    if k < 1:
        raise ValueError("k is less than 1")
    m = len(queries)
    ids = np.full((m, k), -1, dtype=np.int64)
    scores = np.full((m, k), np.nan, dtype=np.float32)
    if exclude is None:
        exclude = np.full(m, -1, dtype=np.int64)
    if not catalogue.rows:
        return ids, scores
    queries = np.require(queries, np.float32, ["C", "W"])
    # One row more than asked for: the excluded record may be all that a row has.
    wanted = min(k + 1, catalogue.rows)
    most_records = min(k + 1, int(np.diff(catalogue.starts).max()))
    tile = max(1, min(_QUERY_TILE, _EXPANSION // (wanted * most_records)))
    for start in range(0, m, tile):
        part = slice(start, start + tile)
        best, rows = _best_rows(catalogue, queries[part], min(wanted + _SPARE, catalogue.rows))
        bound = best[:, wanted - 1] - _MARGIN
        # Is the last candidate still within the bound, others that were not picked may be too.
        tied = (best[:, -1] >= bound) & (best.shape[1] < catalogue.rows)
        query, column = np.nonzero((best >= bound[:, None]) & ~tied[:, None])
        _rank(
            catalogue,
            queries[part],
            query,
            rows[query, column],
            exclude[part],
            ids[part],
            scores[part],
        )
        for i in np.flatnonzero(tied) + start:
            one = slice(i, i + 1)
            row = _rows_above(catalogue, queries[i], float(bound[i - start]))
            _rank(
                catalogue,
                queries[one],
                np.zeros_like(row),
                row,
                exclude[one],
                ids[one],
                scores[one],
            )
    return ids, scores


def _best_rows(
    catalogue: Catalogue, queries: NDArray[np.float32], width: int
) -> tuple[Scores, Ids]:
    """Float32 scores, from high to low, and rows of the `width` best rows for each query."""
    # Seconds to import, and a process that neither encodes nor matches does without.
    import torch

    q, matrix = torch.from_numpy(queries), torch.from_numpy(catalogue.vectors)
    buffer = torch.empty(len(queries) * min(_ROW_TILE, catalogue.rows))
    best = torch.empty(len(queries), 0)
    rows = torch.empty(len(queries), 0, dtype=torch.int64)
    for start in range(0, catalogue.rows, _ROW_TILE):
        tile = matrix[start : start + _ROW_TILE]
        scores = buffer[: len(queries) * len(tile)].view(len(queries), len(tile))
        torch.mm(q, tile.T, out=scores)
        tile_best, tile_rows = scores.topk(min(width, len(tile)), dim=1)
        best, rows = torch.cat([best, tile_best], 1), torch.cat([rows, tile_rows + start], 1)
        best, order = best.topk(min(width, best.shape[1]), dim=1)
        rows = rows.gather(1, order)
    return best.numpy(), rows.numpy()


def _rows_above(catalogue: Catalogue, query: NDArray[np.float32], bound: float) -> Ids:
    """All rows whose float32 score for one query is at least `bound`."""
    import torch

    scores = torch.mv(torch.from_numpy(catalogue.vectors), torch.from_numpy(query))
    # The product of a matrix and a vector adds up in another order than that of two matrices.
    return (scores >= bound - _MARGIN).nonzero().flatten().numpy()


def _rank(
    catalogue: Catalogue,
    queries: NDArray[np.float32],
    query: Ids,
    row: Ids,
    exclude: Ids,
    ids: Ids,
    scores: Scores,
) -> None:
    """Write the best records of candidate (query, row) pairs into `ids` and `scores`.

    Pairs are scored anew in float64: a matrix product in float32 may give the same pair other
    last bits in another tile, and the order of the records must not hang on them.
    """
    k = ids.shape[1]
    score = np.empty(len(row))
    for start in range(0, len(row), _EXACT_TILE):
        part = slice(start, start + _EXACT_TILE)
        left = queries[query[part]].astype(np.float64)
        score[part] = np.einsum("ij,ij->i", left, catalogue.vectors[row[part]])
    score = score.round(DECIMALS)
    # From rows to their records; of many with one text the first k are enough, and one excluded.
    first = catalogue.starts[row]
    count = np.minimum(catalogue.starts[row + 1] - first, k + 1)
    pair = np.repeat(np.arange(len(row)), count)
    offset = np.arange(len(pair)) - np.repeat(np.cumsum(count) - count, count)
    record = catalogue.ids[first[pair] + offset]
    kept = record != exclude[query[pair]]
    record, pair = record[kept], pair[kept]

    order = np.lexsort((record, -score[pair], query[pair]))
    record, pair = record[order], pair[order]
    place = np.arange(len(record)) - np.searchsorted(query[pair], query[pair])
    kept = place < k
    ids[query[pair][kept], place[kept]] = record[kept]
    scores[query[pair][kept], place[kept]] = score[pair][kept]


def recall(
    exact_ids: Ids,
    other_ids: Ids,
    exact_scores: Scores | None = None,
    other_scores: Scores | None = None,
) -> float:
    """Share of an exact result that another search found as well (recall@k).

    Args:
        exact_ids: record ids (m, k), padded with -1.
        other_ids: what the other search found, (m, any), padded with -1.
        exact_scores: scores of `exact_ids`. With both scores given, another record that scores
            as high as the last exact one is a hit: it is as good an answer.
        other_scores: scores of `other_ids`, of the same float32 vectors.

    Returns:
        Between 0 and 1; 1 where there is nothing to find.
    """
    found = total = 0
    for i, exact in enumerate(exact_ids):
        answers = exact[exact >= 0]
        others = other_ids[i] >= 0
        hit = np.isin(other_ids[i], answers)
        if exact_scores is not None and other_scores is not None and len(answers):
            last = exact_scores[i][exact >= 0].min()
            hit |= other_scores[i].astype(np.float64).round(DECIMALS).astype(np.float32) >= last
        total += len(answers)
        found += min(int((hit & others).sum()), len(answers))
    return found / total if total else 1.0
