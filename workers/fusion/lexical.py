"""Which records share words or letters with a text: sparse vectors of a catalogue in memory."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aparella.workers.features.words import fold, words

Sparse: TypeAlias = Any
"""A scipy.sparse CSR matrix (texts, columns); scipy has no types."""

View = Literal["letters", "words", "joined"]
VIEWS: tuple[View, ...] = ("letters", "words", "joined")
"""How a text is cut. `letters`: character trigrams of words. `words`: runs of letters and digits.
`joined`: what stands between spaces, its punctuation dropped, so that `DSC-W120` is one word and
agrees with `DSCW120`. On each kind of list another one finds the most."""

WORDS: tuple[View, ...] = ("words", "joined")

_COLUMNS = 1 << 20
"""Terms are told apart by a hash into so many columns: no vocabulary to keep, nothing to fit."""

# BM25's usual constants: Robertson and Zaragoza, "The Probabilistic Relevance Framework" (2009).
_K1 = 1.2
_B = 0.75

_PUNCTUATION = re.compile(r"[\W_]+")


def joined(text: str) -> list[str]:
    """What stands between the spaces of a folded text, without punctuation."""
    return [word for part in text.split() if (word := _PUNCTUATION.sub("", part))]


@dataclass(frozen=True)
class Rows:
    """Texts as sparse rows.

    Attributes:
        weighted: by view, what a query's `weighted` is multiplied with to give its score: for
            `letters` TF-IDF of length 1 on both sides (so the product is a cosine), else BM25's
            share of each term on the catalogue's side and 1 on the query's.
        inverse: for `words` and `joined`, each distinct term's IDF.
        present: for `words` and `joined`, 1 for each distinct term.
    """

    weighted: dict[View, Sparse]
    inverse: dict[View, Sparse]
    present: dict[View, Sparse]

    def __len__(self) -> int:
        """Number of texts."""
        return int(self.weighted["words"].shape[0])


class LexicalIndex:
    """The sparse vectors of a catalogue, and the weights of its terms."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Index texts; row i is the i-th text."""
        counts = {view: _counts(view, texts) for view in VIEWS}
        self._idf: dict[View, NDArray[np.float32]] = {}
        self._length: dict[View, float] = {}
        for view, matrix in counts.items():
            frequency = np.bincount(matrix.indices, minlength=_COLUMNS)
            self._idf[view] = _idf(len(texts), frequency)
            self._length[view] = matrix.sum() / max(len(texts), 1)
        self.rows = Rows(
            {view: self._document(view, matrix) for view, matrix in counts.items()},
            {view: self._inverse(view, counts[view]) for view in WORDS},
            {view: ones(counts[view]) for view in WORDS},
        )
        self.columns = {view: matrix.T.tocsr() for view, matrix in self.rows.weighted.items()}

    def idf(self, word: str) -> float:
        """The IDF of a folded word."""
        return float(self._idf["words"][_column(word)])

    @property
    def nbytes(self) -> int:
        """Memory that the matrices take."""
        kept = [
            *self.rows.weighted.values(),
            *self.rows.inverse.values(),
            *self.rows.present.values(),
            *self.columns.values(),
        ]
        return sum(m.data.nbytes + m.indices.nbytes + m.indptr.nbytes for m in kept)

    def queries(self, texts: Sequence[str]) -> Rows:
        """Texts as rows that are looked for in this catalogue."""
        counts = {view: _counts(view, texts) for view in VIEWS}
        return Rows(
            {
                view: self._cosine(counts[view]) if view == "letters" else ones(counts[view])
                for view in VIEWS
            },
            {view: self._inverse(view, counts[view]) for view in WORDS},
            {view: ones(counts[view]) for view in WORDS},
        )

    def top(self, queries: Rows, view: View, k: int) -> Sparse:
        """The `k` highest-scoring rows for each query, as CSR (queries, rows), the best first."""
        return _top(queries.weighted[view], self.columns[view], k)

    def idf_ratio(self, rows: NDArray[np.int64], view: View) -> NDArray[np.float32]:
        """Each column's IDF without some rows over that with them, float32 (columns,)."""
        frequency = np.diff(self.columns[view].indptr)
        theirs = np.bincount(self.rows.weighted[view][rows].indices, minlength=_COLUMNS)
        less = _idf(len(self.rows) - len(rows), frequency - theirs)
        return np.asarray(less / self._idf[view])

    def _document(self, view: View, counts: Sparse) -> Sparse:
        if view == "letters":
            return self._cosine(counts)
        lengths = np.asarray(counts.sum(axis=1)).ravel()
        scale = _K1 * (1 - _B + _B * lengths / max(self._length[view], 1e-9))
        per_value = np.repeat(scale, np.diff(counts.indptr))
        share = counts.copy()
        share.data = self._idf[view][share.indices] * (
            share.data * (_K1 + 1) / (share.data + per_value)
        ).astype(np.float32)
        return share

    def _cosine(self, counts: Sparse) -> Sparse:
        rows = counts.copy()
        rows.data = (1 + np.log(rows.data)) * self._idf["letters"][rows.indices]
        return _of_length_one(rows)

    def _inverse(self, view: View, counts: Sparse) -> Sparse:
        rows = counts.copy()
        rows.data = self._idf[view][rows.indices]
        return rows


class Earlier:
    """Some rows of a catalogue, scored with the IDF that it had before the latest came."""

    def __init__(
        self, index: LexicalIndex, rows: NDArray[np.int64], late: NDArray[np.int64]
    ) -> None:
        """Take these rows of an index; `late` are all that came since, (any,) each."""
        self._change = {view: index.idf_ratio(late, view) for view in VIEWS}
        self._columns = {
            view: self._then(index.rows.weighted[view][rows], view).T.tocsr() for view in VIEWS
        }

    def best(self, queries: Rows, view: View) -> NDArray[np.float32]:
        """The highest score for each query, float32 (queries,), 0 where there is none."""
        asked = queries.weighted[view]
        if view == "letters":
            asked = self._then(asked, view)
        found = _top(asked, self._columns[view], 1).max(axis=1).toarray()
        return np.asarray(found, dtype=np.float32).ravel()

    def _then(self, rows: Sparse, view: View) -> Sparse:
        then = rows.copy()
        then.data = rows.data * self._change[view][rows.indices]
        return _of_length_one(then) if view == "letters" else then


def products(
    left: Sparse, left_rows: NDArray[np.int64], right: Sparse, right_rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Scalar products of pairs of rows, float32 (pairs,)."""
    found = left[left_rows].multiply(right[right_rows]).sum(axis=1)
    return np.asarray(found, dtype=np.float32).ravel()


def _idf(texts: int, frequency: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.log1p((texts - frequency + 0.5) / (frequency + 0.5)).astype(np.float32)


def _top(left: Sparse, right: Sparse, k: int) -> Sparse:
    from sparse_dot_topn import sp_matmul_topn

    return sp_matmul_topn(left, right, top_n=k, threshold=0.0, sort=True)


def _of_length_one(rows: Sparse) -> Sparse:
    """Rows divided by their lengths, in place."""
    per_row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    length = np.sqrt(np.bincount(per_row, rows.data**2, minlength=rows.shape[0]))
    rows.data = (rows.data / length[per_row]).astype(np.float32)
    return rows


def _column(term: str) -> int:
    """The column of a term, as scikit-learn's HashingVectorizer chooses it."""
    from sklearn.utils import murmurhash3_32

    return abs(int(murmurhash3_32(term))) % _COLUMNS


def ones(counts: Sparse) -> Sparse:
    """The same terms, 1 each."""
    rows = counts.copy()
    rows.data = np.ones_like(rows.data)
    return rows


def _counts(view: View, texts: Sequence[str]) -> Sparse:
    """How often each text has each term: CSR float32 (texts, columns), columns ascending."""
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import HashingVectorizer

    cut: dict[str, Any]
    if view == "letters":
        cut = {"analyzer": "char_wb", "ngram_range": (3, 3)}
    else:
        cut = {"analyzer": words if view == "words" else joined}
    vectorizer = HashingVectorizer(
        n_features=_COLUMNS, alternate_sign=False, norm=None, dtype=np.float32, **cut
    )
    if not len(texts):
        return csr_matrix((0, _COLUMNS), dtype=np.float32)
    matrix = vectorizer.transform([fold(text) for text in texts])
    matrix.sort_indices()
    return matrix
