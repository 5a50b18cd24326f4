"""Whether lines are unlike the texts that a model was trained on, and what to do then."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aparella.errors import JobError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Vectors: TypeAlias = NDArray[np.float32]

FILE_NAME = "drift.safetensors"
"""Of the reference, in a model's folder."""

MAX_VECTORS = 2_000
"""Training texts that a reference keeps: 1.5 MB at 384 dimensions of float16."""
FAR = 0.05
"""Lines farther from all training texts than this share of held-out ones count as far."""
PROBABILITIES = (0.01, FAR, 0.1, 0.25, 0.5, 0.75, 0.9)
MANY_PIECES = 4
"""A word cut into more pieces than this is one that the vocabulary hardly knows. Such a
vocabulary holds all single letters of most scripts, so few words are unknown outright."""

# What is worth a sentence. Both a share that matters and one that is no accident of few lines.
_FAR_UNUSUAL = 3 * FAR
_UNKNOWN_UNUSUAL = 0.02
_CUT_UNUSUAL = 0.15
_DEVIATIONS = 2.33
"""Standard errors that a share must exceed what is expected by: by chance, 1 sample in 100."""

_TEXTS = 1_000
"""Texts tokenized at a time."""
_ROWS = 2_048
"""Vectors compared at a time: their scores with all of a reference take 16 MB."""
_SEED = 20_260


@dataclass(frozen=True)
class Pieces:
    """How a vocabulary cuts the words of some texts.

    Attributes:
        words: number of words, as the tokenizer tells them apart.
        unknown: share of words with a piece that the vocabulary does not have.
        cut: share of words cut into more than `MANY_PIECES` pieces.
    """

    words: int
    unknown: float
    cut: float


def pieces(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> Pieces:
    """Count a sample's words by how the vocabulary cuts them; what a model cuts off counts too.

    Args:
        tokenizer: the model's (`SentenceTransformer.tokenizer`), a fast one.
        texts: cleaned texts.

    Raises:
        ValueError: the tokenizer does not tell which word a piece belongs to.
    """
    words = unknown = cut = 0
    for start in range(0, len(texts), _TEXTS):
        encoded = tokenizer(
            list(texts[start : start + _TEXTS]), add_special_tokens=False, verbose=False
        )
        for i, ids in enumerate(encoded["input_ids"]):
            word = np.array([-1 if w is None else w for w in encoded.word_ids(i)], dtype=np.int64)
            known = np.array(ids, dtype=np.int64) != tokenizer.unk_token_id
            sizes = np.bincount(word[word >= 0])
            words += int((sizes > 0).sum())
            cut += int((sizes > MANY_PIECES).sum())
            unknown += len(np.unique(word[~known & (word >= 0)]))
    return Pieces(words, unknown / max(words, 1), cut / max(words, 1))


@dataclass(frozen=True)
class Reference:
    """What is usual for a model, saved beside it.

    Attributes:
        vectors: of training texts, float16 (up to `MAX_VECTORS`, dim), of length 1.
        quantiles: of the cosine between a held-out line and the nearest of `vectors`, at
            `PROBABILITIES`.
        pieces: how the vocabulary cuts the training texts.
    """

    vectors: NDArray[np.float16]
    quantiles: tuple[float, ...]
    pieces: Pieces

    @classmethod
    def build(
        cls, training: Vectors, held_out: Vectors | None, cut: Pieces, seed: int = _SEED
    ) -> "Reference":
        """Build from the vectors that the model itself gives.

        Args:
            training: float32 (n, dim) of length 1, one for each distinct training text of the
                side that will be measured: lines, usually. A sample is kept if there are more
                than `MAX_VECTORS`.
            held_out: float32 (m, dim), those of lines that were not trained on. None where there
                are none (cross-validation): then each training text is compared with the others,
                which finds lines a little nearer than they would be.
            cut: `pieces` of the training texts.
            seed: of the sample.

        Raises:
            ValueError: there is nothing to compare.
        """
        others = held_out is None
        if len(training) <= others or (held_out is not None and not len(held_out)):
            raise ValueError("A reference needs training texts and lines to compare with them.")
        if len(training) > MAX_VECTORS:
            chosen = np.random.default_rng(seed).choice(len(training), MAX_VECTORS, replace=False)
            training = training[np.sort(chosen)]
        kept = training.astype(np.float16)
        near = nearest(training if held_out is None else held_out, kept, exclude_same_row=others)
        return cls(kept, tuple(np.quantile(near, PROBABILITIES).tolist()), cut)

    def save(self, path: Path) -> None:
        """Write to a safetensors file, the same bytes for the same reference.

        Raises:
            OSError: the file cannot be written.
        """
        from safetensors.numpy import save

        numbers = {"quantiles": self.quantiles, "pieces": asdict(self.pieces)}
        tensors = {"vectors": np.ascontiguousarray(self.vectors)}
        path.write_bytes(save(tensors, {"reference": json.dumps(numbers)}))

    @classmethod
    def load(cls, path: Path) -> "Reference":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            aparella.errors.JobError: the file is not such a reference.
        """
        from safetensors import SafetensorError, safe_open

        if not path.is_file():
            raise FileNotFoundError(path)
        try:
            with safe_open(path, framework="numpy") as file:
                numbers = json.loads(file.metadata()["reference"])
                vectors: NDArray[np.float16] = file.get_tensor("vectors")
            reference = cls(vectors, tuple(numbers["quantiles"]), Pieces(**numbers["pieces"]))
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise JobError(
                f"{path.name} is not a drift reference that can be read. Import the model again, "
                "or delete the file from its folder to do without."
            ) from error
        if vectors.ndim != 2 or len(reference.quantiles) != len(PROBABILITIES):
            raise JobError(f"{path.name} is a drift reference of another version. Train again.")
        return reference

    @property
    def far_below(self) -> float:
        """The cosine to the nearest training text below which a line counts as far."""
        return self.quantiles[PROBABILITIES.index(FAR)]


def nearest(
    vectors: Vectors, training: NDArray[np.floating], exclude_same_row: bool = False
) -> NDArray[np.float32]:
    """Cosine of each vector to the nearest training text.

    Args:
        vectors: float32 (m, dim) of length 1.
        training: (n, dim) of length 1, n at least 1; at least 2 with `exclude_same_row`.
        exclude_same_row: whether row i of the one is row i of the other, and does not count.

    Returns:
        float32 (m,).
    """
    turned = training.astype(np.float32).T
    result = np.empty(len(vectors), dtype=np.float32)
    for start in range(0, len(vectors), _ROWS):
        scores = vectors[start : start + _ROWS] @ turned
        if exclude_same_row:
            rows = np.arange(len(scores))
            scores[rows, rows + start] = -np.inf
        result[start : start + _ROWS] = scores.max(axis=1)
    return result


@dataclass(frozen=True)
class Drift:
    """What a sample of lines looks like beside what a model was trained on.

    Attributes:
        lines: how many were looked at.
        words: how many words they have.
        unknown: share of words that the vocabulary does not know; see `Pieces`.
        cut: share of words cut into many pieces.
        unknown_expected: the same share in the training texts; None without a reference.
        cut_expected: likewise.
        far: share of lines farther from all training texts than all but `FAR` of the held-out
            lines were; None without a reference.
        similarity: median cosine of a line to the nearest training text; None likewise.
    """

    lines: int
    words: int
    unknown: float
    cut: float
    unknown_expected: float | None = None
    cut_expected: float | None = None
    far: float | None = None
    similarity: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Numbers only."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Drift":
        """What `to_json` gave, again; raises TypeError for other fields."""
        return cls(**data)


def measure(
    tokenizer: "PreTrainedTokenizerBase",
    texts: Sequence[str],
    vectors: Vectors | None = None,
    reference: Reference | None = None,
) -> Drift:
    """Compare a sample of lines with what a model was trained on.

    Args:
        tokenizer: the model's.
        texts: cleaned texts of the sample; some thousand are enough.
        vectors: float32 (len(texts), dim) of length 1, those that the model gives the texts.
        reference: the model's; None for a base model, of which only the vocabulary is known.

    Raises:
        ValueError: the tokenizer is not a fast one.
    """
    found = pieces(tokenizer, texts)
    drift = Drift(len(texts), found.words, found.unknown, found.cut)
    if reference is None:
        return drift
    near = None if vectors is None or not len(vectors) else nearest(vectors, reference.vectors)
    return Drift(
        **asdict(found),
        lines=len(texts),
        unknown_expected=reference.pieces.unknown,
        cut_expected=reference.pieces.cut,
        far=None if near is None else float((near < reference.far_below).mean()),
        similarity=None if near is None else float(np.median(near)),
    )


def advice(drift: Drift) -> str | None:
    """One sentence for the user: what is unusual and what to do. None if nothing is."""
    what: list[str] = []
    far = drift.far is not None and _unusual(drift.far, FAR, _FAR_UNUSUAL, drift.lines)
    if far:
        what.append(
            f"{drift.far:.0%} of the lines are farther from every training text than usual "
            f"({FAR:.0%} would be)"
        )
    unknown, cut = drift.unknown_expected or 0.0, drift.cut_expected or 0.0
    if _unusual(drift.unknown, unknown, unknown + _UNKNOWN_UNUSUAL, drift.words):
        what.append(f"{drift.unknown:.0%} of the words have letters that the model does not know")
    if _unusual(drift.cut, cut, cut + _CUT_UNUSUAL, drift.words):
        what.append(f"{drift.cut:.0%} of the words are hardly known to the model")
    if not what:
        return None
    then = "add pairs of such lines and train again"
    if len(what) > far:  # something about the words themselves
        then = f"check the column, its language and its encoding, or {then}"
    return f"Unusual lines: {', and '.join(what)}; {then}."


def _unusual(share: float, expected: float, least: float, count: int) -> bool:
    """Whether a share of so many is large enough to matter and too large to be an accident."""
    # The error of an expected share of 0 is not 0: half an event is added.
    expected = max(expected, 0.5 / max(count, 1))
    error = float(np.sqrt(expected * (1 - expected) / max(count, 1)))
    return share > least and share > expected + _DEVIATIONS * error
