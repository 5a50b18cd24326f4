import time
from collections.abc import Iterable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sentence_transformers.base.sampler import DefaultBatchSampler
from torch.utils.data import RandomSampler

from aparella.workers.training.sampling import GroupAwareSampler, ManySampler, PlainSampler


def check(keys: NDArray[np.int64], batches: Iterable[list[int]], size: int) -> int:
    seen: set[int] = set()
    for batch in batches:
        assert 1 <= len(batch) <= size
        for column in keys[batch].T:
            assert len(set(column.tolist())) == len(batch)
        assert not seen & set(batch)
        seen |= set(batch)
    return len(seen)


@settings(deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(0, 12)] * 3), min_size=1, max_size=80),
    st.integers(2, 9),
    st.integers(0, 3),
)
def test_no_two_pairs_of_a_batch_share_a_key(
    rows: list[tuple[int, int, int]], size: int, epoch: int
) -> None:
    keys = np.asarray(rows, dtype=np.int64)
    sampler = GroupAwareSampler(keys, size, seed=1)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    check(keys, batches, size)


def test_all_pairs_are_seen_where_keys_are_distinct() -> None:
    keys = np.arange(3 * 130).reshape(130, 3)
    sampler = GroupAwareSampler(keys, 64, seed=0)
    batches = list(sampler)
    assert [len(batch) for batch in batches] == [44, 44, 42]  # even, not 64, 64, 2
    assert check(keys, batches, 64) == 130


def test_nearly_all_pairs_are_seen_where_records_have_two_lines() -> None:
    pairs = np.arange(389)
    keys = np.stack([pairs, pairs // 2, pairs // 2], axis=1)
    for epoch in range(5):
        sampler = GroupAwareSampler(keys, 64, seed=0)
        sampler.set_epoch(epoch)
        assert check(keys, sampler, 64) >= 385


def test_an_epoch_is_the_same_each_time_and_unlike_the_next() -> None:
    keys = np.arange(300).reshape(100, 3)
    one, two = GroupAwareSampler(keys, 8, seed=5), GroupAwareSampler(keys, 8, seed=5)
    first = list(one)
    assert first == list(one) == list(two)
    one.set_epoch(1)
    assert list(one) != first
    assert list(GroupAwareSampler(keys, 8, seed=6)) != first


@pytest.mark.parametrize("groups", [1, 3, 50_000])
def test_time_is_linear_however_many_share_a_key(groups: int) -> None:
    pairs = np.arange(100_000)
    keys = np.stack([pairs, pairs % groups, pairs % groups], axis=1)
    start = time.process_time()
    count = check(keys, GroupAwareSampler(keys, 64, seed=0), 64)
    assert count >= min(groups, 64)
    assert time.process_time() - start < 5  # a quadratic scan takes minutes


def test_plain_batches_are_the_librarys_in_its_order() -> None:
    generator = torch.Generator()
    generator.manual_seed(42)
    data = range(389)
    library = DefaultBatchSampler(
        RandomSampler(data, generator=generator),  # type: ignore[arg-type]
        batch_size=64,
        drop_last=False,
        generator=generator,
        seed=42,
    )
    ours = PlainSampler(389, 64, seed=42)
    assert list(ours) == list(library)
    assert len(ours) == len(library)


def test_sets_are_spread_evenly_or_in_turn() -> None:
    long, short = PlainSampler(60, 10, 0), PlainSampler(20, 10, 0)
    spread = ManySampler([long, short], [60, 20], round_robin=False)
    from_short = [batch[0] >= 60 for batch in spread]
    assert len(from_short) == len(spread) == 8
    assert from_short.count(True) == 2
    assert from_short[:4].count(True) == 1
    turns = ManySampler([long, short], [60, 20], round_robin=True)
    assert [batch[0] >= 60 for batch in turns] == [False, True, False, True]
    assert len(turns) == 4
    before = list(spread)
    spread.set_epoch(1)
    assert list(spread) != before
