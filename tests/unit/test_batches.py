from hypothesis import given
from hypothesis import strategies as st

from aparella.workers.batches import plan_batches, plan_packed

lengths_lists = st.lists(st.integers(1, 300), max_size=200)


@given(lengths_lists, st.integers(1, 2_000), st.integers(1, 32))
def test_plan(lengths: list[int], token_budget: int, bucket: int) -> None:
    batches = plan_batches(lengths, token_budget, bucket)

    assert sorted(i for b in batches for i in b.indexes) == list(range(len(lengths)))
    for batch in batches:
        assert batch.length % bucket == 0
        assert len(batch.indexes) * batch.length <= token_budget or len(batch.indexes) == 1
        assert all(0 <= batch.length - lengths[i] < bucket for i in batch.indexes)
    assert [b.length for b in batches] == sorted((b.length for b in batches), reverse=True)


@given(lengths_lists.filter(bool), st.data())
def test_padded_length_depends_on_the_text_alone(lengths: list[int], data: st.DataObject) -> None:
    def padded(plan_of: list[int]) -> dict[int, int]:
        return {i: b.length for b in plan_batches(plan_of) for i in b.indexes.tolist()}

    cut = data.draw(st.integers(0, len(lengths)))
    whole, head = padded(lengths), padded(lengths[:cut])
    assert head == {i: whole[i] for i in range(cut)}


def test_batches_are_filled() -> None:
    plan = plan_batches([20] * 100, token_budget=240, bucket=8)
    assert [len(b.indexes) for b in plan] == [10] * 10


@given(lengths_lists, st.integers(1, 2_000))
def test_packed_plan(lengths: list[int], token_budget: int) -> None:
    batches = plan_packed(lengths, token_budget)

    assert sorted(i for batch in batches for i in batch.tolist()) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in b) <= token_budget or len(b) == 1 for b in batches)
    in_order = [lengths[i] for batch in batches for i in batch]
    assert in_order == sorted(lengths, reverse=True)
