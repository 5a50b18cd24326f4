"""How large a chunk is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aparella.workers.sizing import LEAST_CHUNK, ROUNDS, chunk_size


@pytest.mark.parametrize(
    ("items", "rate", "processes", "size"),
    [
        (1_000_000, None, 4, 125),  # nothing is known yet
        (1_000_000, 100.0, 4, 1_000),  # ten seconds
        (1_000_000, 5_000.0, 1, 10_000),  # a GPU: what memory holds
        (4_000, 100.0, 2, 500),  # a share for each, four times
        (100, 100.0, 64, LEAST_CHUNK),
        (1_000_000, 0.01, 4, LEAST_CHUNK),
        (0, 100.0, 0, LEAST_CHUNK),
    ],
)
def test_a_chunk_takes_ten_seconds(
    items: int, rate: float | None, processes: int, size: int
) -> None:
    assert chunk_size(items, rate, processes, first=125, most=10_000) == size


@given(
    items=st.integers(0, 10**9),
    rate=st.none() | st.floats(0, 1e9),
    processes=st.integers(0, 1_000),
)
def test_it_is_within_bounds_and_each_process_has_its_rounds(
    items: int, rate: float | None, processes: int
) -> None:
    size = chunk_size(items, rate, processes, first=125, most=10_000)
    assert LEAST_CHUNK <= size <= 10_000
    if size > LEAST_CHUNK:
        assert size * ROUNDS * processes < items + ROUNDS * max(1, processes)
