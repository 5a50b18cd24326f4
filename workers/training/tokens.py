"""Texts as token ids, made once for all epochs and kept packed."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK = 4_096
"""Texts tokenised at a time: bounds the Python lists that the tokenizer returns."""


class Tokens:
    """The token ids of distinct texts, packed in one int32 array: 4 bytes a token."""

    def __init__(self, tokenizer: Any, max_length: int | None) -> None:
        """Start with no texts.

        Args:
            tokenizer: a fast Hugging Face tokenizer.
            max_length: longer texts are cut off at so many tokens.
        """
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._ids: NDArray[np.int32] = np.empty(0, dtype=np.int32)
        self._starts: NDArray[np.int64] = np.zeros(1, dtype=np.int64)
        self._number: dict[str, int] = {}
        self.padding = int(tokenizer.pad_token_id or 0)

    def add(self, texts: Iterable[str]) -> NDArray[np.int64]:
        """Tokenise the texts that are new.

        Returns:
            int64 (texts,): the number of each text; the same text has the same number.
        """
        before = len(self._number)
        given = list(texts)
        numbers = [self._number.setdefault(text, len(self._number)) for text in given]
        new = list(self._number)[before:]
        parts, lengths = [self._ids], []
        for start in range(0, len(new), _BLOCK):
            encoded = self._tokenizer(
                new[start : start + _BLOCK],
                truncation=self._max_length is not None,
                max_length=self._max_length,
                padding=False,
                return_attention_mask=False,
                return_token_type_ids=False,
            )["input_ids"]
            lengths += [len(ids) for ids in encoded]
            parts.append(np.fromiter((i for ids in encoded for i in ids), dtype=np.int32))
        self._ids = np.concatenate(parts)
        self._starts = np.concatenate([self._starts, self._starts[-1] + np.cumsum(lengths)]).astype(
            np.int64
        )
        return np.asarray(numbers, dtype=np.int64)

    def __len__(self) -> int:
        """Distinct texts."""
        return len(self._number)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each text, int64 (texts,)."""
        return np.diff(self._starts)

    def padded(self, numbers: Sequence[int] | NDArray[np.int64], length: int) -> NDArray[np.int64]:
        """The ids of some texts as a matrix.

        Returns:
            int64 (numbers, length), short rows filled up with `padding`.
        """
        rows = np.full((len(numbers), length), self.padding, dtype=np.int64)
        for row, number in enumerate(numbers):
            ids = self._ids[self._starts[number] : self._starts[number + 1]]
            rows[row, : len(ids)] = ids
        return rows

    def digest(self) -> bytes:
        """SHA-256 of all ids and where each text starts."""
        whole = hashlib.sha256(self._ids.tobytes())
        whole.update(self._starts.tobytes())
        return whole.digest()
