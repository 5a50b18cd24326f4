"""Tokens, batches in parts, the loss, negatives, memory: each beside something that is simple."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from transformers import get_scheduler

from aparella.errors import InputError, JobError
from aparella.workers.training import memory
from aparella.workers.training.forward import CachedEmbedding, cut, embed
from aparella.workers.training.loop import rate
from aparella.workers.training.loss import RankingLoss
from aparella.workers.training.material import Material
from aparella.workers.training.negatives import mine
from aparella.workers.training.pairs import Rejection, TrainingPair
from aparella.workers.training.preparation import choose_negatives
from aparella.workers.training.recipe import recipe
from aparella.workers.training.tokens import Tokens
from tests.unit.tiny import some_pairs, tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    return SentenceTransformer(str(tiny_model(tmp_path_factory.mktemp("tiny"))), device="cpu")


@pytest.fixture
def tokens(model: SentenceTransformer) -> Tokens:
    return Tokens(model.tokenizer, model.max_seq_length)


def test_a_text_is_tokenised_once_and_cut_off(tokens: Tokens) -> None:
    assert tokens.add(["XERINGA 5ML", "SONDA", "XERINGA 5ML"]).tolist() == [0, 1, 0]
    assert tokens.add(["TUB " * 100, "SONDA"]).tolist() == [2, 1]
    assert len(tokens) == 3
    assert tokens.lengths[2] == 32
    assert tokens.padded([1], 32).shape == (1, 32)


def test_parts_give_the_vectors_of_the_library(model: SentenceTransformer, tokens: Tokens) -> None:
    model.eval()
    texts = [pair.target for pair in some_pairs(40)] + [pair.source for pair in some_pairs(40)]
    parts = cut(tokens, tokens.add(texts), budget=100)
    assert len(parts.ids) > 3
    assert all(ids.numel() <= 100 for ids in parts.ids)
    with torch.no_grad():
        vectors = embed(model, parts)
    expected = model.encode(texts, convert_to_tensor=True)
    torch.testing.assert_close(vectors, expected, atol=1e-5, rtol=0)


def test_cached_gradients_are_the_plain_ones(model: SentenceTransformer, tokens: Tokens) -> None:
    model.train()
    parts = cut(tokens, tokens.add([pair.target for pair in some_pairs(30)]), budget=100)
    goal = torch.randn(30, 32, generator=torch.Generator().manual_seed(0))
    gradients = []
    for cached in (False, True):
        torch.manual_seed(3)  # of dropout
        model.zero_grad()
        embedding = CachedEmbedding(model, parts)
        vectors = embedding.first() if cached else embed(model, parts)
        (vectors * goal).sum().backward()
        if cached:
            embedding.second(torch.enable_grad)
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
        after = torch.rand(1)
    assert after  # the state goes on as if there had been one pass
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_loss_of_plain_pairs_is_the_librarys(
    model: SentenceTransformer, symmetric: bool
) -> None:
    sources, targets = torch.randn(2, 9, 32, generator=torch.Generator().manual_seed(0))
    ours = RankingLoss(model, scale=20, symmetric=symmetric).of(
        sources, targets, torch.ones(9), None
    )
    library = (
        MultipleNegativesRankingLoss(
            model,
            directions=("query_to_doc", "doc_to_query"),
            partition_mode="per_direction",
        )
        if symmetric
        else MultipleNegativesRankingLoss(model)
    )
    torch.testing.assert_close(
        ours, library.compute_loss_from_embeddings([sources, targets], torch.empty(0))
    )


def test_weights_and_hidden_targets_count(model: SentenceTransformer) -> None:
    loss = RankingLoss(model, scale=20, symmetric=False)
    sources, targets = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(1))
    alone = [loss.of(sources, targets, torch.eye(3)[i] + 1e-12, None).item() for i in range(3)]
    both = loss.of(sources, targets, torch.tensor([1.0, 3.0, 1e-12]), None).item()
    assert both == pytest.approx((alone[0] + 3 * alone[1]) / 4, rel=1e-4)
    hidden = torch.zeros(3, 3, dtype=torch.bool)
    hidden[0, 1:] = True
    assert loss.of(sources, targets, torch.tensor([1.0, 1e-12, 1e-12]), hidden).item() < 1e-5


def test_right_targets_of_other_pairs_are_hidden(tokens: Tokens) -> None:
    pairs = [
        TrainingPair("a", "A", "1"),
        TrainingPair("b", "B", "2"),
        TrainingPair("a", "B", "2"),  # so B is right for a
    ]
    material = Material({"set": pairs}, tokens)
    hidden = material.batch([0, 1], 100, mask=True).hidden
    assert hidden is not None
    assert hidden.tolist() == [[False, True], [False, False]]
    assert material.batch([0, 1], 100, mask=False).hidden is None


def test_known_wrong_pairs_come_first_and_right_ones_never(tokens: Tokens) -> None:
    material = Material({"set": some_pairs(6), "other": some_pairs(4)}, tokens)
    pairs = some_pairs(6)
    rejected = [
        Rejection(pairs[0].source, pairs[0].target),
        Rejection(pairs[0].source, pairs[4].target),
    ]
    wrong = material.reject({"set": rejected}, 2)
    assert wrong[0].tolist() == [tokens.add([pairs[4].target])[0], -1]
    assert (wrong[1:] == -1).all()
    material.negatives = wrong
    batch = material.batch([0, 2], 100, mask=True)
    assert batch.pairs == 2
    assert len(batch.parts.back) == 2 + 2 + 1


@pytest.mark.parametrize("pairs", [[], [TrainingPair("a", "A", "1"), TrainingPair("b", "A", "1")]])
def test_nothing_to_tell_apart_is_refused(tokens: Tokens, pairs: list[TrainingPair]) -> None:
    with pytest.raises(InputError, match="on one record"):
        Material({"set": pairs}, tokens)


def test_mining_draws_from_the_nearest_that_are_surely_wrong() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((6_000, 8), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    sources = np.arange(50)
    targets = np.arange(50, len(vectors))
    right = [frozenset({50 + 7 * i, 51 + 7 * i}) for i in range(50)]
    own = 50 + 7 * np.arange(50)
    # As trained models have it: the right one is near.
    vectors[own] = vectors[sources] + 0.3 * vectors[own]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def drawn(targets: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
        parts = [targets[start : start + 2_500] for start in range(0, len(targets), 2_500)]
        blocks = [(part, vectors[part]) for part in parts]
        return mine(vectors[sources], vectors[own], blocks, right, count, seed)

    mined = drawn(targets, 3, 0)
    places = []
    for i in range(50):
        scores = vectors[targets] @ vectors[i]
        order = np.argsort(-scores, kind="stable")
        wrong = [
            t
            for t in (order + 50).tolist()
            if t not in right[i] and scores[t - 50] < 0.95 * scores[own[i] - 50]
        ]
        places += [wrong.index(t) for t in mined[i].tolist()]
        assert places[-3:] == sorted(set(places[-3:]))
    assert 0 <= min(places) < 3 < 16 < max(places) < 20
    assert np.array_equal(mined, drawn(targets, 3, 0))
    assert not np.array_equal(mined, drawn(targets, 3, 1))
    few = drawn(targets[:4], 5, 0)
    assert few.shape == (50, 5)
    assert (few[:, 4] == -1).all()


def test_known_vectors_stand_for_encoding_and_bring_far_more_texts(
    model: SentenceTransformer, tokens: Tokens
) -> None:
    pairs = some_pairs(4)
    catalogue = [p.target for p in pairs] + [f"BENA {n}CM" for n in range(100)]
    how = recipe("default", hard_negatives=1)

    def chosen(vectors: dict[str, NDArray[np.float32]]) -> list[list[int]]:
        material = Material({"set": pairs}, tokens)
        return choose_negatives(model, material, how, {"set": catalogue}, {}, vectors).tolist()  # type: ignore[no-any-return]

    # By these all are as near as can be, and so may be right, but for the last.
    source = model.encode(pairs[0].source, normalize_embeddings=True)
    known = np.tile(source, (len(catalogue), 1)).astype(np.float32)
    known[-1] *= 0.5
    assert chosen({"set": known})[0] == tokens.add(catalogue[-1:]).tolist()
    encoded = tokens.add(catalogue[:40]).tolist()
    found = [one for (one,) in chosen({}) if one >= 0]
    assert found
    assert set(found) <= set(encoded)


@pytest.mark.parametrize(
    ("how", "library"),
    [
        ({"scheduler": "linear", "warmup_ratio": 0.0}, "linear"),
        ({"scheduler": "cosine", "warmup_ratio": 0.0}, "cosine"),
        ({"scheduler": "constant", "warmup_ratio": 0.0}, "constant"),
    ],
)
def test_without_warm_up_the_rate_is_the_librarys(how: dict[str, Any], library: str) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = get_scheduler(library, optimizer, num_warmup_steps=0, num_training_steps=35)
    for step in range(35):
        assert rate(step, 35, recipe("default", **how)) == pytest.approx(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()


def test_the_rate_climbs_from_over_0_and_falls() -> None:
    rates = [rate(step, 35, recipe("default", warmup_ratio=0.1)) for step in range(35)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] > 0


def test_memory_is_stated_and_refused() -> None:
    shape = memory.Shape(22_700_000, 6, 384, 1_536, 12, dropout=True)
    lengths = np.full(1_000, 14), np.full(1_000, 101)
    needed = memory.need(shape, recipe("seed"), *lengths, 2_048)
    assert not needed.cached
    assert needed.total < 5e9
    large = memory.need(shape, recipe("seed", batch_size=1_000), *lengths, 2_048)
    assert large.cached
    assert large.activations < needed.activations
    memory.check(needed, None, recipe("seed"))
    memory.check(needed, needed.total, recipe("seed"))
    with pytest.raises(JobError, match=r"MiB are free. Lower batch_size \(now 64\)"):
        memory.check(needed, needed.total - 1, recipe("seed"))
    with pytest.raises(JobError, match="Lower cached_tokens"):
        memory.check(large, 0, recipe("seed"))
