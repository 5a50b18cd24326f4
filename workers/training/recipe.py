"""How a model is trained: every hyper-parameter, checked, and the presets that are ready made."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from aparella.errors import InputError

AUTO_EPOCHS = 0
"""As `epochs`: as many as the number of steps asks for; see `Recipe.epochs_for`."""


@dataclass(frozen=True)
class Recipe:
    """The hyper-parameters of a training; `recipe` builds one that is checked.

    Attributes:
        preset: name of the preset it began as.
        epochs: times each pair is seen; 0 chooses by the number of pairs.
        batch_size: pairs in a step, each the negative of the others.
        learning_rate: the highest of the run.
        scheduler: how it falls to 0: `linear` or `cosine`; or `constant`.
        warmup_ratio: share of the steps in which it climbs from 0.
        weight_decay: AdamW's.
        max_grad_norm: longer gradients are cut to this length.
        scale: what cosines are multiplied with before the softmax: 1 / temperature.
        symmetric: also rank the sources for each target, and average both losses.
        dropout: probability of the model's dropout layers; None leaves the model's own.
        average: share of the last steps over which the weights are averaged; 0 takes the last ones.
        hard_negatives: mined wrong targets for each pair.
        join_codes: read codes without their hyphens (`normalizer.join_codes`); false leaves the
            base's tokenizer as it is.
        batch_sampler: `group_aware` keeps pairs that share a source, a target or a group apart;
            `plain` is the library's, which does not.
        round_robin: with several sets of pairs, take a batch of each in turn and end the epoch with
            the shortest set, as the library does; otherwise each set is seen whole, its batches
            spread evenly.
        seed: of the order of pairs and of dropout.
        cached_tokens: a batch of more tokens is done in two passes with cached gradients: the
            same result in the memory of so many tokens, for a third more time.
        precision: `auto` takes bfloat16 on a GPU that has it, else float32; or `float32`.
    """

    preset: str = "default"
    epochs: int = AUTO_EPOCHS
    batch_size: int = 64
    learning_rate: float = 5e-5
    scheduler: str = "linear"
    warmup_ratio: float = 0.1
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    scale: float = 20.0
    symmetric: bool = False
    dropout: float | None = None
    average: float = 0.0
    hard_negatives: int = 0
    join_codes: bool = False
    batch_sampler: str = "group_aware"
    round_robin: bool = False
    seed: int = 42
    cached_tokens: int = 16_384
    precision: str = "auto"

    def epochs_for(self, steps: int) -> int:
        """Epochs of a run.

        Args:
            steps: batches in an epoch.

        Returns:
            `epochs` where it is set. Else 5, but more where that makes fewer than 30 steps (few
            pairs), and fewer, down to 1, where it makes more than 1,000 (many pairs).
        """
        if self.epochs:
            return self.epochs
        few = math.ceil(30 / steps)
        many = max(1, 1_000 // steps)
        return max(few, min(5, many))

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON knows it; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Recipe":
        """The recipe of `as_dict`; what an earlier release did not know of is left out.

        Raises:
            aparella.errors.InputError: a name or a value is not one that a recipe can have.
        """
        rest = asdict(cls()) | dict(values)
        return recipe(str(rest.pop("preset", "default")), **rest)


PRESETS = {
    "seed": Recipe(
        preset="seed",
        epochs=1,
        batch_size=64,
        learning_rate=5e-5,
        scheduler="linear",
        warmup_ratio=0.0,
        weight_decay=0.0,
        max_grad_norm=1.0,
        scale=20.0,
        batch_sampler="plain",
        round_robin=True,
        seed=42,
    ),
    "default": Recipe(
        preset="default", learning_rate=1e-4, dropout=0.0, average=0.4, join_codes=True
    ),
}
"""`seed`: the model card's hyper-parameters to the letter. `default`: see docs/training.md."""

_RANGES: dict[str, tuple[float, float]] = {
    "epochs": (0, 1_000),
    "batch_size": (2, 65_536),
    "learning_rate": (1e-8, 1e-2),
    "warmup_ratio": (0, 0.9),
    "weight_decay": (0, 1),
    "max_grad_norm": (1e-3, 1e3),
    "scale": (1, 200),
    "dropout": (0, 0.9),
    "average": (0, 0.9),
    "hard_negatives": (0, 16),
    "seed": (0, 2**32 - 1),
    "cached_tokens": (512, 2**31),
}
_CHOICES: dict[str, tuple[str, ...]] = {
    "scheduler": ("linear", "cosine", "constant"),
    "batch_sampler": ("group_aware", "plain"),
    "precision": ("auto", "float32"),
}
_INTEGERS = {"epochs", "batch_size", "hard_negatives", "seed", "cached_tokens"}
_FLAGS = {"symmetric", "round_robin", "join_codes"}


def recipe(preset: str = "default", **overrides: Any) -> Recipe:
    """A preset with some of its hyper-parameters changed.

    Args:
        preset: a name in `PRESETS`.
        overrides: fields of `Recipe`.

    Raises:
        aparella.errors.InputError: no such preset or field, or a value out of its range; `field`
            names it.
    """
    if preset not in PRESETS:
        names = ", ".join(sorted(PRESETS))
        raise InputError(f"There is no preset {preset!r}: the presets are {names}.", field="preset")
    known = {field.name for field in fields(Recipe)} - {"preset"}
    for name, value in overrides.items():
        if name not in known:
            raise InputError(
                f"A recipe has no {name!r}: it has {', '.join(sorted(known))}.", field=name
            )
        _check(name, value)
    return replace(PRESETS[preset], **overrides)


def _check(name: str, value: Any) -> None:
    if name in _CHOICES:
        if value not in _CHOICES[name]:
            allowed = " or ".join(_CHOICES[name])
            raise InputError(f"{name} is {value!r}: {allowed} is allowed.", field=name)
    elif name in _FLAGS:
        if not isinstance(value, bool):
            raise InputError(f"{name} is {value!r}: true or false is allowed.", field=name)
    elif not (name == "dropout" and value is None):
        low, high = _RANGES[name]
        kind = "a whole number" if name in _INTEGERS else "a number"
        number = isinstance(value, int if name in _INTEGERS else (int, float))
        if not number or isinstance(value, bool) or not low <= value <= high:
            raise InputError(
                f"{name} is {value!r}: {kind} from {low:g} to {high:g} is allowed.", field=name
            )
