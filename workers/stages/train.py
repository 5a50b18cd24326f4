"""The stage that fine-tunes one model: one long piece of work that goes on from its checkpoints."""

import tempfile
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from aparella.db.pairs import Pair
from aparella.workers.training.checkpoints import Checkpoints
from aparella.workers.training.pairs import Rejection, TrainingPair
from aparella.workers.training.recipe import Recipe

from aparella import artifacts
from aparella.db import chunks, faults, models, pairs, registry
from aparella.db.chunks import Claimed, Failed
from aparella.db.engine import transaction
from aparella.db.models import Model
from aparella.workers.context import Context, Outcome, Tick, Write, waiting
from aparella.workers.evaluation import split

CATALOGUE_TEXTS = 50_000
"""Catalogue texts among which hard negatives are looked for: a bound for memory and time."""


def plan(connection: sa.Connection, _context: Context, chunk: Claimed) -> int:
    """One chunk: a training is one piece of work; its size are the steps of the optimiser."""
    model = models.model_by_id(connection, chunk.params["model_id"])
    known = _pairs(connection, model)
    recipe = Recipe.from_dict(model.training["recipe"])
    chunks.add_whole(
        connection,
        chunk,
        size=recipe.steps([sum(pair.positive for pair in one) for one in known.values()]),
    )
    return 0


def work(context: Context, chunk: Claimed, tick: Tick) -> Write:
    """Train, put the model into the artifact store, and register it."""
    # Seconds to import, and most workers never train.
    from aparella.workers.training.trainer import Step, train

    with transaction(context.db) as connection:
        model = models.model_by_id(connection, chunk.params["model_id"])
        base = models.find_model(connection, model.parent)
        known = _pairs(connection, model)
        catalogues = _catalogues(connection, model)
    recipe = Recipe.from_dict(model.training["recipe"])
    done = 0

    def note(step: Step) -> None:
        nonlocal done
        detail = {
            "step": step.step,
            "steps": step.steps,
            "loss": round(step.loss, 4),
            "rate": round(step.pairs_per_second, 1),
            "eta_seconds": round(step.eta_seconds),
        }
        more, done = step.step - done, step.step
        tick(more, detail)

    settings = context.settings
    checkpoints = Checkpoints(f"{settings.artifacts}/checkpoints/model-{model.id}")
    with tempfile.TemporaryDirectory(prefix="aparella-train-") as folder:
        out = Path(folder) / "model"
        with waiting(tick):
            start = artifacts.fetch(base.artifact_url, base.sha256, base.files)
        trained = train(
            start,
            {name: [_training_pair(p) for p in one if p.positive] for name, one in known.items()},
            recipe,
            out=out,
            work=Path(folder) / "work",
            catalogues=catalogues,
            rejections=[
                Rejection(p.source_text, p.target_text)
                for one in known.values()
                for p in one
                if not p.positive
            ],
            tick=note,
            checkpoints=checkpoints,
            checkpoint_seconds=settings.checkpoint_seconds,
        )
        with waiting(tick):
            _remember_texts(context, out, known)
            url = f"{settings.artifacts}/models/{model.id}-{chunk.id}-{chunk.lease_token}"
            artifact = artifacts.put(out, url)
    keys = [
        split.PairKey(p.id, p.source_hash, p.target_hash, p.positive, p.fold)
        for one in known.values()
        for p in one
    ]
    figures: dict[str, Any] = {
        **model.training,
        "pairs_sha256": split.digest(keys),
        "counts": {name: len(one) for name, one in known.items()},
        **trained.as_dict(),
    }

    def write(connection: sa.Connection) -> Outcome:
        registry.complete(
            connection,
            model.id,
            artifact,
            max_seq_length=trained.max_seq_length,
            training=figures,
        )
        if model.twin_of is None:
            _report_stale(connection, chunk, model)
        return Outcome(size=chunk.size)

    return write


def bury(_connection: sa.Connection, _chunk: Failed, _code: str, _message: str) -> None:
    """The job fails as a whole; its error says why."""


def _pairs(connection: sa.Connection, model: Model) -> dict[str, list[Pair]]:
    """For each of the model's pair sets the pairs that it may see."""
    folds = sorted(set(range(split.FOLDS)) - set(model.held_out))
    return {
        name: pairs.current(connection, set_id, folds)
        for name, set_id in zip(
            model.training["pairs"], model.training["pair_set_ids"], strict=True
        )
    }


def _catalogues(connection: sa.Connection, model: Model) -> dict[str, list[str]]:
    """For each pair set with a catalogue, texts of it among which hard negatives may be."""
    return {
        name: pairs.catalogue_texts(connection, set_id, limit=CATALOGUE_TEXTS)
        for name, set_id in zip(
            model.training["pairs"], model.training["pair_set_ids"], strict=True
        )
    }


def _training_pair(pair: Pair) -> TrainingPair:
    return TrainingPair(pair.source_text, pair.target_text, pair.target_hash.hex(), pair.weight)


def _report_stale(connection: sa.Connection, chunk: Claimed, model: Model) -> None:
    """Say which pairs were left out because the texts that they were made for have changed."""
    for set_id, name in zip(model.training["pair_set_ids"], model.training["pairs"], strict=True):
        for stale in pairs.stale(connection, set_id):
            faults.add(
                connection,
                job_id=chunk.job_id,
                stage_id=chunk.stage_id,
                key=stale.key,
                code="text_changed",
                message=(
                    f"left out of the training: {stale.reason} since the pairs '{name}' were "
                    "imported. Import them again if the pair still holds."
                ),
            )
