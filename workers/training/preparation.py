"""What comes before the first step: the model, the memory it will need, the negatives."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from aparella import machine
from aparella.errors import JobError
from aparella.workers.training import memory
from aparella.workers.training.forward import cut, embed
from aparella.workers.training.material import Material
from aparella.workers.training.negatives import Floats, mine
from aparella.workers.training.normalizer import join_codes
from aparella.workers.training.pairs import Rejection
from aparella.workers.training.recipe import Recipe
from aparella.workers.training.tokens import Tokens

_ENCODE_TOKENS = 8_192
_BLOCK = 4_096
"""Texts of a catalogue whose vectors are in memory at a time, as far as they are encoded here."""
_ENCODED = 10
"""Times the pairs: texts of a catalogue without vectors that are encoded to find negatives among,
those in front. More would take longer than the training itself."""


def load(base: Path, device: str, recipe: Recipe) -> SentenceTransformer:
    """The base model, with the recipe's dropout, and reading codes as the recipe says.

    Raises:
        JobError: it does not load.
    """
    try:
        model = SentenceTransformer(str(base), device=device, local_files_only=True)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise JobError(f"The base model in {base} does not load: {error}") from error
    if recipe.dropout is not None:
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = recipe.dropout
    if recipe.join_codes:
        join_codes(model)
    return model


def check_memory(
    model: SentenceTransformer, recipe: Recipe, material: Material, part_tokens: int, device: str
) -> memory.Need:
    """What the training will need at its peak.

    Raises:
        JobError: that is more than is free.
    """
    transformer: Any = model[0]
    config = transformer.model.config
    shape = memory.Shape(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        heads=config.num_attention_heads,
        dropout=any(m.p > 0 for m in model.modules() if isinstance(m, torch.nn.Dropout)),
    )
    lengths = material.tokens.lengths
    needed = memory.need(
        shape, recipe, lengths[material.sources], lengths[material.targets], part_tokens
    )
    free = machine.memory_free() if device == "cpu" else int(torch.cuda.mem_get_info()[0])
    memory.check(needed, free, recipe)
    return needed


def choose_negatives(
    model: SentenceTransformer,
    material: Material,
    recipe: Recipe,
    catalogues: Mapping[str, Sequence[str]],
    rejections: Mapping[str, Sequence[Rejection]],
    vectors: Mapping[str, Floats],
) -> NDArray[np.int64]:
    """Each pair's known wrong targets, then mined ones: int64 (pairs, hard_negatives).

    Args:
        model: as it is before the first step.
        material: the pairs.
        recipe: how many.
        catalogues: texts by set; the targets of a set without.
        rejections: known wrong pairs by set.
        vectors: of the catalogues' texts by this model, (texts, dim), where they are known.
    """
    count = recipe.hard_negatives
    chosen = material.reject(rejections, count)
    mined = np.full_like(chosen, -1)
    model.eval()
    for name, rows in material.slices().items():
        known, texts = vectors.get(name), catalogues.get(name)
        if texts is None:
            targets = material.targets[rows]
        elif known is None:
            targets = material.tokens.add(texts[: _ENCODED * (rows.stop - rows.start)])
        else:
            targets = material.tokens.add(texts)
        mined[rows] = mine(
            _encode(model, material.tokens, material.sources[rows]),
            _encode(model, material.tokens, material.targets[rows]),
            _blocks(model, material.tokens, targets, known),
            *(material.right[rows], count, recipe.seed),
        )
    for row, known in enumerate(chosen.tolist()):
        own = [number for number in known if number >= 0]
        own += [number for number in mined[row].tolist() if number not in own]
        chosen[row] = own[:count] + [-1] * (count - len(own))
    return chosen


def _blocks(
    model: SentenceTransformer, tokens: Tokens, targets: NDArray[np.int64], known: Floats | None
) -> Iterator[tuple[NDArray[np.int64], Floats]]:
    """Each text once, with its vector: the known one, or one encoded now."""
    numbers, first = np.unique(targets, return_index=True)
    for start in range(0, len(numbers), _BLOCK):
        block = slice(start, start + _BLOCK)
        yield (
            numbers[block],
            _encode(model, tokens, numbers[block]) if known is None else known[first[block]],
        )


def _encode(model: SentenceTransformer, tokens: Tokens, numbers: NDArray[np.int64]) -> Floats:
    with torch.inference_mode():
        parts = cut(tokens, numbers, _ENCODE_TOKENS).to(model.device)
        vectors: Floats = torch.nn.functional.normalize(embed(model, parts)).cpu().numpy()
    return vectors
