"""Merging rankings of parts of a catalogue into one of the whole."""

import numpy as np

from aparella.workers.matching import Ids, Scores

Ranking = tuple[Ids, Scores]
"""Record ids (m, k), padded with -1, and scores (m, k), padded with NaN, best first."""


def merge(first: Ranking, second: Ranking, k: int) -> Ranking:
    """The k best of two rankings of different records for the same m queries.

    The order is that of `matching.top_k`: by score, equal scores by record id.
    """
    ids = np.concatenate([first[0], second[0]], axis=1)
    scores = np.concatenate([first[1], second[1]], axis=1)
    keys = np.where(ids >= 0, -scores, np.inf)
    order = np.lexsort((ids, keys), axis=1)[:, :k]
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(scores, order, axis=1)
