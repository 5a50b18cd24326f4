"""A batch of texts through the model, in parts of like length; with cached gradients where asked.

The library pads a column of a batch to its longest text, and half of the work may be padding. Here
the texts of all columns are sorted by length and cut into parts by a token budget. Each text is
embedded once, and the loss is computed over the whole batch: only the padding is different.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aparella.workers.training.tokens import Tokens

PART_TOKENS = 1_024
"""Padded tokens in a part for each thread of a CPU. Measured on one core, parts of 512 to 1,024 are
fastest, 2,048 slower by a fifth; with two threads on a busy machine smaller ones wait more for each
other."""

PART_TOKENS_GPU = 65_536


@dataclass(frozen=True)
class Parts:
    """Texts cut into parts.

    Attributes:
        ids: int64 (texts of the part, longest of them) each, from the longest texts to the
            shortest.
        lengths: int64 (texts of the part,) each: their token counts.
        back: int64 (texts,): where each text went, in the order of the parts.
        tokens: padded tokens of all parts.
    """

    ids: list[Tensor]
    lengths: list[Tensor]
    back: Tensor
    tokens: int

    def to(self, device: torch.device) -> "Parts":
        """The same on a device."""
        return Parts(
            [ids.to(device) for ids in self.ids],
            [lengths.to(device) for lengths in self.lengths],
            self.back.to(device),
            self.tokens,
        )


def cut(tokens: Tokens, numbers: NDArray[np.int64], budget: int) -> Parts:
    """Sort texts by length and cut them into parts.

    Args:
        tokens: what the numbers are of.
        numbers: int64 (texts,).
        budget: a part's texts times the longest of them stay within it, unless one is longer alone.
    """
    lengths = tokens.lengths[numbers]
    order = np.argsort(-lengths, kind="stable")
    ids, sizes, start, padded = [], [], 0, 0
    while start < len(order):
        longest = int(lengths[order[start]])
        end = start + max(1, budget // longest)
        rows = tokens.padded(numbers[order[start:end]], longest)
        ids.append(torch.from_numpy(rows))
        sizes.append(torch.from_numpy(lengths[order[start:end]]))
        padded += rows.size
        start = end
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return Parts(ids, sizes, torch.from_numpy(back), padded)


def embed(model: nn.Module, parts: Parts) -> Tensor:
    """The texts' vectors, (texts, dim), in the order in which they were given to `cut`."""
    vectors = [
        _one(model, ids, lengths) for ids, lengths in zip(parts.ids, parts.lengths, strict=True)
    ]
    return torch.cat(vectors)[parts.back]


class CachedEmbedding:
    """Embeds in two passes, so that one part's activations are in memory at a time (GradCache).

    `first` embeds without gradients; once the loss has been taken back to the vectors, `second`
    embeds again, with the same random numbers, and carries the vectors' gradients on.
    """

    def __init__(self, model: nn.Module, parts: Parts) -> None:
        self._model = model
        self._parts = parts
        self._states: list[tuple[Tensor, Tensor | None]] = []
        self._vectors: list[Tensor] = []

    def first(self) -> Tensor:
        """The vectors, (texts, dim), as leaves of a graph."""
        with torch.no_grad():
            for ids, lengths in zip(self._parts.ids, self._parts.lengths, strict=True):
                self._states.append(_random_state(ids.device))
                self._vectors.append(_one(self._model, ids, lengths).requires_grad_())
        return torch.cat(self._vectors)[self._parts.back]

    def second(self, context: Callable[[], AbstractContextManager[object]]) -> None:
        """Take the vectors' gradients back through the model.

        Args:
            context: entered for each part's forward pass (autocast).
        """
        last = _random_state(self._parts.back.device)
        for ids, lengths, state, vectors in zip(
            self._parts.ids, self._parts.lengths, self._states, self._vectors, strict=True
        ):
            _set_random_state(ids.device, state)
            with context():
                again = _one(self._model, ids, lengths)
            again.backward(vectors.grad)  # type: ignore[no-untyped-call]
        _set_random_state(self._parts.back.device, last)


def _one(model: nn.Module, ids: Tensor, lengths: Tensor) -> Tensor:
    mask = (torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]).long()
    vectors: Tensor = model({"input_ids": ids, "attention_mask": mask})["sentence_embedding"]
    return vectors


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), gpu


def _set_random_state(device: torch.device, state: tuple[Tensor, Tensor | None]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
