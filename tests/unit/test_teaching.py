"""What pairs a fusion may learn from, and what is not an answer."""

from dataclasses import dataclass

import numpy as np

from aparella.workers import teaching
from aparella.workers.features.abbreviations import Abbreviations
from aparella.workers.fusion.corpus import Corpus
from aparella.workers.fusion.evidence import FEATURES
from aparella.workers.fusion.model import default
from aparella.workers.teaching import Beside, Placed, teach


@dataclass(frozen=True)
class Pair:
    source_text: str
    target_text: str
    fold: int | None


def test_few_pairs_train_nothing() -> None:
    pairs = [Pair(f"line {i}", f"record {i}", i % 10) for i in range(19)]

    def train(*_: object) -> None:
        raise AssertionError("a model was trained")

    assert teach({"a": pairs}, {}, train, lambda: None) is default()  # type: ignore[arg-type]
    one_sided = [Pair(f"line {i}", f"record {i}", 2) for i in range(100)]
    assert teach({"a": one_sided}, {}, train, lambda: None) is default()  # type: ignore[arg-type]


def test_a_small_set_stays_out_of_the_half_that_it_cannot_teach() -> None:
    large = [Placed(f"l{i}", f"r{i}", i % 10) for i in range(100)]
    small = [Placed("x", "y", 3), Placed("z", "w", 2), Placed("v", "u", 4)]
    odd = teaching._trainable({"large": large, "small": small}, 1)
    even = teaching._trainable({"large": large, "small": small}, 0)
    assert list(odd) == ["large"]
    assert list(even) == ["large", "small"]


def test_a_text_of_two_sets_is_in_one_half() -> None:
    first = [Pair(f"l{i}", f"r{i}", i % 10) for i in range(60)]
    second = [Pair(f"l{i}", f"r{i}", (i + 1) % 10) for i in range(60)]
    placed = teaching._placed({"first": first, "second": second})
    halves: dict[str, set[int]] = {}
    for pairs in placed.values():
        for pair in pairs:
            for text in (pair.source_text, pair.target_text):
                halves.setdefault(text, set()).add(pair.fold % 2)
    assert halves
    assert all(len(found) == 1 for found in halves.values())


def test_attributes_are_compared_by_text() -> None:
    pairs = [Placed("BAG", "BAG BLACK", 0)]
    beside = Beside({"BAG": {"price": "40"}}, {"BAG BLACK": {"price": 41}, "BAG RED": {"price": 9}})

    def encode(some: object) -> np.ndarray:
        return np.eye(4, 384, dtype=np.float32)[: len(list(some))]  # type: ignore[call-overload]

    corpus = Corpus(["BAG BLACK", "BAG RED", "BAG BLUE"])
    part = teaching._part(pairs, corpus, encode, Abbreviations(), beside)
    columns = list(FEATURES)
    said = {
        corpus.texts[row]: (
            part.features[place, columns.index("attributes_agreeing")],
            part.features[place, columns.index("attributes_contradicting")],
        )
        for place, row in enumerate(part.candidates.row.tolist())
    }
    assert said == {"BAG BLACK": (1, 0), "BAG RED": (0, 1), "BAG BLUE": (0, 0)}


def test_a_candidate_has_its_records_category() -> None:
    beside = Beside({}, {"BAG BLACK": {"family": "bags"}, "BAG RED": {"group": "red"}})

    def encode(some: object) -> np.ndarray:
        return np.eye(4, 384, dtype=np.float32)[: len(list(some))]  # type: ignore[call-overload]

    corpus = Corpus(["BAG BLACK", "BAG RED"])
    for attributes, expected in ((("family",), ["bags", None]), (("group",), [None, "red"])):
        part = teaching._part(
            *([Placed("BAG", "BAG BLACK", 0)], corpus, encode, Abbreviations()),
            *(beside, attributes),
        )
        assert [part.category[i] for i in np.argsort(part.candidates.row).tolist()] == expected


def test_a_line_is_not_its_own_answer() -> None:
    texts = ["AGULLA 14G", "AGULLA 14G X 40MM", "XERINGA 5ML", "XERINGA 5ML LUER"]
    pairs = [Placed(texts[0], texts[1], 0), Placed(texts[2], texts[3], 0)]

    def encode(some: object) -> np.ndarray:
        return np.eye(4, 384, dtype=np.float32)[: len(list(some))]  # type: ignore[call-overload]

    part = teaching._part(pairs, Corpus(texts), encode, Abbreviations())
    own = {(0, 0), (1, 2)}
    found = zip(part.candidates.query.tolist(), part.candidates.row.tolist(), strict=True)
    assert not own & set(found)
    assert part.right.sum() == 2
