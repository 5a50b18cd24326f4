import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from aparella.workers import matching
from aparella.workers.evaluation import ranks
from aparella.workers.evaluation.ranks import Blocks, Ids, Ranked, Vectors, rank
from aparella.workers.matching import Catalogue, top_k


def unit(vectors: NDArray[np.float64]) -> Vectors:
    lengths: NDArray[np.float64] = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / lengths).astype(np.float32)


def in_blocks(ids: Ids, vectors: Vectors, size: int) -> Blocks:
    def blocks() -> Iterator[tuple[Ids, Vectors]]:
        for start in range(0, len(ids), size):
            yield ids[start : start + size], vectors[start : start + size]

    return blocks


def brute_force(
    queries: Vectors, right: list[set[int]], ids: Ids, vectors: Vectors, exclude: Ids
) -> list[Ranked | None]:
    """All scores in float64, all records sorted."""
    result: list[Ranked | None] = []
    for query, wanted, out in zip(queries.astype(np.float64), right, exclude, strict=True):
        scored = sorted(
            (-round(float(v @ query), 6), int(id_))
            for id_, v in zip(ids, vectors.astype(np.float64), strict=True)
            if id_ != out
        )
        found = [place for place, (_, id_) in enumerate(scored, 1) if id_ in wanted]
        lost = np.isnan(query).any() or not found
        result.append(None if lost else Ranked(tuple(found), len(wanted - {int(out)})))
    return result


@given(st.data())
def test_ranks_are_brute_force(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    dim = data.draw(st.sampled_from([2, 3, 16]))
    n, m = data.draw(st.integers(0, 80)), data.draw(st.integers(0, 6))
    if data.draw(st.booleans()):  # few directions: many ties
        base = rng.integers(-1, 2, (n + m, dim)).astype(np.float64)
        base[~base.any(axis=1)] = 1
    else:
        base = rng.standard_normal((n + m, dim))
    vectors, queries = unit(base[:n]), unit(base[n:])
    queries[rng.random(m) < 0.2] = np.nan
    ids = rng.permutation(1_000)[:n].astype(np.int64)
    known = [*ids.tolist(), 5_000, 5_001]  # the last two have no vector
    right = [set(rng.choice(known, rng.integers(0, 5)).tolist()) for _ in range(m)]
    exclude = rng.choice([-1, *known], m).astype(np.int64)
    blocks = in_blocks(ids, vectors, data.draw(st.integers(1, 100)))
    assert rank(queries, right, blocks, exclude) == brute_force(
        queries, right, ids, vectors, exclude
    )
    none = np.full(m, -1)
    assert rank(queries, right, blocks) == brute_force(queries, right, ids, vectors, none)


def test_the_order_is_that_of_matching(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "_ROW_TILE", 64)
    monkeypatch.setattr(ranks, "_QUERY_TILE", 7)
    monkeypatch.setattr(ranks, "_EXACT_TILE", 3)
    rng = np.random.default_rng(5)
    base = rng.integers(-1, 2, (500, 6)).astype(np.float64)
    base[~base.any(axis=1)] = 1
    vectors, ids = unit(base), rng.permutation(500).astype(np.int64)
    queries = unit(rng.integers(-2, 3, (40, 6)) + 0.1)
    catalogue = Catalogue.build(ids, [vector.tobytes() for vector in vectors], vectors)
    found, _ = top_k(catalogue, queries, 500)
    right = [[row[9], row[0], row[321]] for row in found.tolist()]
    assert rank(queries, right, in_blocks(ids, vectors, 111)) == [Ranked((1, 10, 322), 3)] * 40


def test_the_order_is_rounded_as_in_matching() -> None:
    assert ranks.DECIMALS == matching.DECIMALS


def test_records_of_one_text_are_all_right() -> None:
    vectors = np.eye(3, dtype=np.float32)[[0, 0, 1]]
    ids = np.array([4, 9, 2])
    query = np.eye(3, dtype=np.float32)[:1]
    assert rank(query, [[9]], in_blocks(ids, vectors, 2)) == [Ranked((2,), 1)]
    assert rank(query, [[9, 4]], in_blocks(ids, vectors, 2)) == [Ranked((1, 2), 2)]


def test_lengths_must_agree() -> None:
    empty = np.empty((0, 2), np.float32)
    with pytest.raises(ValueError, match="0 queries, right records for 1"):
        rank(empty, [[1]], in_blocks(np.empty(0, np.int64), empty, 1))
    assert rank(empty, [], in_blocks(np.empty(0, np.int64), empty, 1)) == []


def test_memory_is_bounded() -> None:
    """In another process, whose peak is its own; 60,000 records would take 92 MB at once."""
    code = """
import resource, numpy as np
from aparella.workers.evaluation.ranks import rank
def blocks():
    rng = np.random.default_rng(1)
    for start in range(0, 60_000, 2_000):
        yield np.arange(start, start + 2_000), rng.random((2_000, 384), dtype=np.float32)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
queries = np.random.default_rng(2).random((300, 384), dtype=np.float32)
before = peak()
rank(queries, [[i] for i in range(300)], blocks)
print(peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert int(done.stdout) < 60
