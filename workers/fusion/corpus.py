"""A catalogue's texts, ready to be compared with any number of lines."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from aparella.workers.features.abbreviations import Abbreviations
from aparella.workers.fusion import candidates, evidence
from aparella.workers.fusion.candidates import Candidates, Ids
from aparella.workers.fusion.evidence import Lists, Matrix
from aparella.workers.fusion.facts import Facts, facts
from aparella.workers.fusion.lexical import LexicalIndex

_FACTS = 20_000
"""Rows whose facts are kept, the ones worked out last: 120 MB."""
_FACTS_BYTES = 6_000
"""What the facts of a text take: measured on the sample's catalogue."""


class Lines:
    """Texts to be looked for in a corpus, and where each may be found.

    Attributes:
        candidates: of all lines.
        floors: see `candidates.lexical`, float32 (m, views).
    """

    def __init__(self, corpus: "Corpus", texts: Sequence[str], dense: tuple[Ids, Ids]) -> None:
        """Find the candidates.

        Args:
            corpus: where to look.
            texts: the lines, m.
            dense: what the vectors found: places of lines and rows of the corpus.
        """
        rows = corpus.index.queries(texts)
        self._corpus = corpus
        self._lists = Lists(rows, dict(enumerate(facts(text, corpus.idf) for text in texts)))
        lexical, self.floors = candidates.lexical(corpus.index, rows)
        self.candidates = candidates.unite([dense, *lexical], len(corpus))

    def features(
        self, found: Candidates, cosine: NDArray[np.float32], abbreviations: Abbreviations
    ) -> Matrix:
        """The evidence for some candidates, see `evidence.matrix`."""
        return evidence.matrix(
            found, cosine, self._lists, self._corpus.lists(found.row), abbreviations
        )

    def facts(self, place: int) -> Facts:
        """Of a line."""
        return self._lists.facts[place]


class Corpus:
    """The distinct texts of a catalogue; row i is the i-th."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Index texts."""
        self.texts = texts
        self.index = LexicalIndex(texts)
        self.idf = lru_cache(maxsize=100_000)(self.index.idf)
        self._facts: dict[int, Facts] = {}

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.texts)

    @property
    def nbytes(self) -> int:
        """Memory that it takes at most."""
        return self.index.nbytes + _FACTS_BYTES * min(len(self), _FACTS)

    def memory_for(self, texts: int) -> int:
        """Bytes that a corpus of so many texts like these would take."""
        fixed: int = sum(m.indptr.nbytes for m in self.index.columns.values())
        grown = (self.index.nbytes - fixed) * texts // max(len(self), 1)
        return fixed + grown + _FACTS_BYTES * min(texts, _FACTS)

    def lists(self, rows: Ids) -> Lists:
        """Its rows, with the facts of those named."""
        return Lists(self.index.rows, {row: self.facts(row) for row in np.unique(rows).tolist()})

    def facts(self, row: int) -> Facts:
        """Of a row, worked out when first asked for."""
        known = self._facts.get(row)
        if known is None:
            if len(self._facts) >= _FACTS:
                del self._facts[next(iter(self._facts))]
            known = self._facts[row] = facts(self.texts[row], self.idf)
        return known
