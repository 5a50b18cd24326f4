import json
import subprocess
import sys
from typing import Any

import pytest

from aparella.errors import InputError
from aparella.workers.training.recipe import PRESETS, Recipe, recipe


def test_seed_is_the_model_cards_recipe() -> None:
    seed = recipe("seed")
    assert (seed.epochs, seed.batch_size, seed.learning_rate) == (1, 64, 5e-5)
    assert (seed.scheduler, seed.warmup_ratio, seed.weight_decay) == ("linear", 0.0, 0.0)
    assert (seed.max_grad_norm, seed.scale, seed.seed) == (1.0, 20.0, 42)
    assert (seed.batch_sampler, seed.round_robin) == ("plain", True)
    assert (seed.symmetric, seed.hard_negatives, seed.dropout) == (False, 0, None)
    assert (seed.average, seed.join_codes) == (0, False)


@pytest.mark.parametrize("preset", PRESETS)
def test_json_round_trip(preset: str) -> None:
    made = recipe(preset, epochs=3, learning_rate=1e-4)
    assert Recipe.from_dict(json.loads(json.dumps(made.as_dict()))) == made


def test_a_training_of_an_earlier_release_goes_on_as_it_began() -> None:
    kept = recipe("default").as_dict()
    del kept["join_codes"]
    assert not Recipe.from_dict(kept).join_codes


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", -1),
        ("epochs", 1.5),
        ("epochs", True),
        ("batch_size", 1),
        ("learning_rate", 0),
        ("learning_rate", float("nan")),
        ("learning_rate", "fast"),
        ("warmup_ratio", 1),
        ("scheduler", "step"),
        ("batch_sampler", None),
        ("symmetric", 1),
        ("dropout", 1.0),
        ("precision", "fp16"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{field} is .* is allowed") as caught:
        recipe("default", **{field: value})
    assert caught.value.field == field


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="presets are default, seed") as caught:
        recipe("fast")
    assert caught.value.field == "preset"
    with pytest.raises(InputError, match="no 'lr'") as caught:
        recipe("default", lr=1)
    assert caught.value.field == "lr"
    with pytest.raises(InputError):
        Recipe.from_dict({"preset": "seed", "momentum": 1})


def test_epochs_follow_the_number_of_steps() -> None:
    auto = recipe("default")
    epochs = [auto.epochs_for(steps) for steps in (1, 2, 7, 20, 200, 1_000, 100_000)]
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[0] * 1 >= 30
    assert epochs[-1] == 1
    assert recipe("default", epochs=7).epochs_for(1_000) == 7


def test_a_recipe_needs_no_torch() -> None:
    code = (
        "import sys, aparella.workers.training.recipe, aparella.workers.training.pairs;"
        "print({'torch', 'sentence_transformers', 'celery', 'fastapi'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"
