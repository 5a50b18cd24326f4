"""The library's trainer with our batches, and checkpoints that are small and never bad."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.model import SentenceTransformer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import PrinterCallback, TrainerCallback

from aparella.errors import TransientError
from aparella.workers.training.averaging import Average
from aparella.workers.training.forward import CachedEmbedding, embed
from aparella.workers.training.loss import RankingLoss
from aparella.workers.training.material import Batch, Material, Sampler
from aparella.workers.training.recipe import Recipe
from aparella.workers.training.step import Step

WEIGHTS = "model.safetensors"
MEAN = "mean.safetensors"


def rate(step: int, steps: int, recipe: Recipe) -> float:
    """The learning rate's share of its highest.

    Args:
        step: steps that are done, from 0.
        steps: of the whole run.
        recipe: says how long it climbs and how it falls.

    Returns:
        Over 0 and up to 1. The library's schedulers, but that the first step of a climb is not
        made with 0: a small set has but 30.
    """
    climb = math.ceil(steps * recipe.warmup_ratio)
    if step < climb:
        return (step + 1) / (climb + 1)
    share = (step - climb) / max(1, steps - climb)
    if recipe.scheduler == "linear":
        return 1 - share
    return (1 + math.cos(math.pi * share)) / 2 if recipe.scheduler == "cosine" else 1.0


class NotFiniteError(Exception):
    """The loss or its gradient is not a number; the weights are still those of the step before."""


class Places(Dataset[int]):
    """Stands for the pairs: a place is all that the collator needs."""

    def __init__(self, pairs: int) -> None:
        self._pairs = pairs

    def __len__(self) -> int:
        """Pairs."""
        return self._pairs

    def __getitem__(self, place: int) -> int:
        """The place itself."""
        return place


class Loader(DataLoader[int]):
    """A loader that tells its sampler which epoch it is."""

    def set_epoch(self, epoch: int) -> None:
        """Pass it on."""
        self.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]


class Loop(SentenceTransformerTrainer):
    """Runs the steps.

    The library tokenises each batch anew and pads it to its longest text; here the texts are
    tokenised before, and a batch goes through the model in parts of like length. The loss is the
    same.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        recipe: Recipe,
        material: Material,
        sampler: Sampler,
        *,
        epochs: int,
        folder: Path,
        device: str,
        part_tokens: int,
        watcher: "Watcher",
    ) -> None:
        bf16 = recipe.precision == "auto" and device != "cpu" and torch.cuda.is_bf16_supported()
        arguments = SentenceTransformerTrainingArguments(
            output_dir=str(folder),
            num_train_epochs=epochs,
            per_device_train_batch_size=recipe.batch_size,
            learning_rate=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            max_grad_norm=recipe.max_grad_norm,
            seed=recipe.seed,
            bf16=bf16,
            use_cpu=device == "cpu",
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        self._recipe = recipe
        self._material = material
        self._sampler = sampler
        self._part_tokens = part_tokens
        self._cached: CachedEmbedding | None = None
        self.average = Average(model, recipe.average)
        self.last_loss = self.last_rate = math.nan
        self.last_pairs = 0
        self._ranking = RankingLoss(model, scale=recipe.scale, symmetric=recipe.symmetric)
        super().__init__(model=model, args=arguments, loss=self._ranking)
        self.remove_callback(PrinterCallback)
        watcher.loop = self
        self.add_callback(watcher)

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """None: whoever registers the model writes its card."""

    def create_scheduler(
        self,
        num_training_steps: int,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> torch.optim.lr_scheduler.LambdaLR:
        """The learning rate over the steps."""
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer or self.optimizer,  # type: ignore[arg-type]
            lambda step: rate(step, num_training_steps, self._recipe),
        )
        self._created_lr_scheduler = True
        return self.lr_scheduler

    def get_train_dataloader(self) -> Loader:
        """The batches."""
        return Loader(
            Places(len(self._material)),
            batch_sampler=self._sampler,
            collate_fn=self._collate,
        )

    def _collate(self, rows: list[int]) -> dict[str, Batch]:
        mask = self._recipe.batch_sampler != "plain"
        return {"batch": self._material.batch(rows, self._part_tokens, mask=mask)}

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,  # noqa: ARG002
    ) -> Any:
        """The batch's loss; with cached gradients it goes back no further than the vectors."""
        batch: Batch = inputs["batch"]
        self.last_pairs = batch.pairs
        device = self.args.device
        parts = batch.parts.to(device)
        if parts.tokens > self._recipe.cached_tokens:
            self._cached = CachedEmbedding(model, parts)
            vectors = self._cached.first()
        else:
            vectors = embed(model, parts)
        loss = self._ranking.of(
            vectors[: batch.pairs],
            vectors[batch.pairs :],
            batch.weights.to(device),
            None if batch.hidden is None else batch.hidden.to(device),
        )
        return (loss, {}) if return_outputs else loss

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """One step up to its gradients.

        Raises:
            NotFiniteError: the loss is not a finite number.
        """
        loss = super().training_step(*args, **kwargs)
        self.last_loss = loss.item()
        self.last_rate = float(self._get_learning_rate())
        if not math.isfinite(self.last_loss):
            raise NotFiniteError
        if self._cached is not None:
            self._cached.second(self.compute_loss_context_manager)
            self._cached = None
        return loss

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        norm: Tensor = super()._clip_grad_norm(model)  # type: ignore[no-untyped-call]
        if not torch.isfinite(norm):
            raise NotFiniteError
        return norm

    def checkpoint(self) -> Path:
        """Write a checkpoint of the step that is done into a folder, and return it."""
        self._save_checkpoint(self.model, None)
        return Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:  # noqa: ARG002
        """The weights and their mean alone: the rest of the model does not change."""
        folder = Path(str(output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: value.contiguous() for name, value in self.model.state_dict().items()}
        save_file(weights, folder / WEIGHTS)
        self.average.save(folder / MEAN)

    def _load_from_checkpoint(
        self,
        resume_from_checkpoint: str,
        model: nn.Module | None = None,  # noqa: ARG002
    ) -> None:
        folder = Path(resume_from_checkpoint)
        self.model.load_state_dict(load_file(folder / WEIGHTS))
        self.average.load(folder / MEAN)


class Watcher(TrainerCallback):
    """After each step: says how it goes, and saves checkpoints when their time has come."""

    loop: Loop

    def __init__(
        self,
        tick: Callable[[Step], None],
        save: Callable[[Path, int], None] | None,
        seconds: float,
    ) -> None:
        """Make one.

        Args:
            tick: hears of each step.
            save: keeps a checkpoint's folder; None keeps none.
            seconds: between two checkpoints.
        """
        self._tick = tick
        self._save = save
        self._seconds = seconds
        self._first = 0
        self._pairs = 0
        self._began = self._saved = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """The clock starts."""
        self._first = state.global_step
        self._began = self._saved = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Say how it goes; what `tick` raises ends the training."""
        self.loop.average.update(state.global_step, state.max_steps)
        done = state.global_step - self._first
        seconds = max(time.monotonic() - self._began, 1e-9)
        self._pairs += self.loop.last_pairs
        saved = False
        if time.monotonic() - self._saved >= self._seconds:
            saved = self._keep(state.global_step)
        step = Step(
            step=state.global_step,
            steps=state.max_steps,
            epoch=state.epoch,
            loss=self.loop.last_loss,
            learning_rate=self.loop.last_rate,
            pairs_per_second=self._pairs / seconds,
            eta_seconds=(state.max_steps - state.global_step) * seconds / done,
        )
        try:
            self._tick(step)
        except TransientError:
            # The worker is being drained: whoever takes the job goes on from here.
            if not saved:
                self._keep(state.global_step)
            raise

    def _keep(self, step: int) -> bool:
        if self._save is None:
            return False
        self._save(self.loop.checkpoint(), step)
        self._saved = time.monotonic()
        return True
