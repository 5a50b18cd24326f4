"""Teaching a new model's fusion by its own pairs, with vectors that have not seen the answers."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from aparella.category import ATTRIBUTES, category
from aparella.workers.encoder import SentenceEncoder, Vectors
from aparella.workers.evaluation import split
from aparella.workers.features import abbreviations
from aparella.workers.features.attributes import Attributes
from aparella.workers.fusion.candidates import DEPTH, Candidates, Ids
from aparella.workers.fusion.corpus import Corpus, Lines
from aparella.workers.fusion.evidence import compare_attributes
from aparella.workers.fusion.learning import MIN_QUERIES, Known, learn
from aparella.workers.fusion.model import Fusion, default
from aparella.workers.matching import DECIMALS
from aparella.workers.text import text_hash

POOL = 10_000
"""Catalogue texts that are encoded for each set and half: those that letters and words bring up,
the right ones, and at random as many others as there is room for."""
MOST_QUERIES = 5_000
"""Queries of a set that the fusion learns from: its 33 weights need no more, and each has some 20
candidates of 33 numbers in memory."""
_HALVES = (0, 1)


class KnownPair(Protocol):
    """A known pair that belongs together."""

    @property
    def source_text(self) -> str:
        """The line."""

    @property
    def target_text(self) -> str:
        """The catalogue record."""

    @property
    def fold(self) -> int | None:
        """Of the split; None: in no part."""


@dataclass(frozen=True)
class Placed:
    """A known pair and its fold, none of whose texts is in another fold of any set."""

    source_text: str
    target_text: str
    fold: int


@dataclass(frozen=True)
class Beside:
    """What is known of a set's records beside their texts: attributes by text.

    Attributes:
        lines: of the list's.
        records: of the catalogue's.
    """

    lines: Mapping[str, Attributes]
    records: Mapping[str, Attributes]


Sets = Mapping[str, Sequence[Placed]]
Train = Callable[[int, Sets], Path]
"""Trains a model on the pairs of one half (0: even folds, 1: odd ones) and gives its folder."""


@dataclass(frozen=True)
class _Part:
    """What one half of a set's queries gives."""

    candidates: Candidates
    features: NDArray[np.float64]
    right: NDArray[np.bool_]
    folds: list[int]
    category: list[str | None]


def teach(
    sets: Mapping[str, Sequence[KnownPair]],
    catalogues: Mapping[str, Sequence[str]],
    train: Train,
    tick: Callable[[], None],
    beside: Mapping[str, Beside] | None = None,
    attributes: tuple[str, ...] = ATTRIBUTES,
) -> Fusion:
    """Learn a fusion for a model from the pairs that the model was trained on.

    A model ranks the answers that it was trained on far better than any others, so that its own
    scores would teach too much trust in them. Two more models are trained, each on half of the
    folds, and each scores the queries of the other half.

    Args:
        sets: pairs by the name of their set.
        catalogues: texts by set among which the right ones are to be found; the right ones are
            added, and stand for the catalogue where there is none.
        train: of a half.
        tick: called now and then; what it raises ends the work.
        beside: attributes by set, of the sets that have some.
        attributes: those that tell a record's category, the first one found.

    Returns:
        The default fusion where there are too few pairs to learn from.
    """
    placed = _placed(sets)
    queries = {p.source_text for pairs in placed.values() for p in pairs}
    halves = [_trainable(placed, half) for half in _HALVES]
    if len(queries) < MIN_QUERIES or not all(halves):
        return default()
    encoders = [SentenceEncoder(train(half, halves[half])) for half in _HALVES]
    # The words of a half's answers are learnt from the other half, as its vectors are.
    learnt = [abbreviations.learn(_texts(placed, half)) for half in _HALVES]
    parts: list[_Part] = []
    for name, pairs in placed.items():
        texts = dict.fromkeys([*(p.target_text for p in pairs), *catalogues.get(name, ())])
        corpus = Corpus(list(texts))
        tick()
        for half in _HALVES:
            unseen = [p for p in pairs if p.fold % 2 == half]
            if unseen:

                def encode(
                    texts: Sequence[str], by: SentenceEncoder = encoders[1 - half]
                ) -> Vectors:
                    return by.encode(texts, lambda _: tick())

                known = (beside or {}).get(name)
                parts.append(_part(unseen, corpus, encode, learnt[1 - half], known, attributes))
            tick()
    counts = {name: len(pairs) for name, pairs in placed.items()}
    everything = abbreviations.learn(pair for half in _HALVES for pair in _texts(placed, half))
    together = replace(_together(parts), attributes=attributes)
    return learn(together, default(), everything, {"pair_sets": counts})


def _placed(sets: Mapping[str, Sequence[KnownPair]]) -> dict[str, list[Placed]]:
    """The pairs with their folds; of several sets, which may share texts, with folds for all."""
    known = [(name, p) for name, pairs in sets.items() for p in pairs if p.fold is not None]
    folds = {number: p.fold for number, (_, p) in enumerate(known)}
    if len({name for name, _ in known}) > 1:
        folds = split.assign(
            split.PairKey(number, text_hash(p.source_text), text_hash(p.target_text))
            for number, (_, p) in enumerate(known)
        )
    placed: dict[str, list[Placed]] = {name: [] for name in sets}
    for number, (name, p) in enumerate(known):
        fold = folds[number]
        if fold is not None:
            placed[name].append(Placed(p.source_text, p.target_text, fold))
    chosen: dict[str, list[Placed]] = {}
    for name, pairs in placed.items():
        queries = sorted({p.source_text for p in pairs})
        kept = set(random.Random(0).sample(queries, min(len(queries), MOST_QUERIES)))
        chosen[name] = [p for p in pairs if p.source_text in kept]
    return chosen


def _trainable(placed: Sets, half: int) -> dict[str, list[Placed]]:
    """The pairs of a half; a set with less than two records there has nothing to tell apart."""
    found = {name: [p for p in pairs if p.fold % 2 == half] for name, pairs in placed.items()}
    return {name: pairs for name, pairs in found.items() if len({p.target_text for p in pairs}) > 1}


def _texts(placed: Sets, half: int) -> list[tuple[str, str]]:
    return [
        (p.source_text, p.target_text)
        for pairs in placed.values()
        for p in pairs
        if p.fold % 2 == half
    ]


def _part(
    pairs: Sequence[Placed],
    corpus: Corpus,
    encode: Callable[[Sequence[str]], Vectors],
    learnt: abbreviations.Abbreviations,
    beside: Beside | None = None,
    attributes: tuple[str, ...] = ATTRIBUTES,
) -> _Part:
    """Candidates of the pairs' queries, their evidence, and which are right."""
    row_of = {text: row for row, text in enumerate(corpus.texts)}
    right: dict[str, set[int]] = {}
    folds: dict[str, int] = {}
    for pair in pairs:
        right.setdefault(pair.source_text, set()).add(row_of[pair.target_text])
        folds[pair.source_text] = pair.fold
    texts = list(right)
    nothing = np.empty(0, dtype=np.int64)
    lexical = Lines(corpus, texts, (nothing, nothing)).candidates.row
    pool = _pool(len(corpus), {*lexical.tolist(), *(r for rows in right.values() for r in rows)})
    vectors = encode([corpus.texts[row] for row in pool.tolist()])
    queries = encode(texts)
    lines = Lines(corpus, texts, _dense(queries, vectors, pool))
    found = lines.candidates
    # A list that is matched with itself: a line is not its own answer.
    own = [
        texts[query] == corpus.texts[row] and row not in right[texts[query]]
        for query, row in zip(found.query.tolist(), found.row.tolist(), strict=True)
    ]
    found = found.where(~np.array(own, dtype=bool))
    score = np.einsum(
        "ij,ij->i",
        queries[found.query].astype(np.float64),
        vectors[np.searchsorted(pool, found.row)],
    )
    features = lines.features(found, score.round(DECIMALS).astype(np.float32), learnt)
    both = list(zip(found.query.tolist(), found.row.tolist(), strict=True))
    of_records: list[Attributes] = [{}] * len(both)
    if beside is not None:
        of_records = [beside.records.get(corpus.texts[row], {}) for _, row in both]
        compare_attributes(
            features, [beside.lines.get(texts[query], {}) for query, _ in both], of_records
        )
    return _Part(
        candidates=found,
        features=features,
        right=np.array([row in right[texts[query]] for query, row in both], dtype=bool),
        folds=[folds[text] for text in texts],
        category=[category(one, attributes) for one in of_records],
    )


def _pool(rows: int, wanted: set[int]) -> Ids:
    """Rows to encode, ascending: those wanted, and others up to `POOL`."""
    others = [row for row in range(rows) if row not in wanted]
    more = random.Random(0).sample(others, max(0, min(len(others), POOL - len(wanted))))
    return np.array(sorted([*wanted, *more]), dtype=np.int64)


def _dense(queries: Vectors, vectors: Vectors, pool: Ids) -> tuple[Ids, Ids]:
    """The nearest rows of the pool for each query, as (query, row) pairs."""
    depth = min(DEPTH, len(pool))
    best = [np.argsort(-(vectors @ query), kind="stable")[:depth] for query in queries]
    return np.repeat(np.arange(len(queries)), depth), pool[np.concatenate(best)]


def _together(parts: Sequence[_Part]) -> Known:
    offset, query = 0, []
    for part in parts:
        query.append(part.candidates.query + offset)
        offset += len(part.folds)
    return Known(
        candidates=Candidates(
            np.concatenate(query), np.concatenate([part.candidates.row for part in parts])
        ),
        features=np.vstack([part.features for part in parts]),
        right=np.concatenate([part.right for part in parts]),
        queries=offset,
        fold=np.array([fold for part in parts for fold in part.folds], dtype=np.int64),
        weight=np.ones(offset),
        category=[one for part in parts for one in part.category],
    )


def summary(fusion: Fusion) -> dict[str, Any]:
    """What a model's version notes of its fusion."""
    from aparella.workers.fusion.reliability import diagram, expected_calibration_error

    trials = fusion.trials
    if not len(trials):
        return {**fusion.learnt_from, "learnt": False}
    return {
        **fusion.learnt_from,
        "learnt": True,
        "acc_1": round(len(trials.right) / fusion.learnt_from["queries"], 4),
        "ece": round(expected_calibration_error(trials), 4),
        "reliability": [vars(one) for one in diagram(trials)],
        "categories": dict(fusion.categories.offsets),
    }
