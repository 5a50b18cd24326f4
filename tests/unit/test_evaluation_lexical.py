import subprocess
import sys
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from aparella.workers.evaluation import lexical
from aparella.workers.evaluation.lexical import Texts, rank
from aparella.workers.evaluation.ranks import Ids, Ranked

CATALOGUE = [
    "XERINGUES, XERINGA 3 COSSOS 20ML LUER-LOCK, ESTÈRIL",
    "XERINGUES, XERINGA 3 COSSOS 10ML LUER-LOCK, ESTÈRIL",
    "AGULLES, AGULLA PUNCIÓ 21G X 40MM, ESTÈRIL",
    "SONDES, SONDA VESICAL FOLEY 2 VIES, SILICONA",
    "FILTRES, HUMIDIFICADORS DE CALOR I HUMITAT",
    "",
]


def in_blocks(ids: Ids, texts: Sequence[str], size: int) -> Texts:
    def blocks() -> Iterator[tuple[Ids, Sequence[str]]]:
        for start in range(0, len(ids), size):
            yield ids[start : start + size], texts[start : start + size]

    return blocks


def test_ranks_are_those_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lexical, "_ROW_TILE", 7)
    monkeypatch.setattr(lexical, "_QUERY_TILE", 5)
    rng = np.random.default_rng(4)
    words = [word for text in CATALOGUE for word in text.split()]
    texts = [" ".join(rng.choice(words, rng.integers(0, 9))) for _ in range(150)]
    queries = [" ".join(rng.choice(words, rng.integers(0, 4))) for _ in range(30)]
    ids = rng.permutation(1_000)[:150].astype(np.int64)
    right = [set(rng.choice(ids, 2).tolist()) for _ in queries]

    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 3), sublinear_tf=True)
    rows = vectorizer.fit_transform(texts)
    scores = (vectorizer.transform(queries) @ rows.T).toarray().round(6)
    expected = []
    for row, wanted in zip(scores, right, strict=True):
        order = ids[np.lexsort((ids, -row))].tolist()
        places = sorted(order.index(id_) + 1 for id_ in wanted)
        expected.append(Ranked(tuple(places), len(wanted)))
    assert rank(queries, right, in_blocks(ids, texts, 40)) == expected


def test_a_short_line_finds_its_record() -> None:
    ids = np.arange(len(CATALOGUE))
    lines = ["xeringa 20ml", "AGULLA 21G", "", "SONDA FOLEY", "GUANTS"]
    right = [[0], [2], [4], [3, 77], [77]]
    assert rank(lines, right, in_blocks(ids, CATALOGUE, 4)) == [
        Ranked((1,), 1),
        Ranked((1,), 1),
        Ranked((5,), 1),  # all score 0: by id
        Ranked((1,), 2),
        None,  # its record is not in the catalogue
    ]


def test_a_record_can_be_excluded() -> None:
    ids = np.arange(2)
    blocks = in_blocks(ids, CATALOGUE[:2], 4)
    assert rank(CATALOGUE[:1], [[1]], blocks, np.array([0])) == [Ranked((1,), 1)]


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="1 queries, right records for 0"):
        rank(["A"], [], in_blocks(np.arange(6), CATALOGUE, 6))


def test_memory_is_bounded() -> None:
    """In another process. The scores of all would take 96 MB, their trigrams 100 MB."""
    code = """
import random, resource, numpy as np, sklearn.feature_extraction.text
from aparella.workers.evaluation.lexical import rank
rng = random.Random(1)
words = ["".join(rng.choices("AEIOLMNRST", k=7)) for _ in range(2_000)]
def blocks():
    rng = random.Random(2)
    for start in range(0, 40_000, 2_000):
        ids = np.arange(start, start + 2_000)
        yield ids, [" ".join(rng.choices(words, k=6)) for _ in ids]
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
queries = [" ".join(rng.choices(words, k=3)) for _ in range(300)]
before = peak()
rank(queries, [[i] for i in range(300)], blocks)
print(peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120
    )
    assert int(done.stdout) < 80
