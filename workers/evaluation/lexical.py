"""The baseline that a model must beat: overlap of letters, without any model."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aparella.workers.evaluation.ranks import Exact, Ids, Ranks, Tally

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import HashingVectorizer

Texts: TypeAlias = Callable[[], Iterable[tuple[Ids, Sequence[str]]]]
"""Called once for each pass. Gives record ids int64 (n,) and their cleaned texts, in any order
and any block size, each record once."""

Matrix: TypeAlias = Any
"""A scipy.sparse CSR matrix (texts, columns); scipy has no types."""

NGRAM = 3
_COLUMNS = 1 << 20
"""Trigrams are told apart by a hash into so many columns, so that memory is the same for any
catalogue. A catalogue has some 10⁴ to 10⁵ of them; few share a column."""

# Tiles: their scores, float64, take 8 MB, and the sparse product before them 12 bytes a score.
_QUERY_TILE = 256
_ROW_TILE = 4_096


def rank(
    queries: Sequence[str],
    right: Sequence[Collection[int]],
    texts: Texts,
    exclude: Ids | None = None,
) -> Ranks:
    """Rank a whole catalogue for each query by the cosine of TF-IDF weighted character trigrams.

    Trigrams are those of lower-cased words with a space on either side; their weights are
    (1 + ln tf) x (1 + ln((1 + n) / (1 + df))), scaled to length 1, with the document frequencies
    of the catalogue. That is scikit-learn's `TfidfVectorizer(analyzer="char_wb",
    ngram_range=(3, 3), sublinear_tf=True)` fitted on the catalogue, read in blocks. The order is
    that of `ranks.rank`. Memory is that of one block, and about 60 MB.

    Args:
        queries: cleaned texts; one without a letter scores 0 with everything.
        right: ids of each query's right records, see `ranks.rank`.
        texts: the catalogue; read twice.
        exclude: int64 (m,), a record that is not to be found by this query, -1 for none.

    Raises:
        ValueError: the lengths differ.
    """
    if len(queries) != len(right):
        raise ValueError(f"{len(queries)} queries, right records for {len(right)}")
    from sklearn.feature_extraction.text import HashingVectorizer

    cutter = HashingVectorizer(
        analyzer="char_wb",
        ngram_range=(NGRAM, NGRAM),
        n_features=_COLUMNS,
        alternate_sign=False,
        norm=None,
    )
    # The right records' texts wait for the document frequencies; those of all others do not.
    wanted = np.unique(np.array([i for ids in right for i in ids], dtype=np.int64))
    kept: dict[int, str] = {}
    frequency = np.zeros(_COLUMNS, dtype=np.int64)
    total = 0
    for ids, block in texts():
        for start in range(0, len(block), _ROW_TILE):
            counts = cutter.transform(block[start : start + _ROW_TILE])
            frequency += np.bincount(counts.indices, minlength=_COLUMNS)
        total += len(block)
        kept.update((int(ids[i]), block[i]) for i in np.flatnonzero(np.isin(ids, wanted)).tolist())
    weight = 1 + np.log((1 + total) / (1 + frequency))

    tally = Tally(right, exclude)
    query_rows = _weighted(cutter, queries, weight)
    if kept:
        ids = np.fromiter(kept, np.int64, len(kept))
        tally.note(ids, _scores_of(query_rows, _weighted(cutter, list(kept.values()), weight)))
    for ids, block in texts():
        for row in range(0, len(block), _ROW_TILE):
            rows = _weighted(cutter, block[row : row + _ROW_TILE], weight)
            for start in range(0, len(queries), _QUERY_TILE):
                part = slice(start, min(start + _QUERY_TILE, len(queries)))
                scores = (query_rows[part] @ rows.T).toarray()
                tally.count(part, ids[row : row + _ROW_TILE], scores, _looked_up(scores, start))
    return tally.result()


def _weighted(
    cutter: "HashingVectorizer", texts: Sequence[str], weight: NDArray[np.float64]
) -> Matrix:
    """Rows of length 1, those without a trigram of length 0: CSR float64 (texts, columns)."""
    rows = cutter.transform(texts)
    rows.data = (1 + np.log(rows.data)) * weight[rows.indices]
    length = np.sqrt(np.bincount(_row_of(rows), rows.data**2, minlength=len(texts)))
    rows.data /= length[_row_of(rows)]
    return rows


def _row_of(rows: Matrix) -> NDArray[np.int64]:
    """The row of each value that a CSR matrix stores."""
    return np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))


def _scores_of(queries: Matrix, rows: Matrix) -> Exact:
    """Scores of single pairs, the right ones."""

    def exact(query: Ids, row: Ids) -> NDArray[np.float64]:
        products = queries[query].multiply(rows[row])
        return np.asarray(products.sum(axis=1), dtype=np.float64).ravel()

    return exact


def _looked_up(scores: NDArray[np.float64], first: int) -> Exact:
    """Scores of single pairs out of a tile whose first query is `first`.

    The tile is float64 already. Its sums may differ from those of `_scores_of` in their last
    bits, which rounding removes.
    """

    def exact(query: Ids, row: Ids) -> NDArray[np.float64]:
        return scores[query - first, row]

    return exact
