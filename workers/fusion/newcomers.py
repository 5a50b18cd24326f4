"""Which lines the new texts of a catalogue concern: those among whose candidates one would be."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aparella.workers.fusion.candidates import Floors, Ids
from aparella.workers.fusion.corpus import Corpus
from aparella.workers.fusion.lexical import VIEWS, Earlier

SLACK = 0.95
"""Of a floor by words or letters that a score must reach. What words were worth when the floor was
noted is known but for the texts that are gone: what is near to one is looked at again."""


class Newcomers:
    """The new texts of a catalogue, ready to be compared with any number of lines."""

    def __init__(self, corpus: Corpus, rows: Ids, late: Ids) -> None:
        """Take them from the catalogue as it is now.

        Args:
            corpus: the catalogue.
            rows: the new texts.
            late: the texts, these among them, that were not there when floors were noted.
        """
        self._index = corpus.index
        self._earlier = Earlier(corpus.index, rows, late) if len(rows) else None

    def concern(self, texts: Sequence[str], cosines: Floors, floors: Floors) -> NDArray[np.bool_]:
        """Tell the lines that they reach, bool (m,).

        Args:
            texts: the lines, m.
            cosines: of each line's nearest new record, float32 (m,), -inf where there is none.
            floors: see `Answers.floors`, float32 (m, 4).
        """
        found: NDArray[np.bool_] = (cosines > -np.inf) & (cosines >= floors[:, 0])
        if self._earlier is None:
            return found
        queries = self._index.queries(texts)
        for column, view in enumerate(VIEWS, 1):
            best = self._earlier.best(queries, view)
            found |= (best > 0) & (best >= SLACK * floors[:, column])
        return found
