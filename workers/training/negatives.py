"""Hard negatives: targets that the model takes for nearly right and that are not.

Not the very nearest ones. What the model has nearer to a source than 95 % of the right target's
cosine is often right as well, as a record that the pairs do not know of, and of what remains the
nearest few are the same for many sources: Moreira, Osmulski, Xu, Ak, Schifferer and Oldridge,
"NV-Retriever: Improving text embedding models with effective hard-negative mining" (2024).
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

_CEILING = 0.95
"""Share of the right target's cosine above which a target may be right too."""
_NEAREST = 20
"""Of so many nearest wrong targets, those of a pair are drawn."""
_ROWS = 1_024
"""Sources whose scores are in memory at a time."""


def mine(
    sources: Floats,
    own: Floats,
    catalogue: Iterable[tuple[Integers, Floats]],
    right: Sequence[frozenset[int]],
    count: int,
    seed: int,
) -> Integers:
    """Wrong targets of each pair, drawn from its `_NEAREST` below `_CEILING`.

    The catalogue streams by in blocks. In memory are, beside the pairs' vectors and a block, the
    scores of 1,024 sources with it and the nearest so far: 4 * 1,024 * block + 12 * pairs * (20 +
    most right ones of a source) bytes.

    Args:
        sources: vectors of the pairs' sources, float32 (pairs, dim), of length 1.
        own: of their targets, likewise.
        catalogue: blocks of texts, each text once: numbers, int64 (block,), and vectors.
        right: numbers of the texts that are right for each pair's source.
        count: how many to draw for each pair.
        seed: of the draw.

    Returns:
        int64 (pairs, count): numbers of target texts, the nearest first; -1 where there are no
        more.
    """
    ceiling = _CEILING * np.einsum("ij,ij->i", sources, own)
    nearest = max(count, _NEAREST)
    depth = nearest + max((len(r) for r in right), default=0)
    best = np.full((len(sources), depth), -np.inf, dtype=np.float32)
    ranks = np.full((len(sources), depth), -1, dtype=np.int64)
    for numbers, vectors in catalogue:
        for row in range(0, len(sources), _ROWS):
            rows = slice(row, row + _ROWS)
            scores = sources[rows] @ vectors.T
            scores[scores >= ceiling[rows, None]] = -np.inf
            _merge(best[rows], ranks[rows], scores, numbers)
    ranks[np.isneginf(best)] = -1
    rng = np.random.default_rng(seed)
    mined = np.full((len(sources), count), -1, dtype=np.int64)
    for row, (near, known) in enumerate(zip(ranks.tolist(), right, strict=True)):
        wrong = [number for number in near if number not in known and number >= 0][:nearest]
        drawn = sorted(rng.permutation(len(wrong))[:count].tolist())
        mined[row, : len(drawn)] = [wrong[place] for place in drawn]
    return mined


def _merge(best: Floats, ranks: Integers, scores: Floats, block: Integers) -> None:
    """Put a block's scores into the best so far; equal scores keep the catalogue's order."""
    depth = best.shape[1]
    both = np.concatenate([best, scores], axis=1)
    numbers = np.concatenate([ranks, np.broadcast_to(block, scores.shape)], axis=1)
    order = np.argsort(-both, axis=1, kind="stable")[:, :depth]
    best[:] = np.take_along_axis(both, order, axis=1)
    ranks[:] = np.take_along_axis(numbers, order, axis=1)
