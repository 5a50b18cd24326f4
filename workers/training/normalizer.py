"""What the tokenizer does to a text before it cuts it: codes are read without their hyphens."""

from typing import Any

from tokenizers import Regex, normalizers
from transformers import PreTrainedTokenizerFast

_LETTERS_OR_DIGITS = "[0-9A-Za-z]"
_OF_A_CODE = "|".join(
    ["[A-Za-z]", *("[A-Za-z-]" + "[0-9]" * digits for digits in range(1, 5)), "[0-9]{5}"]
)
"""What may stand before a code's hyphen: a letter, a number with a letter or a hyphen before it, or
a long number. A lookbehind takes no repetition, so each length is written out."""
_GOES_ON = f"-(?={_LETTERS_OR_DIGITS}*[0-9])"
_NO_BOUND = "(?![0-9]{1,4}[A-Za-z]*(?![-0-9A-Za-z]))"
"""What follows is not a short number alone or with its unit: the upper bound of a range."""

HYPHEN = f"(?<={_OF_A_CODE}){_GOES_ON}|(?<={_LETTERS_OR_DIGITS}){_GOES_ON}{_NO_BOUND}"
"""A hyphen inside a code, as Oniguruma reads it: those of `KX-TS620W` and `010-00575-10`, and none
of `10-50KG`, `Front-Load` and `12-volt`."""


def join_codes(model: Any) -> None:
    """Let a model read `KX-TS620W` as it reads `KXTS620W`.

    A buyer's list and a catalogue write the same code with and without hyphens, and a tokenizer
    cuts the two into different pieces: what the model sees has nothing in common. The tokenizer
    keeps this when it is saved, so whoever loads the model's folder has it too. Where a tokenizer
    has it already, nothing changes.

    Args:
        model: a SentenceTransformer with a fast tokenizer.
    """
    old = model.tokenizer
    backend = old.backend_tokenizer
    if HYPHEN in backend.to_str():
        return
    own = [backend.normalizer] if backend.normalizer else []
    backend.normalizer = normalizers.Sequence([normalizers.Replace(Regex(HYPHEN), ""), *own])
    # A class of its own architecture would build its own normalizer again when it is loaded.
    model[0].processor = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend,
        model_max_length=old.model_max_length,
        padding_side=old.padding_side,
        truncation_side=old.truncation_side,
        model_input_names=old.model_input_names,
        **old.special_tokens_map,
    )
