"""Hard negatives: targets that the model takes for right and that are not."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

BLOCK = 4_096
"""Targets in memory as vectors at a time."""

_ROWS = 1_024
"""Sources whose scores are in memory at a time."""


def mine(
    encode: Callable[[Integers], Floats],
    sources: Integers,
    targets: Integers,
    right: Sequence[frozenset[int]],
    count: int,
) -> Integers:
    """The highest ranks of each source that are not right.

    The targets stream by in blocks. In memory are the sources' vectors, one block's, the scores of
    1,024 sources with a block, and so far best ranks: 4 * dim * (sources + 4,096) + 4 * 1,024 *
    4,096 + 12 * sources * (count + most right ones of a source) bytes; 16 MB and 1.6 kB a source.

    Args:
        encode: the vectors of numbered texts, float32 (texts, dim), of length 1.
        sources: numbers of the sources' texts, int64 (sources,).
        targets: numbers of the catalogue's texts, int64 (targets,), each once.
        right: numbers of the texts that are right for each source.
        count: how many to mine for each source.

    Returns:
        int64 (sources, count): numbers of target texts, the highest rank first; -1 where there are
        no more.
    """
    vectors = encode(sources)
    depth = min(count + max((len(r) for r in right), default=0), len(targets))
    best = np.full((len(sources), depth), -np.inf, dtype=np.float32)
    ranks = np.full((len(sources), depth), -1, dtype=np.int64)
    for start in range(0, len(targets), BLOCK):
        block = targets[start : start + BLOCK]
        matrix = encode(block).T
        for row in range(0, len(sources), _ROWS):
            rows = slice(row, row + _ROWS)
            _merge(best[rows], ranks[rows], vectors[rows] @ matrix, block)
    mined = np.full((len(sources), count), -1, dtype=np.int64)
    for row, (numbers, known) in enumerate(zip(ranks.tolist(), right, strict=True)):
        wrong = [number for number in numbers if number not in known and number >= 0][:count]
        mined[row, : len(wrong)] = wrong
    return mined


def _merge(best: Floats, ranks: Integers, scores: Floats, block: Integers) -> None:
    """Put a block's scores into the best so far; equal scores keep the catalogue's order."""
    depth = best.shape[1]
    both = np.concatenate([best, scores], axis=1)
    numbers = np.concatenate([ranks, np.broadcast_to(block, scores.shape)], axis=1)
    order = np.argsort(-both, axis=1, kind="stable")[:, :depth]
    best[:] = np.take_along_axis(both, order, axis=1)
    ranks[:] = np.take_along_axis(numbers, order, axis=1)
