"""Codes are read without their hyphens, by the model and by whoever loads its folder."""

from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer
from tokenizers import Regex, normalizers
from transformers import AutoTokenizer

from aparella.workers.training.normalizer import HYPHEN, join_codes
from aparella.workers.training.recipe import recipe
from aparella.workers.training.trainer import train
from tests.unit.tiny import some_pairs, tiny_model


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("KX-TS620W", "KXTS620W"),
        ("Canon CL-211, black", "Canon CL211, black"),
        ("010-00575-10", "0100057510"),
        ("P502-025", "P502025"),
        ("1-22-333", "122333"),
        ("T-5", "T5"),
        ("REF.MB-913-LL4", "REF.MB913LL4"),
        # Words, counts with their word, ranges, signs and dashes are none.
        ("Front-Load", "Front-Load"),
        ("12-volt", "12-volt"),
        ("PG-40-BK-TWIN", "PG40-BK-TWIN"),
        ("10-50KG,COL·LOCACIÓ", "10-50KG,COL·LOCACIÓ"),
        ("150-300ML", "150-300ML"),
        ("33-47CM,DOS", "33-47CM,DOS"),
        ("-20 A -5 GRAUS", "-20 A -5 GRAUS"),
        ("SONDA - 5", "SONDA - 5"),
        ("MIDA-", "MIDA-"),
        ("2/0 3/8C 0,5ML", "2/0 3/8C 0,5ML"),
    ],
)
def test_a_hyphen_inside_a_code_is_dropped(written: str, read: str) -> None:
    assert normalizers.Replace(Regex(HYPHEN), "").normalize_str(written) == read


def test_the_models_folder_reads_codes_alike_and_all_else_as_its_base(tmp_path: Path) -> None:
    base = tiny_model(tmp_path)
    before = SentenceTransformer(str(base), device="cpu")
    model = SentenceTransformer(str(base), device="cpu")
    join_codes(model)
    model.save_pretrained(str(tmp_path / "joined"), create_model_card=False)
    after = SentenceTransformer(str(tmp_path / "joined"), device="cpu")
    assert after.max_seq_length == before.max_seq_length
    texts = ["SONDA KX-TS620W", "SONDA KXTS620W", "SONDA 10-50KG, ESTÈRIL " * 30]
    vectors, own = after.encode(texts), before.encode(texts)
    assert vectors[0] == pytest.approx(vectors[1], abs=1e-5)
    assert vectors[1:] == pytest.approx(own[1:], abs=1e-5)
    assert abs(vectors[0] - own[0]).max() > 0.01
    assert AutoTokenizer.from_pretrained(tmp_path / "joined").tokenize("T-5") == ["t", "##5"]


def test_default_joins_codes_once_and_seed_takes_the_tokenizer_as_it_is(tmp_path: Path) -> None:
    def trained(base: Path, preset: str) -> str:
        done = train(
            base,
            {"list": some_pairs(24)},
            recipe(preset, epochs=1, batch_size=12),
            out=tmp_path / f"{base.name}-{preset}",
            work=tmp_path / "work",
            tick=lambda _: None,
            threads=1,
        )
        backend = SentenceTransformer(str(done.path), device="cpu").tokenizer.backend_tokenizer
        return str(backend.to_str())

    base = tiny_model(tmp_path)
    assert HYPHEN not in trained(base, "seed")
    assert trained(base, "default").count(HYPHEN) == 1
    assert trained(tmp_path / "model-default", "default").count(HYPHEN) == 1
    assert trained(tmp_path / "model-default", "seed").count(HYPHEN) == 1
