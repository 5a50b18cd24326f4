"""Trains a model on pairs, from its base to a folder that sentence-transformers loads."""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from aparella.errors import JobError, ResourceExhaustedError
from aparella.workers.devices import choose_device
from aparella.workers.training.checkpoints import Checkpoints
from aparella.workers.training.disk import is_full, whole
from aparella.workers.training.forward import PART_TOKENS, PART_TOKENS_GPU
from aparella.workers.training.isolation import isolated
from aparella.workers.training.keeper import Keeper, fingerprint
from aparella.workers.training.loop import Loop, NotFiniteError, Watcher
from aparella.workers.training.material import Material
from aparella.workers.training.memory import Need
from aparella.workers.training.pairs import Rejection, TrainingPair
from aparella.workers.training.preparation import check_memory, choose_negatives, load
from aparella.workers.training.recipe import Recipe
from aparella.workers.training.step import Step
from aparella.workers.training.tokens import Tokens

__all__ = ["Step", "Trained", "train"]


@dataclass(frozen=True)
class Trained:
    """A training that is done.

    Attributes:
        path: folder of the model.
        recipe: how it was trained.
        pairs: of all sets.
        epochs: times each pair was seen.
        steps: batches.
        resumed_at: step of the checkpoint that it went on from; 0 where it began anew.
        loss: mean of the last tenth of the steps of this run.
        seconds: of this run, from loading the base to the saved folder.
        pairs_per_second: of this run's steps.
        need: the memory that was estimated.
        device: where it was trained.
    """

    path: Path
    recipe: Recipe
    pairs: int
    epochs: int
    steps: int
    resumed_at: int
    loss: float
    seconds: float
    pairs_per_second: float
    need: Need
    device: str


def train(
    base: Path,
    sets: Mapping[str, Sequence[TrainingPair]],
    recipe: Recipe,
    *,
    out: Path,
    work: Path,
    tick: Callable[[Step], None],
    catalogues: Mapping[str, Sequence[str]] | None = None,
    rejections: Mapping[str, Sequence[Rejection]] | None = None,
    vectors: Mapping[str, NDArray[np.float32]] | None = None,
    checkpoints: Checkpoints | None = None,
    checkpoint_seconds: float = 300,
    device: str | None = None,
    threads: int | None = None,
) -> Trained:
    """Fine-tune a model.

    The same base, pairs, recipe, device and threads give the same bits, also where the run was
    ended after a checkpoint and goes on elsewhere. Nothing of the process stays changed: threads,
    random numbers, environment.

    Args:
        base: folder of a sentence-transformers model.
        sets: pairs by the name of their set; a batch is of one set.
        recipe: how to train.
        out: folder to write the model to, safetensors only; an old one is replaced.
        work: folder for checkpoints on their way; what is put there is removed.
        tick: called after each step. What it raises ends the training and reaches the caller; for
            a `TransientError` (the worker is being drained) a checkpoint is saved before.
        catalogues: texts by set that negatives are mined among; default: the set's targets.
        rejections: known wrong pairs by set, the first of the hard negatives.
        vectors: of the catalogues' texts by the base, float32 (texts, dim), of the sets where they
            are known; the others' are encoded as far as ten times the pairs.
        checkpoints: where they are kept. The newest that is of this very training is gone on from;
            they are left there afterwards, for the caller to clear.
        checkpoint_seconds: between two.
        device: a torch device; None takes the GPU if there is one.
        threads: of the processor to compute with; None leaves them as they are.

    Raises:
        aparella.errors.InputError: there are no pairs, or nothing to tell apart.
        aparella.errors.JobError: the base does not load, the memory would not suffice, or the loss
            is not a number any more.
        aparella.errors.ResourceExhaustedError: memory ran out, or a disk is full.
        aparella.errors.ServiceUnavailableError: the store of checkpoints cannot be read.
    """
    began = time.monotonic()
    device = device or choose_device()
    work.mkdir(parents=True, exist_ok=True)
    scratch = work / "training"
    shutil.rmtree(scratch, ignore_errors=True)
    keeper = Keeper(checkpoints)
    losses: list[tuple[float, float]] = []

    def hear(step: Step) -> None:
        losses.append((step.loss, step.pairs_per_second))
        tick(step)

    try:
        with isolated(threads), _memory_errors(recipe):
            torch.manual_seed(recipe.seed)
            model = load(base, device, recipe)
            material = Material(sets, Tokens(model.tokenizer, model.max_seq_length))
            part_tokens = PART_TOKENS_GPU
            if device == "cpu":
                part_tokens = PART_TOKENS * torch.get_num_threads()
            needed = check_memory(model, recipe, material, part_tokens, device)
            sampler = material.sampler(recipe)
            epochs = recipe.epochs_for(len(sampler))
            keeper.run = fingerprint(base, recipe, material, catalogues, rejections)
            resumed = keeper.latest(scratch)
            if recipe.hard_negatives:
                if keeper.negatives is None:
                    keeper.negatives = choose_negatives(
                        *(model, material, recipe),
                        *(catalogues or {}, rejections or {}, vectors or {}),
                    )
                material.negatives = keeper.negatives
            loop = Loop(
                model,
                recipe,
                material,
                sampler,
                epochs=epochs,
                folder=scratch / "run",
                device=device,
                part_tokens=part_tokens,
                watcher=Watcher(hear, keeper.save if checkpoints else None, checkpoint_seconds),
            )
            try:
                loop.train(resume_from_checkpoint=None if resumed is None else str(resumed))
            except NotFiniteError as error:
                raise JobError(
                    _not_finite(loop.state.global_step + 1, keeper.step, recipe)
                ) from error
            loop.average.apply()
            with whole(out) as part:
                model.save_pretrained(str(part), create_model_card=False, safe_serialization=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    last = [loss for loss, _ in losses[-max(1, len(losses) // 10) :]]
    return Trained(
        path=out,
        recipe=recipe,
        pairs=len(material),
        epochs=epochs,
        steps=loop.state.max_steps,
        resumed_at=keeper.resumed_at,
        loss=float(np.mean(last)) if last else float("nan"),
        seconds=time.monotonic() - began,
        pairs_per_second=losses[-1][1] if losses else 0.0,
        need=needed,
        device=device,
    )


def _not_finite(step: int, kept: int, recipe: Recipe) -> str:
    where = f"the checkpoint of step {kept} is kept" if kept else "there is no checkpoint yet"
    return (
        f"The loss is not a number at step {step}; {where}. Lower learning_rate (now "
        f"{recipe.learning_rate:g}), and look at the pairs for empty or broken texts."
    )


@contextlib.contextmanager
def _memory_errors(recipe: Recipe) -> Iterator[None]:
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        # On a CPU torch has no class for it.
        if isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError):
            if is_full(error):
                raise ResourceExhaustedError(f"The disk is full: {error}") from error
            if "not enough memory" not in str(error) and "can't allocate" not in str(error):
                raise
        raise ResourceExhaustedError(
            f"Memory ran out in training. Lower cached_tokens (now {recipe.cached_tokens:,}) or "
            f"batch_size (now {recipe.batch_size}), or train on a larger machine."
        ) from error
