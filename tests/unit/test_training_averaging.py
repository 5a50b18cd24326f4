"""The mean of the last steps' weights, also over a pause."""

from pathlib import Path

import pytest
import torch
from torch import nn

from aparella.workers.training.averaging import Average

STEPS = 10


def walk(model: nn.Linear, average: Average, steps: range) -> None:
    for step in steps:
        nn.init.constant_(model.weight, float(step))
        average.update(step, STEPS)


@pytest.mark.parametrize(("share", "mean"), [(0.4, 8.5), (0.05, 10.0), (0.0, 10.0), (1.0, 5.5)])
def test_the_model_becomes_the_mean_of_the_last_steps(share: float, mean: float) -> None:
    model = nn.Linear(2, 3)
    average = Average(model, share)
    walk(model, average, range(1, STEPS + 1))
    assert torch.all(model.weight == STEPS)
    average.apply()
    assert torch.allclose(model.weight, torch.tensor(mean))


@pytest.mark.parametrize("pause", [3, 6, 8])
def test_it_goes_on_from_a_checkpoint(tmp_path: Path, pause: int) -> None:
    model = nn.Linear(2, 3)
    first = Average(model, 0.4)
    walk(model, first, range(1, pause + 1))
    first.save(tmp_path / "mean")
    assert (tmp_path / "mean").exists() is (pause > 6)
    second = Average(model, 0.4)
    second.load(tmp_path / "mean")
    walk(model, second, range(pause + 1, STEPS + 1))
    second.apply()
    assert torch.allclose(model.weight, torch.tensor(8.5))
