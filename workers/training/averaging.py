"""The mean of the weights over the last steps of a training.

Stochastic weight averaging (Izmailov et al. 2018, arXiv:1803.05407): the mean lies nearer to the
middle of a flat minimum than the last step does, and costs a copy of the weights.
"""

import math
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel


class Average:
    """A running mean of a model's weights."""

    def __init__(self, model: nn.Module, share: float) -> None:
        """Start with none.

        Args:
            model: whose weights; it is not changed before `apply`.
            share: of the run's steps, counted from its end, that the mean is over.
        """
        self._model = model
        self._share = share
        self._mean: AveragedModel | None = None

    def update(self, step: int, steps: int) -> None:
        """Take the weights after a step into the mean, if it is one of the last.

        Args:
            step: that was made, from 1.
            steps: of the whole run.
        """
        if step > steps - math.ceil(steps * self._share):
            self._begun().update_parameters(self._model)

    def save(self, file: Path) -> None:
        """Write the mean so far, if it has begun."""
        if self._mean is not None:
            save_file({k: v.contiguous() for k, v in self._mean.state_dict().items()}, file)

    def load(self, file: Path) -> None:
        """Go on from what `save` wrote; without a file, from none."""
        if file.is_file():
            self._begun().load_state_dict(load_file(file))

    def apply(self) -> None:
        """Give the model the mean, if there is one."""
        if self._mean is not None:
            with torch.no_grad():
                self._model.load_state_dict(self._mean.module.state_dict())

    def _begun(self) -> AveragedModel:
        if self._mean is None:
            self._mean = AveragedModel(self._model)
        return self._mean
