"""From texts to vectors: the sentence-transformers model, and a stand-in that costs nothing."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aparella.errors import ConfigurationError, JobError, RecordError, ResourceExhaustedError
from aparella.workers import figures
from aparella.workers.batches import TOKEN_BUDGET, plan_batches, plan_packed
from aparella.workers.precision import PROBES, Precision, native_bfloat16, same

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

DIM = 384
"""Dimension of every vector: the embedding table's column and its index are declared with it."""

Vectors: TypeAlias = NDArray[np.float32]
Progress: TypeAlias = Callable[[int], None]


def _unheard(_: int) -> None:
    """The progress of those who do not ask for it."""


class Encoder(Protocol):
    """Turns texts into vectors whose dot product is their similarity."""

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""
        ...

    def encode(self, texts: Sequence[str], progress: Progress = _unheard) -> Vectors:
        """Encode texts; the same text gives the same vector whatever it is encoded with.

        Args:
            texts: cleaned texts; one that occurs several times is encoded once.
            progress: called after each batch with the number of `texts` done in it. What it
                raises ends the encoding and reaches the caller: that is how a job is cancelled.

        Returns:
            float32 (len(texts), dim), each row of length 1.

        Raises:
            aparella.errors.RecordError: the model has no finite vector for some text.
            aparella.errors.ResourceExhaustedError: memory is short, the GPU's too.
        """
        ...


def load_encoder(
    kind: str, path: str | Path | None = None, precision: Precision = "auto"
) -> Encoder:
    """Load an encoder by the name that the settings know it by.

    Args:
        kind: `sentence-transformers`, or `hash`; `hash:SECONDS` also takes that time per text.
        path: folder of the model, for `sentence-transformers`.
        precision: of its linear layers on a CPU.

    Raises:
        aparella.errors.ConfigurationError: there is no such kind.
        aparella.errors.JobError: the model does not load.
    """
    name, _, seconds = kind.partition(":")
    if name == "hash":
        try:
            return HashEncoder(seconds_per_text=float(seconds or 0))
        except ValueError:
            pass
    elif kind == "sentence-transformers":
        if path is None:
            raise JobError("The model has no folder to load it from. Register it again.")
        return SentenceEncoder(path, precision=precision)
    raise ConfigurationError(
        f"APARELLA_ENCODER is {kind!r}: set it to sentence-transformers, hash or hash:SECONDS."
    )


class SentenceEncoder:
    """A sentence-transformers model in this process, read from a folder; nothing is downloaded.

    On a CPU with one thread (`devices.use_threads`) a text's vector is the same bits however the
    texts are ordered and split: see `batches.plan_batches` and `packed`. In bfloat16 (`precision`)
    it has a cosine of 0.9999 or more to that in float32.
    """

    def __init__(
        self, path: str | Path, device: str | None = None, precision: Precision = "auto"
    ) -> None:
        """Load the model.

        Args:
            path: folder that `SentenceTransformer.save` wrote (it holds a `modules.json`).
            device: a torch device; None takes the GPU if there is one.
            precision: of the linear layers on a CPU.

        Raises:
            aparella.errors.ConfigurationError: bfloat16 is wanted, and cannot be had here.
            aparella.errors.JobError: the folder does not hold a model that can be used.
            aparella.errors.ResourceExhaustedError: memory is short.
        """
        # One process per core already; the tokenizer's own threads would only contend with them.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        self.precision: Precision = "float32"
        """What the linear layers compute with: `float32` or `bfloat16`."""
        self._packs = False
        self._model = _load(path, device)
        if self._model.device.type != "cpu":
            return
        from aparella.workers import prepacked

        can = prepacked.multiplies_bfloat16()
        if precision == "bfloat16" and not can:
            raise ConfigurationError(
                "bfloat16 cannot be multiplied on this machine: set APARELLA_PRECISION to float32."
            )
        if precision == "float32" or (precision == "auto" and not (can and native_bfloat16())):
            self._pack("float32")
            return
        reference = self.encode(PROBES)
        self._pack("bfloat16")
        if precision == "auto" and not same(self.encode(PROBES), reference):
            self._model = _load(path, device)
            self._pack("float32")

    def _pack(self, precision: Precision) -> None:
        """Let the model take texts end to end, with weights that are packed for the processor."""
        import torch

        from aparella.workers import packed, prepacked

        if prepacked.available():
            with torch.inference_mode():
                prepacked.prepack(self._model, getattr(torch, precision))
            self.precision = precision
        self._packs = packed.packs(self._model)
        if self._packs:
            packed.use(self._model)

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""
        return DIM

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer, of the library."""
        return self._model.tokenizer

    @property
    def max_seq_length(self) -> int | None:
        """Tokens after which a text is cut off."""
        return self._model.max_seq_length

    def encode(self, texts: Sequence[str], progress: Progress = _unheard) -> Vectors:
        """Encode texts; see `Encoder.encode`."""
        import torch

        distinct, row_of, occurrences = _distinct(texts)
        vectors = np.empty((len(distinct), DIM), dtype=np.float32)
        if not distinct:
            return vectors
        for indexes, features in self._batches(distinct):
            try:
                with torch.inference_mode():
                    output = self._model(features)["sentence_embedding"]
                    output = torch.nn.functional.normalize(output)
                vectors[indexes] = output.cpu().numpy()
            except (MemoryError, torch.OutOfMemoryError) as error:
                raise ResourceExhaustedError("Memory is short for encoding texts.") from error
            if not np.isfinite(vectors[indexes]).all():
                raise RecordError("The model gives a vector that is not finite for a text.")
            progress(int(occurrences[indexes].sum()))
        return vectors[row_of]

    def _batches(
        self, texts: list[str]
    ) -> Iterator[tuple[NDArray[np.int64], "dict[str, torch.Tensor]"]]:
        """The places of each batch's texts, and what the model takes for them."""
        from aparella.workers import packed

        tokenizer = self._model.tokenizer
        tokens: dict[str, list[list[int]]] = tokenizer(
            texts, truncation=True, max_length=self.max_seq_length, padding=False
        ).data
        lengths = [len(ids) for ids in tokens["input_ids"]]
        if self._packs:
            for indexes in plan_packed(lengths):
                _count(sum(lengths[i] for i in indexes), 0)
                yield indexes, packed.features([tokens["input_ids"][i] for i in indexes])
            return
        for batch in plan_batches(lengths):
            real = sum(lengths[i] for i in batch.indexes)
            _count(real, batch.length * len(batch.indexes))
            padded: Any = tokenizer.pad(
                {name: [values[i] for i in batch.indexes] for name, values in tokens.items()},
                padding="max_length",
                max_length=batch.length,
                return_tensors="pt",
            )
            yield batch.indexes, padded.to(self._model.device)


def _load(path: str | Path, device: str | None) -> "SentenceTransformer":
    # Seconds to import, and the API and the hash encoder do without.
    import torch
    from sentence_transformers import SentenceTransformer

    from aparella.workers.devices import choose_device

    if not (Path(path) / "modules.json").is_file():
        raise JobError(
            f"{path} is not a sentence-transformers model: it has no modules.json. "
            "Register a folder that SentenceTransformer.save wrote."
        )
    try:
        model = SentenceTransformer(
            str(path), device=device or choose_device(), local_files_only=True
        )
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise ResourceExhaustedError(f"Memory is short for the model in {path}.") from error
    except Exception as error:
        raise JobError(f"The model in {path} does not load: {error}") from error
    dim = model.get_embedding_dimension()
    if dim != DIM or model.dtype != torch.float32:
        raise JobError(
            f"The model in {path} gives {dim} numbers of {model.dtype} per text; "
            f"Aparella stores {DIM} of torch.float32. Choose another base model."
        )
    if model.default_prompt_name is not None:
        raise JobError(
            f"The model in {path} puts a prompt ({model.default_prompt_name!r}) before each "
            "text, which Aparella does not do. Choose another base model."
        )
    return model.eval()


class HashEncoder:
    """Seeded vectors without a model: measures the engine alone, and makes tests quick.

    A text's vector is drawn from the unit sphere by a generator seeded with the text's digest:
    the same in every process, and unrelated to those of similar texts.
    """

    _BATCH = 100
    """Texts between two calls of `progress`."""

    def __init__(self, dim: int = DIM, seed: int = 0, seconds_per_text: float = 0.0) -> None:
        """Make an encoder.

        Args:
            dim: dimension of the vectors.
            seed: another seed gives every text another vector.
            seconds_per_text: how long encoding a distinct text seems to take.
        """
        self._dim = dim
        self._key = seed.to_bytes(8, "little")
        self._seconds_per_text = seconds_per_text

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""
        return self._dim

    def encode(self, texts: Sequence[str], progress: Progress = _unheard) -> Vectors:
        """Encode texts; see `Encoder.encode`."""
        distinct, row_of, occurrences = _distinct(texts)
        vectors = np.empty((len(distinct), self._dim), dtype=np.float32)
        for start in range(0, len(distinct), self._BATCH):
            batch = slice(start, start + self._BATCH)
            for row, text in enumerate(distinct[batch], start):
                digest = blake2b(text.encode(), key=self._key, digest_size=16).digest()
                generator = np.random.default_rng(int.from_bytes(digest, "little"))
                vectors[row] = generator.standard_normal(self._dim, dtype=np.float32)
            vectors[batch] /= np.linalg.norm(vectors[batch], axis=1, keepdims=True)
            if self._seconds_per_text:
                time.sleep(self._seconds_per_text * len(distinct[batch]))
            progress(int(occurrences[batch].sum()))
        return vectors[row_of]


def _count(tokens: int, padded: int) -> None:
    figures.own.batch(tokens, max(tokens, padded, TOKEN_BUDGET))


def _distinct(texts: Sequence[str]) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """The distinct texts, each given text's place among them, and how often each occurs."""
    places: dict[str, int] = {}
    row_of = np.fromiter((places.setdefault(t, len(places)) for t in texts), np.int64, len(texts))
    return list(places), row_of, np.bincount(row_of, minlength=len(places))
