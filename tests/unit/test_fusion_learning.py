"""What is learnt from known pairs, and what it promises."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aparella.errors import JobError
from aparella.workers.features.abbreviations import Abbreviations
from aparella.workers.fusion import ranker
from aparella.workers.fusion.candidates import Candidates
from aparella.workers.fusion.confidence import NAMES, firsts
from aparella.workers.fusion.evidence import FEATURES
from aparella.workers.fusion.learning import Known, learn
from aparella.workers.fusion.model import FILE_NAME, Fusion, default
from aparella.workers.fusion.promise import MIN_TRIALS, Trials, lower_bound, promise
from aparella.workers.fusion.reliability import diagram, expected_calibration_error

COLUMNS = list(FEATURES)
CODE, COSINE = COLUMNS.index("shared_code"), COLUMNS.index("cosine")


def known(queries: int, *, by: int = CODE, seed: int = 0) -> Known:
    """Five candidates a query, the right one told by one feature; all else is noise."""
    rng = np.random.default_rng(seed)
    n = 5 * queries
    candidates = Candidates(np.repeat(np.arange(queries), 5), np.tile(np.arange(5), queries))
    features = rng.random((n, len(FEATURES)))
    features[:, CODE] = 0
    right = candidates.row == rng.integers(5, size=queries)[candidates.query]
    features[:, by] = np.where(right, 0.9, 0.1) + 0.1 * rng.random(n)
    return Known(
        *(candidates, features, right, queries),
        fold=np.arange(queries) % 5,
        weight=np.ones(queries),
    )


def accuracy(fusion: Fusion, one: Known) -> float:
    found = firsts(one.candidates, one.features, fusion.utilities(one.features))
    return float(one.right[found.pair].mean())


def test_it_learns_what_counts() -> None:
    one = known(200, by=COSINE)
    taught = learn(one, default(), Abbreviations(), {"from": "noise"})
    other = known(200, by=COSINE, seed=1)
    assert accuracy(taught, other) > max(0.95, accuracy(default(), other))
    assert taught.learnt_from["queries"] == taught.learnt_from["found"] == 200
    assert len(taught.trials) == 200
    assert expected_calibration_error(taught.trials) < 0.1


def test_a_hard_category_is_told_from_an_easy_one() -> None:
    one = known(400)
    kind = ["hard" if query % 2 else "easy" for query in one.candidates.query.tolist()]
    # Of the hard lines half are not answered by any record, though one looks as right as ever.
    lost = (one.candidates.query % 4 == 1) & one.right
    taught = learn(
        *(replace(one, right=one.right & ~lost, category=kind, attributes=("kind",)), default()),
        *(Abbreviations(), {}),
    )
    assert taught.categories.attributes == ("kind",)
    assert taught.categories.offsets["hard"] < 0 < taught.categories.offsets["easy"]
    assert expected_calibration_error(taught.trials) < 0.1


def test_a_few_pairs_teach_nothing() -> None:
    taught = learn(known(19), default(), Abbreviations(), {})
    assert np.array_equal(taught.weights, default().weights)
    assert len(taught.trials) == 0


def test_some_tens_of_pairs_teach_the_confidence_alone() -> None:
    taught = learn(known(40), default(), Abbreviations(), {})
    assert np.array_equal(taught.weights, default().weights)
    assert not np.array_equal(taught.first_weights, default().first_weights)
    assert len(taught.trials) == 40


def test_answers_of_a_single_fold_cannot_show_that_other_weights_are_better() -> None:
    one = known(80)
    taught = learn(replace(one, fold=np.zeros(80, dtype=np.int64)), default(), Abbreviations(), {})
    assert np.array_equal(taught.weights, default().weights)


def test_that_a_list_is_easy_moves_no_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    one = known(200)
    # Nothing but the code tells records apart, nearly always: weights could only grow together.
    same = np.tile(default().mean, (len(one.features), 1))
    same[:, CODE] = one.features[:, CODE]
    lost = one.candidates.query % 20 == 0
    easy = replace(one, features=same, right=np.where(lost, np.roll(one.right, 1), one.right))
    taught = learn(easy, default(), Abbreviations(), {})
    assert accuracy(default(), easy) > 0.9
    assert np.array_equal(taught.weights, default().weights)
    assert taught.learnt_from["prior_strength"] is None
    monkeypatch.setattr(ranker, "scale", lambda *_: 1.0)
    assert learn(easy, default(), Abbreviations(), {}).learnt_from["prior_strength"] is not None


def test_no_weight_takes_the_wrong_sign() -> None:
    one = known(200)
    misleading = one.features.copy()
    misleading[:, COSINE] = np.where(one.right, 0.1, 0.9)
    taught = learn(replace(one, features=misleading), default(), Abbreviations(), {})
    for weight, sign in zip(taught.weights, FEATURES.values(), strict=True):
        assert weight * sign >= 0


def test_the_gradient_is_the_loss_s() -> None:
    one = known(30)
    examples = ranker.Examples(one.candidates, one.features, one.right, one.weight)
    near = ranker.fit(examples, default().weights, 5.0)

    def loss(weights: np.ndarray) -> float:
        away = weights - default().weights
        return float(ranker.surprise(examples, weights).sum() + 2.5 * away @ away)

    for place in range(len(FEATURES)):
        step = np.zeros(len(FEATURES))
        step[place] = 1e-3
        inside = near[place] * list(FEATURES.values())[place] > 1e-6
        if inside or not list(FEATURES.values())[place]:
            assert loss(near) <= min(loss(near + step), loss(near - step)) + 1e-6


def test_it_is_read_back_to_the_bit(tmp_path) -> None:  # type: ignore[no-untyped-def]
    taught = learn(known(80), default(), Abbreviations(), {"pair_sets": {"a": 80}})
    taught.save(tmp_path)
    again = Fusion.load(tmp_path)
    for name in ("mean", "scale", "weights", "first_mean", "first_scale", "first_weights"):
        assert np.array_equal(getattr(taught, name), getattr(again, name))
    assert json.dumps(again.to_json()) == json.dumps(
        Fusion.from_json(json.loads(json.dumps(taught.to_json()))).to_json()
    )


def test_a_model_from_before_attributes_gives_them_no_weight(tmp_path) -> None:  # type: ignore[no-untyped-def]
    stored = default().to_json()
    for name in ("attributes_agreeing", "attributes_contradicting"):
        del stored["features"][name], stored["first"][name]
    (tmp_path / FILE_NAME).write_text(json.dumps(stored))
    read = Fusion.load(tmp_path)
    assert read.weights[COLUMNS.index("attributes_agreeing")] == 0
    assert read.first_weights[1 + NAMES.index("attributes_contradicting")] == 0
    assert read.weights[COLUMNS.index("cosine")] == default().weights[COLUMNS.index("cosine")]


def test_a_folder_without_one_has_the_default(tmp_path) -> None:  # type: ignore[no-untyped-def]
    assert Fusion.load(tmp_path) is default()
    assert Fusion.load(None) is default()


@pytest.mark.parametrize("content", ["{", "{}", '{"version": 1}', '{"version": 2}'])
def test_another_file_is_refused(tmp_path, content: str) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / FILE_NAME).write_text(content)
    with pytest.raises(JobError, match="Train the model again"):
        Fusion.load(tmp_path)


def test_shares_are_probabilities() -> None:
    one = known(50)
    fusion = default()
    utility = fusion.utilities(one.features)
    first = firsts(one.candidates, one.features, utility)
    share = fusion.shares(one.candidates, utility, first).reshape(50, 5)
    assert (share >= 0).all()
    assert (share.sum(axis=1) <= 1 + 1e-9).all()
    assert np.array_equal(share.argmax(axis=1), first.pair - 5 * np.arange(50))


def test_the_default_promises_nothing() -> None:
    assert len(default().trials) == 0
    assert promise(default().trials, 0.95).threshold is None


def test_a_promise_is_kept_on_other_answers() -> None:
    rng = np.random.default_rng(0)
    many = rng.beta(4, 1, size=100_000)
    kept = used = 0
    for _ in range(200):
        sure = rng.beta(4, 1, size=300)
        right = rng.random(300) < sure
        trials = Trials(tuple(sure[right]), tuple(sure[~right]))
        promised = promise(trials, 0.9)
        if promised.threshold is None:
            kept += 1
            continue
        # The true share of right ones among all that such a threshold would accept.
        accepted = many >= promised.threshold
        kept += many[accepted].mean() >= 0.9
        used += 1
    # 95 of 100, give or take two standard errors.
    assert kept / 200 > 0.92
    assert used > 100


def test_too_few_answers_promise_nothing() -> None:
    few = promise(Trials(right=(0.99,) * (MIN_TRIALS - 1)), 0.95)
    assert few.threshold is None
    assert "too few" in few.sentence
    assert promise(Trials(right=(0.99,) * 200, absent=(0.1,) * 200), 0.95).threshold == 0.99


def test_wrong_answers_at_the_top_promise_nothing() -> None:
    trials = Trials(right=(0.9,) * 100, wrong=(0.99,) * 30)
    assert promise(trials, 0.95).threshold is None


@given(st.integers(1, 500), st.integers(0, 500))
def test_the_bound_is_below_the_share(total: int, wrong: int) -> None:
    right = max(total - wrong, 0)
    assert 0 <= lower_bound(right, total) <= right / total + 1e-12


def test_the_diagram_counts_every_answer() -> None:
    trials = Trials(right=(0.95, 1.0, 0.15), wrong=(0.05, 0.91))
    bins = diagram(trials)
    assert [one.count for one in bins] == [1, 1, 0, 0, 0, 0, 0, 0, 0, 3]
    assert bins[9].right == pytest.approx(2 / 3)
    assert expected_calibration_error(Trials(right=(1.0,), wrong=(0.0,))) == 0
