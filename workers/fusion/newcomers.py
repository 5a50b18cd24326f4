"""Which lines the new texts of a catalogue concern: those among whose candidates one would be."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aparella.workers.fusion.candidates import Floors, Ids
from aparella.workers.fusion.corpus import Corpus
from aparella.workers.fusion.lexical import VIEWS

SLACK = 0.95
"""Of a floor by words or letters that a score must reach. What words were worth when the floor was
noted is known but for the texts that are gone: what is near to one is looked at again."""


def concerned(
    corpus: Corpus, rows: Ids, late: Ids, texts: Sequence[str], cosines: Floors, floors: Floors
) -> NDArray[np.bool_]:
    """Tell the lines that some rows reach.

    Args:
        corpus: the catalogue as it is now.
        rows: its new texts.
        late: the texts, these among them, that were not there when the floors were noted.
        texts: the lines, m.
        cosines: of each line's nearest new record, float32 (m,), -inf where there is none.
        floors: see `Answers.floors`, float32 (m, 4).

    Returns:
        bool (m,).
    """
    found: NDArray[np.bool_] = (cosines > -np.inf) & (cosines >= floors[:, 0])
    if not len(rows):
        return found
    queries = corpus.index.queries(texts)
    for column, view in enumerate(VIEWS, 1):
        best = corpus.index.best_of(rows, queries, view, late)
        found |= (best > 0) & (best >= SLACK * floors[:, column])
    return found
