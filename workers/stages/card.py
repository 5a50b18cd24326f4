"""The stage that writes a trained model's card, and clears away what only its making needed."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from aparella import artifacts
from aparella.db import chunks, evaluations, models, pairs, registry
from aparella.db.chunks import Failed
from aparella.db.engine import transaction
from aparella.db.evaluations import Evaluation
from aparella.db.leases import Claimed
from aparella.db.models import Model
from aparella.workers.context import Context, Outcome, Tick, Write, waiting
from aparella.workers.evaluation import card
from aparella.workers.evaluation.metrics import Report
from aparella.workers.training.checkpoints import Checkpoints


def plan(connection: sa.Connection, _context: Context, chunk: Claimed) -> int:
    """One chunk: one card."""
    chunks.add_whole(connection, chunk)
    return 0


def work(context: Context, chunk: Claimed, tick: Tick) -> Write:
    """Write the card beside the weights; drop the twins and the checkpoints."""
    model_id, twin_ids = chunk.params["model_id"], chunk.params["twins"]
    with transaction(context.db) as connection:
        model = models.model_by_id(connection, model_id)
        twins = [models.model_by_id(connection, twin_id) for twin_id in twin_ids]
        found = evaluations.beside(connection, model_id)
        counts = pairs.counts(connection, model.training["pair_set_ids"]).values()
        promoted = models.find_model(connection, None)
    own = [one for one in found if one.model_id == model_id]
    facts = card.CardFacts(
        name=model.name,
        version=model.version,
        base_model=model.base_model,
        parent=model.parent,
        pairs=sum(one.pairs for one in counts),
        trained_on=sum(model.training["counts"].values()),
        rejections=sum(one.rejected for one in counts),
        left_out=sum(one.left_out for one in counts),
        pairs_digest=model.training["pairs_sha256"],
        split_digest=model.training["split_sha256"],
        protocol=model.training["protocol"] + _of_a_twin(twins),
        recipe=model.training["recipe"],
        libraries=model.training["libraries"],
        cleaner_version=model.cleaner_version,
        dim=model.dim,
        max_seq_length=model.max_seq_length,
        created=datetime.now(UTC),
        made_by=model.created_by or "nobody in particular",
        # With several pair sets the first one's figures; all are in the registry.
        report=Report.from_json(own[0].figures) if own else None,
        base=_figures(found, own, model.parent),
        current=_figures(found, own, str(promoted)) if str(promoted) != model.parent else None,
        current_name=str(promoted),
        lexical=_figures(found, own, None),
        fusion=model.training.get("fusion"),
    )
    metrics = {one.pairs: _headline(one) for one in own}
    with waiting(tick):
        artifacts.add(model.artifact_url, card.FILE_NAME, card.render(facts).encode())
        for one in (model, *twins):
            Checkpoints(artifacts.checkpoints(context.settings.artifacts, one.id)).clear()
        for twin in twins:
            artifacts.delete(twin.artifact_url)

    def write(connection: sa.Connection) -> Outcome:
        registry.set_metrics(connection, model_id, metrics)
        for twin in twins:
            registry.delete(connection, twin.id)
        return Outcome(size=chunk.size)

    return write


def bury(_connection: sa.Connection, _chunk: Failed, _code: str, _message: str) -> None:
    """The job fails as a whole; its error says why."""


def _of_a_twin(twins: list[Model]) -> str:
    if not twins:
        return ""
    return (
        " The figures are those of the same recipe without the held-out pairs; the model itself "
        "was then trained on all of them."
    )


def _figures(found: list[Evaluation], own: list[Evaluation], name: str | None) -> Any:
    """A system's figures on the pair set of the model's own first ones; None: it was not judged."""
    for one in found:
        if own and one.pair_set_id == own[0].pair_set_id and one.model == name:
            return Report.from_json(one.figures).overall
    return None


def _headline(one: Evaluation) -> dict[str, Any]:
    overall = Report.from_json(one.figures).overall
    return {
        "method": one.method,
        "queries": overall.queries,
        "records": overall.records,
        **{name: [value.value, value.low, value.high] for name, value in overall.items()},
    }
