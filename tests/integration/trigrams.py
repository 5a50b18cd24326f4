"""An encoder that compares letters: its answers make sense to a reader, and are quick to have."""

from collections.abc import Callable, Sequence
from functools import cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from aparella.workers.encoder import DIM


@cache
def _place(gram: str) -> tuple[int, float]:
    number = int.from_bytes(blake2b(gram.encode(), digest_size=8).digest(), "little")
    return number % DIM, 1.0 if number & 1 << 40 else -1.0


class GramEncoder:
    """Counts of a text's letter groups of one length, hashed into the vector's places."""

    dim = DIM

    def __init__(self, length: int = 3) -> None:
        self._length = length

    def encode(
        self, texts: Sequence[str], progress: Callable[[int], None] = lambda _: None
    ) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), DIM), dtype=np.float32)
        for row, text in enumerate(texts):
            padded = f"  {text.lower()} "
            # Each group once: a catalogue's boilerplate repeats itself.
            for gram in sorted({padded[i : i + self._length] for i in range(len(padded) - 2)}):
                place, sign = _place(gram)
                vectors[row, place] += sign
            progress(1)
        return np.asarray(
            vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9), np.float32
        )
