"""What a model remembers of its training texts, so that drift can be told from it later."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from aparella.workers.encoder import SentenceEncoder
from aparella.workers.evaluation import drift
from aparella.workers.evaluation.drift import MAX_VECTORS, Reference


class Known(Protocol):
    """A known pair's texts."""

    @property
    def source_text(self) -> str:
        """The line."""

    @property
    def target_text(self) -> str:
        """The catalogue record."""


SIDES: dict[str, Callable[[Known], str]] = {
    "source": lambda pair: pair.source_text,
    "target": lambda pair: pair.target_text,
}


def path(folder: Path, side: str) -> Path:
    """Where a model's folder has the reference of one side, `source` or `target`."""
    return folder / f"{side}-{drift.FILE_NAME}"


def remember(
    folder: Path,
    trained_on: Mapping[str, Sequence[Known]],
    held_out: Mapping[str, Sequence[Known]],
) -> None:
    """Write a drift reference for either side of the pairs into a model's folder.

    Args:
        folder: of the model, trained.
        trained_on: pairs by the name of their set.
        held_out: likewise, those that it was not trained on; without any, the training texts are
            compared with each other.
    """
    encoder = SentenceEncoder(folder)
    for side, text_of in SIDES.items():
        seen = _sample({text_of(pair) for one in trained_on.values() for pair in one})
        unseen = _sample({text_of(pair) for one in held_out.values() for pair in one} - {*seen})
        if len(seen) < 2:
            continue
        Reference.build(
            encoder.encode(seen),
            encoder.encode(unseen) if unseen else None,
            drift.pieces(encoder.tokenizer, seen),
        ).save(path(folder, side))


def _sample(texts: Iterable[str]) -> list[str]:
    ordered = sorted(texts)
    return random.Random(0).sample(ordered, min(len(ordered), MAX_VECTORS))


def max_tokens(folder: Path) -> int:
    """Tokens after which a model cuts a text off."""
    return SentenceEncoder(folder).max_seq_length or 0
