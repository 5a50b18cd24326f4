import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aparella.workers import matching
from aparella.workers.matching import Catalogue, Ids, Scores, recall, top_k

Floats = NDArray[np.float32]


@pytest.fixture(autouse=True, scope="module")
def _torch_is_there() -> None:
    """The first search imports it, for which an example's deadline is too short."""
    import_module("torch")


def unit(vectors: NDArray[np.float64]) -> Floats:
    lengths: NDArray[np.float64] = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / lengths).astype(np.float32)


def brute_force(
    ids: Ids, vectors: Floats, queries: Floats, k: int, exclude: Ids | None
) -> tuple[Ids, Scores]:
    """All scores in float64, all records sorted."""
    found = np.full((len(queries), k), -1, dtype=np.int64)
    scores = np.full((len(queries), k), np.nan, dtype=np.float32)
    for i, query in enumerate(queries.astype(np.float64)):
        ranked = sorted(
            (-round(float(v @ query), 6), int(id_))
            for id_, v in zip(ids, vectors.astype(np.float64), strict=True)
            if exclude is None or id_ != exclude[i]
        )[:k]
        for j, (negative, id_) in enumerate(ranked):
            found[i, j], scores[i, j] = id_, -negative
    return found, scores


@st.composite
def searches(draw: st.DrawFn) -> tuple[Ids, list[bytes], Floats, Floats, int, Ids | None]:
    """Records with repeated texts, and different texts whose vectors tie."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    dim = draw(st.sampled_from([2, 3, 16]))
    distinct = draw(st.integers(1, 60))
    if draw(st.booleans()):  # few directions: many ties
        base = rng.integers(-1, 2, (distinct, dim)).astype(np.float64)
        base[~base.any(axis=1)] = 1
    else:
        base = rng.standard_normal((distinct, dim))
    n = draw(st.integers(0, 90))
    text = rng.integers(0, distinct, n)
    ids = rng.permutation(10_000)[:n].astype(np.int64)
    queries = unit(np.vstack([base[: draw(st.integers(0, 5))], rng.standard_normal((3, dim))]))
    exclude = None
    if draw(st.booleans()) and n:
        exclude = np.where(rng.random(len(queries)) < 0.7, rng.choice(ids, len(queries)), -1)
    k = draw(st.integers(1, 100))
    return ids, [bytes([t]) * 16 for t in text], unit(base)[text], queries, k, exclude


def check(search: tuple[Ids, list[bytes], Floats, Floats, int, Ids | None]) -> None:
    ids, hashes, vectors, queries, k, exclude = search
    catalogue = Catalogue.build(ids, hashes, vectors)
    assert (len(catalogue), catalogue.rows) == (len(ids), len(set(hashes)))
    found, scores = top_k(catalogue, queries, k, exclude)
    expected, expected_scores = brute_force(ids, vectors, queries, k, exclude)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(scores, expected_scores)
    assert [str(found.dtype), str(scores.dtype)] == ["int64", "float32"]


@given(searches())
def test_top_k_is_brute_force(search: tuple[Ids, list[bytes], Floats, Floats, int, Ids]) -> None:
    check(search)


@given(searches())
@settings(max_examples=50)
def test_top_k_is_brute_force_across_tiles(
    search: tuple[Ids, list[bytes], Floats, Floats, int, Ids],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "_ROW_TILE", 7)
        patch.setattr(matching, "_QUERY_TILE", 2)
        patch.setattr(matching, "_EXACT_TILE", 3)
        patch.setattr(matching, "_SPARE", 1)
        check(search)


def clustered(n: int, dim: int = 384, seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    return unit(
        rng.standard_normal((50, dim))[rng.integers(0, 50, n)] * 2 + rng.standard_normal((n, dim))
    )


def test_real_size_is_brute_force_and_does_not_depend_on_how_queries_are_split() -> None:
    vectors, queries = clustered(20_000), clustered(300, seed=1)
    ids = np.arange(20_000)[::-1].copy()
    catalogue = Catalogue.build(ids, [i.tobytes() for i in ids], vectors)
    assert catalogue.vectors is vectors
    found, scores = top_k(catalogue, queries, 10)
    exact = (queries.astype(np.float64) @ vectors.T.astype(np.float64)).round(6)
    for i in range(300):
        order = np.lexsort((ids, -exact[i]))[:10]
        np.testing.assert_array_equal(found[i], ids[order])
        np.testing.assert_array_equal(scores[i], exact[i][order].astype(np.float32))
    parts = [top_k(catalogue, q, 10) for q in np.split(queries, [1, 2, 9, 100])]
    np.testing.assert_array_equal(np.vstack([p[0] for p in parts]), found)
    np.testing.assert_array_equal(np.vstack([p[1] for p in parts]), scores)


def test_more_ties_than_spare_candidates_fall_to_the_lowest_ids() -> None:
    n = 40_000  # over several tiles
    vectors = np.tile(unit(np.ones((1, 8))), (n, 1))
    ids = np.random.default_rng(0).permutation(n)
    catalogue = Catalogue.build(ids, [i.tobytes() for i in ids], vectors)
    found, scores = top_k(catalogue, vectors[:3], 4, exclude=np.array([-1, 0, 2]))
    assert found.tolist() == [[0, 1, 2, 3], [1, 2, 3, 4], [0, 1, 3, 4]]
    assert (scores == 1).all()


def test_a_text_shared_by_very_many_records() -> None:
    ids = np.arange(200_000)
    catalogue = Catalogue.build(
        ids, [b"same"] * len(ids), np.tile(unit(np.ones((1, 4))), (200_000, 1))
    )
    assert catalogue.rows == 1
    found, _ = top_k(catalogue, catalogue.vectors, 3, exclude=np.array([1]))
    assert found.tolist() == [[0, 2, 3]]


MEMORY = """
import resource
import numpy as np
from aparella.workers.matching import Catalogue, top_k

def unit(n):
    vectors = np.random.default_rng(n).standard_normal((n, 384), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

ids = np.arange(40_000)
catalogue = Catalogue.build(ids, [i.tobytes() for i in ids], unit(len(ids)))
queries = unit(3_000)
# Only what comes after counts, so what building them took at its height is filled up first.
height = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
top_k(catalogue, queries[:300], 10)
few = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
top_k(catalogue, queries, 10)
print(few - height, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - few)
"""


def test_temporary_memory_is_bounded() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True
    )
    few, more = (int(kb) for kb in done.stdout.split())
    assert few < 64_000
    assert more < 8_000  # all scores of the other 2,700 at once would be 430 MB


def test_an_empty_catalogue_and_no_queries() -> None:
    empty = Catalogue.build(np.zeros(0, np.int64), [], np.zeros((0, 4), np.float32))
    found, scores = top_k(empty, unit(np.ones((2, 4))), 3)
    assert (found == -1).all()
    assert np.isnan(scores).all()
    full = Catalogue.build(np.array([5]), [b"a"], unit(np.ones((1, 4))))
    assert top_k(full, np.zeros((0, 4), np.float32), 3)[0].shape == (0, 3)


@pytest.mark.parametrize("dtype", ["V16", "S16"])
def test_hashes_may_be_an_array(dtype: str) -> None:
    hashes = np.array([b"\x00" * 16, b"b" * 15 + b"\x00", b"\x00" * 16], dtype=dtype)
    catalogue = Catalogue.build(np.array([7, 6, 5]), hashes, unit(np.eye(3)))
    assert catalogue.rows == 2
    assert catalogue.ids.tolist() == [5, 7, 6]
    assert catalogue.starts.tolist() == [0, 2, 3]


def test_read_only_vectors_and_wrong_arguments() -> None:
    vectors = np.frombuffer(unit(np.ones((2, 4))).tobytes(), np.float32).reshape(2, 4)
    catalogue = Catalogue.build(np.array([5, 6]), [b"a", b"b"], vectors)
    assert top_k(catalogue, vectors[:1], 2)[0].tolist() == [[5, 6]]
    with pytest.raises(ValueError, match="k is less than 1"):
        top_k(catalogue, vectors, 0)
    with pytest.raises(ValueError, match="2 ids, 1 hashes"):
        Catalogue.build(np.array([5, 6]), [b"a"], vectors)


def test_recall() -> None:
    exact = np.array([[1, 2, 3], [4, 5, -1]])
    assert recall(exact, exact) == 1
    assert recall(exact, np.array([[3, 1, 9], [5, 8, 7]])) == 3 / 5
    assert recall(exact, np.full((2, 3), -1)) == 0
    assert recall(np.full((1, 3), -1), np.array([[1, 2, 3]])) == 1


def test_recall_counts_an_equal_score_at_the_last_place_as_a_hit() -> None:
    exact, scores = np.array([[1, 2]]), np.array([[0.9, 0.5]], dtype=np.float32)
    other = np.array([[1, 7]])
    assert recall(exact, other, scores, np.array([[0.9, 0.5]], dtype=np.float32)) == 1
    assert recall(exact, other, scores, np.array([[0.9, 0.4]], dtype=np.float32)) == 0.5
    padded = np.array([[1, -1]])
    assert recall(exact, padded, scores, np.array([[0.9, np.nan]], dtype=np.float32)) == 0.5
