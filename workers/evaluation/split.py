"""Which pairs train a model and which test it: a split that leaks no text and never moves."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from aparella.errors import InputError

FOLDS = 10
TEST_FOLDS = frozenset({0, 1})
"""The held-out part: a fifth of the pairs. No model that competes is trained on them."""
TRAIN_FOLDS = frozenset(range(FOLDS)) - TEST_FOLDS

MIN_PAIRS = 20
"""Positive pairs below which nothing can be trained and told apart from luck."""
MIN_QUERIES = 50
"""Distinct source texts below which a hold-out says little: with 50, the 95 % interval of an
accuracy of 0.8 is 22 points wide (2 x 1.96 x sqrt(0.8 x 0.2 / 50))."""

_SEED = b"aparella split 1"
"""Part of every hash that orders pairs. Another seed would be another split."""

Side = Literal["test", "train"]


@dataclass(frozen=True)
class PairKey:
    """A known pair as the split sees it.

    Attributes:
        id: the pair's id.
        source: hash of the source's text.
        target: hash of the target's text.
        positive: whether the two belong together; else somebody has said that they do not.
        fold: the stored fold, 0 to 9, or None: not placed yet, or left out of both parts.
    """

    id: int
    source: bytes
    target: bytes
    positive: bool = True
    fold: int | None = None

    @property
    def side(self) -> Side | None:
        """Which part of the split the pair is in, if any."""
        return None if self.fold is None else side_of(self.fold)


@dataclass(frozen=True)
class Round:
    """One training and its test: the folds of each."""

    test: frozenset[int]
    train: frozenset[int]


@dataclass(frozen=True)
class Protocol:
    """How a model is evaluated on a set of pairs.

    Attributes:
        kind: `holdout`: the final model is tested on the held-out part. `cross_validation`: a
            model of its own is trained for each round, and the final one on all pairs.
        rounds: the trainings whose test parts are ranked, together each query once.
        queries: distinct source texts that are ranked.
        sentence: what was done and why, for the user.
    """

    kind: Literal["holdout", "cross_validation"]
    rounds: tuple[Round, ...]
    queries: int
    sentence: str


def side_of(fold: int) -> Side:
    """Whether a fold belongs to the test or the train part."""
    return "test" if fold in TEST_FOLDS else "train"


def assign(pairs: Iterable[PairKey]) -> dict[int, int | None]:
    """Place every pair in a fold so that no text stands in both the test and the train part.

    Positive pairs that share a text, as source or target, form a component, and a component is
    in one fold. The result depends on the set of pairs only, not on their order.

    - What is stored stays: a pair in the test part remains there, and so does one in the train
      part. A component keeps its fold.
    - A new component goes to the fold with the fewest pairs, in the order of a seeded hash. One
      bigger than a fold's fair share goes to a train fold: one popular record must not be most
      of the test.
    - A new pair that joins components of one part makes them one, in the fold that most of their
      stored pairs have. So pairs move between train folds, which changes nothing in a hold-out
      and keeps cross-validation free of leaks; likewise between the two test folds.
    - A new pair that would join a test and a train component is left out of both: None. So is a
      stored train pair one of whose texts has come to be a test pair's.
    - A rejection follows its source's text. Its target connects nothing.

    Args:
        pairs: all pairs of the set, with the folds that are stored.

    Returns:
        Fold, or None, by id, for every pair: store those that differ.
    """
    texts = _Texts()
    placed: list[PairKey] = []
    ordered = sorted(pairs, key=_order)
    # What is stored comes first, the test part before all else; then the new, in hash order.
    # Stored rejections precede new pairs, since a model may have been trained on them.
    stored: tuple[tuple[Side, bool], ...] = (
        ("test", True),
        ("train", True),
        ("test", False),
        ("train", False),
    )
    for side, positive in stored:
        for pair in ordered:
            if pair.side != side or pair.positive is not positive:
                continue
            if positive and texts.join(pair.source, pair.target, side):
                placed.append(pair)
            elif not positive:
                texts.mark(pair.source, side)
    new = (pair for pair in ordered if pair.positive and pair.fold is None)
    placed.extend(pair for pair in new if texts.join(pair.source, pair.target, None))
    placed.extend(pair for pair in ordered if not pair.positive)

    components: dict[bytes, list[PairKey]] = defaultdict(list)
    for pair in placed:
        components[texts.find(pair.source)].append(pair)
    fold_of = _place(components, texts.side, len(placed))
    folds: dict[int, int | None] = {pair.id: None for pair in ordered}
    folds.update({pair.id: fold_of[texts.find(pair.source)] for pair in placed})
    return folds


def placed(pairs: Iterable[PairKey]) -> list[PairKey]:
    """The same pairs with the folds that `assign` gives them, in the order given."""
    pairs = list(pairs)
    folds = assign(pairs)
    return [replace(pair, fold=folds[pair.id]) for pair in pairs]


def _order(pair: PairKey) -> bytes:
    """A seeded hash of a pair's texts: an order that has to do with nothing else."""
    size = len(pair.source).to_bytes(4, "big")
    return hashlib.sha256(_SEED + size + pair.source + pair.target).digest()


class _Texts:
    """Texts in components (union-find), each component on one side, or none yet.

    A text is one node whether it is a source or a target: where a list is matched with itself,
    A->B and B->C tell of the same thing.
    """

    def __init__(self) -> None:
        self._parent: dict[bytes, bytes] = {}
        self.side: dict[bytes, Side | None] = {}

    def find(self, text: bytes) -> bytes:
        """The root of a text's component; a text not seen yet becomes one."""
        if text not in self._parent:
            self._parent[text] = text
            self.side[text] = None
        root = text
        while self._parent[root] != root:
            root = self._parent[root]
        while self._parent[text] != root:
            self._parent[text], text = root, self._parent[text]
        return root

    def mark(self, text: bytes, side: Side) -> None:
        """Put a component on a side, unless it is on one."""
        root = self.find(text)
        self.side[root] = self.side[root] or side

    def join(self, first: bytes, second: bytes, side: Side | None) -> bool:
        """Make two components one, on the side given; False, and nothing done, if sides differ."""
        first, second = self.find(first), self.find(second)
        sides = {self.side[first], self.side[second], side} - {None}
        if len(sides) > 1:
            return False
        self._parent[second] = first
        self.side[first] = sides.pop() if sides else None
        return True


def _place(
    components: dict[bytes, list[PairKey]], side: dict[bytes, Side | None], total: int
) -> dict[bytes, int]:
    """The fold of each component, by its root."""
    fold_of: dict[bytes, int] = {}
    sizes = dict.fromkeys(range(FOLDS), 0)
    new: list[bytes] = []
    for root, members in components.items():
        votes = Counter(
            pair.fold for pair in members if pair.fold is not None and pair.side == side[root]
        )
        if votes:
            fold_of[root] = min(votes, key=lambda fold: (-votes[fold], fold))
            sizes[fold_of[root]] += len(members)
        else:
            new.append(root)
    for root in sorted(new, key=lambda root: min(map(_order, components[root]))):
        size = len(components[root])
        choice = TRAIN_FOLDS if size * FOLDS > max(total, MIN_PAIRS) else range(FOLDS)
        fold_of[root] = min(choice, key=lambda fold: (sizes[fold], fold))
        sizes[fold_of[root]] += size
    return fold_of


def digest(pairs: Iterable[PairKey]) -> str:
    """SHA-256, in hexadecimal, of the pairs' texts, labels and folds; of no order and no ids.

    Two models whose evaluations have the same digest were tested on the same split.
    """
    rows = sorted(
        b"".join(
            [
                len(pair.source).to_bytes(4, "big") + pair.source,
                len(pair.target).to_bytes(4, "big") + pair.target,
                bytes([pair.positive, 255 if pair.fold is None else pair.fold]),
            ]
        )
        for pair in pairs
    )
    return hashlib.sha256(b"".join(rows)).hexdigest()


def protocol(pairs: Sequence[PairKey], min_queries: int = MIN_QUERIES) -> Protocol:
    """Decide how a model trained on these pairs is evaluated.

    Args:
        pairs: with their folds, as `placed` gives them. Those left out (None) and rejections do
            not count.
        min_queries: distinct source texts that a hold-out must have.

    Raises:
        aparella.errors.InputError: the pairs are too few, are all on one target, or all hang
            together, so that there is nothing to test with.
    """
    used = [pair for pair in pairs if pair.positive and pair.fold is not None]
    if len(used) < MIN_PAIRS:
        raise InputError(
            f"There are {len(used)} known pairs that can be used; training needs at least "
            f"{MIN_PAIRS}. Import more pairs, or accept matches: accepted ones become pairs.",
            code="too_few_pairs",
        )
    if len({pair.target for pair in used}) == 1:
        raise InputError(
            f"All {len(used)} pairs have the same target text, so there is nothing to tell apart. "
            "Check that the target column is the right one, or add pairs of other targets.",
            code="one_target",
        )
    sources: dict[int, set[bytes]] = defaultdict(set)
    for pair in used:
        if pair.fold is not None:
            sources[pair.fold].add(pair.source)
    held_out = set[bytes]().union(*(sources[fold] for fold in TEST_FOLDS))
    left = sum(pair.side == "train" for pair in used)
    if len(held_out) >= min_queries and left >= MIN_PAIRS:
        return Protocol(
            "holdout",
            (Round(TEST_FOLDS, TRAIN_FOLDS),),
            len(held_out),
            f"Tested on {len(held_out)} held-out lines that no training has seen; trained on "
            f"{left} pairs.",
        )
    rounds = tuple(
        Round(test, frozenset(range(FOLDS)) - test)
        for test in (frozenset({fold, fold + 1}) for fold in range(0, FOLDS, 2))
        if any(sources[fold] for fold in test)
    )
    if len(rounds) < 2:
        raise InputError(
            f"The {len(used)} pairs all hang together by shared texts, so none can be held out "
            "to test with. Add pairs of other lines and other targets.",
            code="one_component",
        )
    queries = len({pair.source for pair in used})
    return Protocol(
        "cross_validation",
        rounds,
        queries,
        f"The held-out part has {len(held_out)} lines, too few for a figure (at least "
        f"{min_queries}): tested by {len(rounds)}-fold cross-validation instead, {queries} lines, "
        "each ranked by a model that was not trained on it.",
    )
