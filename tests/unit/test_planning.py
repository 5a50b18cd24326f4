import pytest

from aparella.workers.planning import choose_search


@pytest.mark.parametrize(
    ("rows", "memory_mb", "sources", "indexed", "search", "says"),
    [
        (3_000, 1_024, 1_000, False, "exact", "where its worker processes share them"),
        (100_000, 1_024, 10**8, True, "exact", "up to 100,000"),
        (3_000, 1, 1_000, False, "hnsw", "more than the 1 MB"),
        (10**6, 1_024, 1, False, "hnsw", "may share (APARELLA_CATALOGUE_MEMORY_MB)"),
        (300_000, 1_024, 10_000, False, "exact", "27 s exactly and at 165 s through an index, its"),
        (300_000, 1_024, 200_000, False, "hnsw", "546 s exactly and at 398 s"),
        (300_000, 1_024, 10_000, True, "hnsw", "at 12 s through an index."),
    ],
)
def test_choose_search(
    rows: int, memory_mb: int, sources: int, indexed: bool, search: str, says: str
) -> None:
    plan = choose_search(rows, 384, memory_mb * 2**20, sources, indexed=indexed)
    assert plan.search == search
    assert says in plan.reason
    assert plan.matrix_bytes == rows * 384 * 4


@pytest.mark.parametrize(
    ("rows", "search", "says"),
    [
        (3_000, "exact", "a worker process's memory, each holding a copy of its own"),
        (10**6, "hnsw", "a copy of its own (APARELLA_MATCH_MEMORY_MB)"),
    ],
)
def test_a_matrix_that_cannot_be_shared(rows: int, search: str, says: str) -> None:
    plan = choose_search(rows, 384, 2**30, 1_000, shared=False)
    assert plan.search == search
    assert says in plan.reason
