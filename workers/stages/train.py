"""The stage that fine-tunes one model: one long piece of work that goes on from its checkpoints."""

import tempfile
from dataclasses import replace
from importlib.metadata import version
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from aparella import artifacts
from aparella.category import ATTRIBUTES
from aparella.db import chunks, faults, models, pair_texts, pairs, registry, vectors
from aparella.db.chunks import Failed
from aparella.db.engine import transaction
from aparella.db.leases import Claimed
from aparella.db.models import Model
from aparella.db.pairs import Pair
from aparella.workers.context import Context, Outcome, Tick, Write, waiting
from aparella.workers.evaluation import split
from aparella.workers.evaluation.split import PairKey
from aparella.workers.fusion.model import Fusion
from aparella.workers.text import text_hash
from aparella.workers.training.checkpoints import Checkpoints
from aparella.workers.training.pairs import Rejection, TrainingPair
from aparella.workers.training.recipe import Recipe

if TYPE_CHECKING:
    from aparella.workers.teaching import Beside

Matrix = NDArray[np.float32]

LIBRARIES = ("sentence-transformers", "transformers", "torch", "tokenizers", "numpy")
CATALOGUE_TEXTS = 50_000
"""Catalogue texts among which hard negatives are looked for: a bound for memory and time."""

_STALE = {
    "source_removed": "its line was removed",
    "target_removed": "its catalogue record was removed",
    "source_changed": "the text of its line has changed",
    "target_changed": "the text of its catalogue record has changed",
}


def plan(connection: sa.Connection, _context: Context, chunk: Claimed) -> int:
    """One chunk: a training is one piece of work; its size are the steps of the optimiser.

    The two half-models that a fusion learns from take as many steps together as the model.
    """
    model = models.model_by_id(connection, chunk.params["model_id"])
    known = _pairs(connection, model)
    recipe = Recipe.from_dict(model.training["recipe"])
    batches = sum(
        ceil(sum(pair.positive for pair in one) / recipe.batch_size) for one in known.values()
    )
    steps = recipe.epochs_for(max(1, batches)) * max(1, batches)
    chunks.add_whole(connection, chunk, size=steps if model.twin_of else 2 * steps)
    return 0


def work(context: Context, chunk: Claimed, tick: Tick) -> Write:
    """Train, put the model into the artifact store, and register it."""
    # Seconds to import, and most workers never train.
    from aparella.workers.keepsakes import max_tokens, remember
    from aparella.workers.teaching import Sets, summary, teach
    from aparella.workers.training.trainer import Step, train

    with transaction(context.db) as connection:
        model = models.model_by_id(connection, chunk.params["model_id"])
        base = models.model_by_id(connection, model.parent_id or model.id)
        known = _pairs(connection, model)
        held_out = _pairs(connection, model, held_out=True)
        found = _catalogues(connection, model)
        catalogues = {name: list(texts.values()) for name, texts in found.items()}
        recipe = Recipe.from_dict(model.training["recipe"])
        near = {
            name: matrix
            for name, texts in found.items()
            if recipe.hard_negatives
            and (matrix := _vectors(connection, base, list(texts))) is not None
        }
        # A twin learns no fusion, and only a fusion looks at attributes.
        beside = {} if model.twin_of else _beside(connection, model, known, catalogues)
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
    checkpoints = Checkpoints(artifacts.checkpoints(settings.artifacts, model.id))
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
            tick=note,
            catalogues=catalogues,
            rejections={
                name: [Rejection(p.source_text, p.target_text) for p in one if not p.positive]
                for name, one in known.items()
            },
            vectors=near,
            checkpoints=checkpoints,
            checkpoint_seconds=settings.checkpoint_seconds,
        )
        fusion: Fusion | None = None
        if model.twin_of is None:
            # A twin only stands in for its model in the evaluation, which looks at vectors alone.
            def train_half(half: int, halved: Sets) -> Path:
                pairs_of_half = {
                    name: [
                        TrainingPair(p.source_text, p.target_text, text_hash(p.target_text).hex())
                        for p in one
                    ]
                    for name, one in halved.items()
                }
                return train(
                    start,
                    pairs_of_half,
                    # As often as the model sees its pairs: a half of its own would see them more.
                    replace(recipe, epochs=trained.epochs),
                    out=Path(folder) / f"half-{half}",
                    work=Path(folder) / f"work-{half}",
                    tick=lambda step: tick(
                        1, {"part": f"fusion {half + 1}/2: step {step.step} of {step.steps}"}
                    ),
                    catalogues=catalogues,
                    vectors=near,
                    checkpoints=halves[half],
                    checkpoint_seconds=settings.checkpoint_seconds,
                ).path

            halves = [Checkpoints(f"{checkpoints.url}/half-{half}") for half in (0, 1)]
            with waiting(tick):
                fusion = teach(
                    {name: [p for p in one if p.positive] for name, one in known.items()},
                    catalogues,
                    train_half,
                    lambda: tick(0, {"part": "fusion: comparing"}),
                    beside,
                    (wanted,) if (wanted := chunk.params.get("category")) else ATTRIBUTES,
                )
                for half in halves:
                    half.clear()
            fusion.save(out)
        with waiting(tick):
            if model.twin_of is None:
                remember(out, known, held_out)
            url = f"{settings.artifacts}/models/{model.id}-{chunk.id}-{chunk.lease_token}"
            artifact = artifacts.put(out, url)
            max_seq_length = max_tokens(out)
    keys = [
        PairKey(p.id, p.source_hash, p.target_hash, p.positive, p.fold)
        for one in known.values()
        for p in one
    ]
    figures: dict[str, Any] = {
        **model.training,
        "pairs_sha256": split.digest(keys),
        "counts": {name: sum(p.positive for p in one) for name, one in known.items()},
        "libraries": {name: version(name) for name in LIBRARIES},
        "job_id": chunk.job_id,
        "steps": trained.steps,
        "resumed_at": trained.resumed_at,
        "epochs": trained.epochs,
        "loss": round(trained.loss, 5),
        "seconds": round(trained.seconds, 1),
        "pairs_per_second": round(trained.pairs_per_second, 1),
        "device": trained.device,
        "memory_mb": round(trained.need.total / (1 << 20)),
        **({"fusion": summary(fusion)} if fusion else {}),
    }

    def write(connection: sa.Connection) -> Outcome:
        registry.complete(
            connection,
            model.id,
            artifact,
            max_seq_length=max_seq_length,
            training=figures,
            trials=fusion.trials.to_json() if fusion and len(fusion.trials) else None,
        )
        if model.twin_of is None:
            _report_stale(connection, chunk, model)
        return Outcome(size=trained.steps)

    return write


def bury(_connection: sa.Connection, _chunk: Failed, _code: str, _message: str) -> None:
    """The job fails as a whole; its error says why."""


def _pairs(
    connection: sa.Connection, model: Model, *, held_out: bool = False
) -> dict[str, list[Pair]]:
    """For each of the model's pair sets the pairs that it may see, or those that it may not."""
    folds = [fold for fold in range(split.FOLDS) if (fold in model.held_out) is held_out]
    return {
        name: pairs.current(connection, set_id, folds)
        for name, set_id in zip(
            model.training["pairs"], model.training["pair_set_ids"], strict=True
        )
    }


def _catalogues(connection: sa.Connection, model: Model) -> dict[str, dict[int, str]]:
    """For each pair set with a catalogue, texts of it among which hard negatives may be, by id."""
    return {
        name: texts
        for name, set_id in zip(
            model.training["pairs"], model.training["pair_set_ids"], strict=True
        )
        if (texts := pair_texts.catalogue(connection, set_id, limit=CATALOGUE_TEXTS))
    }


def _vectors(connection: sa.Connection, base: Model, ids: list[int]) -> Matrix | None:
    """The base's vectors of these records, in their order; None where one has none yet."""
    block = vectors.load_some(connection, base.id, ids)
    if len(block.ids) < len(ids):
        return None
    return block.vectors[np.searchsorted(block.ids, ids)]


def _beside(
    connection: sa.Connection,
    model: Model,
    known: dict[str, list[Pair]],
    catalogues: dict[str, list[str]],
) -> "dict[str, Beside]":
    """For each pair set whose catalogue's records have attributes, these and the lines'."""
    from aparella.workers.teaching import Beside

    found: dict[str, Beside] = {}
    for name, set_id in zip(model.training["pairs"], model.training["pair_set_ids"], strict=True):
        sources = [p.source_hash for p in known[name]]
        targets = [p.target_hash for p in known[name]]
        targets += [text_hash(text) for text in catalogues.get(name, ())]
        records = pair_texts.attributes(connection, set_id, "target", targets)
        if records:
            lines = pair_texts.attributes(connection, set_id, "source", sources)
            found[name] = Beside(lines, records)
    return found


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
                key=f"{stale.source_key} / {stale.target_key}",
                code=stale.reason,
                message=(
                    f"left out of the training: {_STALE[stale.reason]} since the pairs '{name}' "
                    "were imported. Import them again if the pair still holds."
                ),
            )
