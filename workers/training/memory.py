"""How much memory a training needs at its peak, said before it starts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aparella.errors import JobError
from aparella.workers.training.recipe import Recipe

_MIB = 1 << 20


@dataclass(frozen=True)
class Shape:
    """What of a model decides how much memory its training takes.

    Attributes:
        parameters: numbers in its weights.
        layers, hidden, intermediate, heads: of its transformer.
        dropout: whether it drops out; attention then keeps a matrix of tokens by tokens.
    """

    parameters: int
    layers: int
    hidden: int
    intermediate: int
    heads: int
    dropout: bool


@dataclass(frozen=True)
class Need:
    """Memory at the peak, in bytes, beside what the process holds already.

    Attributes:
        weights: they, their gradients, AdamW's two moments, their mean, a copy while saving.
        activations: what a step keeps for its way back.
        data: token ids and the plan of an epoch.
        batch_tokens: tokens of the largest batch to be expected.
        cached: whether such a batch is done with cached gradients.
    """

    weights: int
    activations: int
    data: int
    batch_tokens: int
    cached: bool

    @property
    def total(self) -> int:
        """All together."""
        return self.weights + self.activations + self.data

    @property
    def sentence(self) -> str:
        """For people."""
        how = " with cached gradients" if self.cached else ""
        return (
            f"The training needs about {self.total // _MIB:,} MiB: {self.weights // _MIB:,} for "
            f"the weights and the optimizer, {self.activations // _MIB:,} for a batch of "
            f"{self.batch_tokens:,} tokens{how}, {self.data // _MIB:,} for the pairs."
        )


def need(
    shape: Shape,
    recipe: Recipe,
    sources: NDArray[np.int64],
    targets: NDArray[np.int64],
    part_tokens: int,
) -> Need:
    """Estimate the memory of a training.

    Args:
        shape: the model's.
        recipe: how it is trained.
        sources: tokens of each pair's source, int64 (pairs,).
        targets: tokens of each pair's target, int64 (pairs,).
        part_tokens: padded tokens that go through the model at a time.
    """
    pair = sources + targets * (1 + recipe.hard_negatives)
    size = min(recipe.batch_size, len(pair))
    # Four standard deviations over the mean of so many pairs, but no more than the longest.
    expected = size * pair.mean() + 4 * np.sqrt(size) * pair.std()
    largest = int(min(expected, size * pair.max()))
    longest = int(max(sources.max(), targets.max()))
    cached = largest > recipe.cached_tokens
    at_once = max(longest, part_tokens) if cached else largest
    width = min(longest, int(targets.mean() + 2 * targets.std()))
    activations = at_once * shape.layers * _bytes_per_token(shape, width)
    # The buffers of one part, forward and back, come on top.
    activations += 6 * max(longest, min(part_tokens, largest)) * shape.intermediate * 4
    data = 4 * int(pair.sum()) + 400 * len(pair)
    per_parameter = 24 if recipe.average else 20
    return Need(per_parameter * shape.parameters, activations, data, largest, cached)


def _bytes_per_token(shape: Shape, length: int) -> int:
    """Bytes that a layer keeps of a token until the way back.

    Queries, keys, values, the attention's result, two residual sums and their two norms are of the
    hidden size; before and after the activation function stands the intermediate size.
    """
    kept = 10 * shape.hidden + 2 * shape.intermediate
    if shape.dropout:
        # Three dropout masks of a byte each, what comes out of them, and the attention's weights
        # before and after theirs.
        kept += 2 * shape.hidden + shape.hidden // 2
        kept += int(2.25 * shape.heads * length)
    return 4 * kept


def check(needed: Need, free: int | None, recipe: Recipe) -> None:
    """Refuse a training that would not fit.

    Raises:
        JobError: more is needed than is free; says what to lower.
    """
    if free is not None and needed.total > free:
        lower = (
            "cached_tokens"
            if needed.cached
            else f"batch_size (now {recipe.batch_size}) or cached_tokens (now "
            f"{recipe.cached_tokens:,}, below {needed.batch_tokens:,} to take effect)"
        )
        raise JobError(
            f"{needed.sentence} Only {free // _MIB:,} MiB are free. Lower {lower}, or train on a "
            "larger machine."
        )
