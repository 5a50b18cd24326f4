"""The stage that tells whether lines are unlike what the model was trained on."""

import numpy as np
import sqlalchemy as sa

from aparella import artifacts
from aparella.db import chunks, jobs, models, records, vectors
from aparella.db.chunks import Failed
from aparella.db.engine import transaction
from aparella.db.leases import Claimed
from aparella.workers import keepsakes
from aparella.workers.context import Context, Outcome, Tick, Write, waiting
from aparella.workers.evaluation import drift
from aparella.workers.evaluation.drift import Drift, Reference

SAMPLE = 1_000
"""Records of each side that are looked at: a share of 5 % is then known to 1.4 points."""


def plan(connection: sa.Connection, context: Context, chunk: Claimed) -> int:
    """One chunk, unless a stand-in encodes, which was trained on nothing."""
    if context.settings.encoder == "sentence-transformers":
        chunks.add_whole(connection, chunk)
    return 0


def work(context: Context, chunk: Claimed, tick: Tick) -> Write:
    """Compare a sample of either side's texts with the model's training texts."""
    sides = {"source": chunk.params["source_id"], "target": chunk.params["collection_id"]}
    with transaction(context.db) as connection:
        model = models.model_by_id(connection, chunk.params["model_id"])
    with waiting(tick):
        folder = artifacts.fetch(model.artifact_url, model.sha256, model.files)
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    found: dict[str, Drift] = {}
    for side, collection_id in sides.items():
        with transaction(context.db) as connection:
            sample = vectors.sample(connection, model.id, collection_id, SAMPLE)
            texts = records.texts(connection, sample.ids.tolist())
        path = keepsakes.path(folder, side)
        reference = Reference.load(path) if path.is_file() else None
        found[side] = drift.measure(tokenizer, texts, sample.vectors, reference)
        tick(0)
    figures = {
        side: {name: _short(value) for name, value in one.to_json().items() if value is not None}
        for side, one in found.items()
    }
    advice = {side: said for side, one in found.items() if (said := drift.advice(one))}

    def write(connection: sa.Connection) -> Outcome:
        jobs.add_summary(connection, chunk.job_id, {"drift": figures, "drift_advice": advice})
        return Outcome(size=chunk.size)

    return write


def bury(_connection: sa.Connection, _chunk: Failed, _code: str, _message: str) -> None:
    """The job fails as a whole; its error says why."""


def _short(value: float) -> float:
    return int(value) if float(value).is_integer() else float(np.format_float_positional(value, 4))
