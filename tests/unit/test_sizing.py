"""How large a chunk is, and what a worker's processes may hold."""

import os
from argparse import Namespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aparella import machine
from aparella.workers.__main__ import _fit
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


OWN, TOGETHER = "APARELLA_MATCH_MEMORY_MB", "APARELLA_CATALOGUE_MEMORY_MB"


@pytest.mark.parametrize(
    ("variables", "own", "together"),
    [
        ({}, "274", "548"),
        ({OWN: "99"}, "99", None),  # which bounds both
        ({TOGETHER: "99"}, "274", "99"),
        ({OWN: "99", TOGETHER: "999"}, "99", "999"),
    ],
)
def test_a_worker_settles_what_the_user_left_open(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], own: str, together: str | None
) -> None:
    monkeypatch.setattr(machine, "memory_limit", lambda: 2 << 30)
    for name in (OWN, TOGETHER):
        monkeypatch.setenv(name, "")  # so that what is set here ends with the test
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    _fit(Namespace(concurrency=2))
    assert (os.environ.get(OWN), os.environ.get(TOGETHER)) == (own, together)
