"""The stages of each kind of job, in their order, with what each is told."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from aparella.db.jobs import NewStage


def import_stages(upload_id: int) -> list[NewStage]:
    """Stages of an import: clean in parallel, then apply all or nothing."""
    params = {"upload_id": upload_id}
    return [
        NewStage("clean", "clean", "import", params),
        NewStage("apply", "apply", "import", params),
    ]


def pairs_stages(upload_id: int, pair_set_id: int, *, texts: bool = False) -> list[NewStage]:
    """Stages of an import of pairs; `texts`: they came as texts, which are cleaned first."""
    params = {"upload_id": upload_id, "pair_set_id": pair_set_id}
    cleaning = [NewStage("clean", "clean_pairs", "import", params)] if texts else []
    return [*cleaning, NewStage("pairs", "pairs", "import", params)]


def decisions_stages(upload_id: int, source_id: int, target_id: int) -> list[NewStage]:
    """Stages of an import of people's decisions about records of two collections."""
    params = {"upload_id": upload_id, "source_id": source_id, "target_id": target_id}
    return [NewStage("decisions", "decisions", "import", params)]


def embed_stages(model_id: int, collection_id: int) -> list[NewStage]:
    """Stages of an embed job."""
    return [_embed("embed", model_id, collection_id)]


def index_stages(model_id: int, collection_id: int) -> list[NewStage]:
    """Stages of an index job: the index is wanted, whatever the catalogue's size."""
    params = {"model_id": model_id, "collection_id": collection_id, "always": True}
    return [
        _embed("embed", model_id, collection_id),
        NewStage("index", "index", "match", params),
    ]


def match_stages(
    model_id: int,
    source_id: int,
    target_id: int,
    k: int,
    *,
    scoring: str = "fused",
    threshold: float | None = None,
    since: int | None = None,
    one_to_one: bool = False,
    accepting: bool = False,
) -> list[NewStage]:
    """Stages of a match job; a collection matched with itself is embedded once.

    Args:
        model_id: whose vectors, and whose fusion.
        source_id: collection of the lines.
        target_id: the catalogue.
        k: candidates a line.
        scoring: see `MatchRequest`.
        threshold: confidence from which on first candidates are accepted; None accepts none.
        since: an earlier job whose answers are taken over where they still hold.
        one_to_one: see `MatchRequest`.
        accepting: whether it was asked to accept unseen, though it may promise nothing.
    """
    params: dict[str, Any] = {
        "model_id": model_id,
        "source_id": source_id,
        "collection_id": target_id,
        "k": k,
        "always": False,
        "scoring": scoring,
        "threshold": threshold,
        "since": since,
        "one_to_one": one_to_one,
    }
    stages = [_embed("embed source", model_id, source_id)]
    if target_id != source_id:
        stages.append(_embed("embed target", model_id, target_id))
    carrying = [NewStage("carry over", "carry", "match", params)] if since else []
    assigning = [NewStage("assign", "assign", "match", params)] if one_to_one else []
    concluding = since or one_to_one or accepting
    return [
        *stages,
        NewStage("drift", "drift", "match", params),
        NewStage("index", "index", "match", params),
        *carrying,
        NewStage("match", "match", "match", params),
        *assigning,
        *([NewStage("conclude", "conclude", "match", params)] if concluding else []),
    ]


@dataclass(frozen=True)
class Judge:
    """A pair set by which models are judged; without a catalogue its own targets are searched."""

    pair_set_id: int
    collection_id: int | None
    catalogue: str | None


@dataclass(frozen=True)
class Entrant:
    """A model that ranks the queries of these folds, which it was not trained on."""

    model_id: int
    folds: tuple[int, ...]


@dataclass(frozen=True)
class Catalogue:
    """A collection that a promotion must bring over to the new model."""

    collection_id: int
    name: str
    indexed: bool


def train_stages(
    model_id: int,
    entrants: Sequence[Entrant],
    judges: Sequence[Judge],
    references: Mapping[int, str],
    category: str | None,
    *,
    mining: bool,
) -> list[NewStage]:
    """Stages of a training: each entrant is trained and embeds the catalogues; then all are judged.

    Args:
        model_id: the version that is to come out.
        entrants: those that are judged in its stead; it may be one of them.
        judges: the pair sets.
        references: id and name of the models that are ranked beside it.
        category: attribute by which figures are broken down and confidences corrected.
        mining: whether negatives are looked for by the base's vectors, which then come first.
    """
    before = _catalogues(judges, references)
    plan = [*before] if mining else []
    trained = [entrant.model_id for entrant in entrants]
    for number, entrant in enumerate(entrants, 1):
        round_of = f" {number}/{len(entrants)}" if len(entrants) > 1 else ""
        held_out = f"train without held-out pairs{round_of}"
        plan.append(_train(held_out, entrant.model_id, category))
        plan += _catalogues(judges, {entrant.model_id: f"new model{round_of}"})
    plan += [] if mining else before
    plan.append(_evaluate(model_id, entrants, judges, references, category))
    if model_id not in trained:
        plan.append(_train("train on all pairs", model_id, category))
    card = {"model_id": model_id, "twins": [i for i in trained if i != model_id]}
    return [*plan, NewStage("card", "card", "train", card)]


def evaluate_stages(
    model_id: int,
    entrants: Sequence[Entrant],
    judges: Sequence[Judge],
    references: Mapping[int, str],
    category: str | None,
) -> list[NewStage]:
    """Stages of an evaluation: the references embed the catalogues, then all are judged."""
    return [
        *_catalogues(judges, references),
        _evaluate(model_id, entrants, judges, references, category),
    ]


def _evaluate(
    model_id: int,
    entrants: Sequence[Entrant],
    judges: Sequence[Judge],
    references: Mapping[int, str],
    category: str | None,
) -> NewStage:
    params = {
        "model_id": model_id,
        "entrants": [asdict(entrant) for entrant in entrants],
        "references": list(references),
        "judges": [asdict(judge) for judge in judges],
        "category": category,
    }
    return NewStage("evaluate", "evaluate", "train", params)


def promote_stages(
    model_id: int, catalogues: Sequence[Catalogue], *, request: Mapping[str, Any], required: bool
) -> list[NewStage]:
    """Stages of a promotion: the gate, then every catalogue beside the old, then the switch.

    Args:
        model_id: the model to make the default.
        catalogues: that have vectors of the present default.
        request: `reason` and `by`, as asked.
        required: whether a gate that does not let it pass fails the job; otherwise the job ends
            well without the promotion.
    """
    params = {"model_id": model_id, **request}
    plan = [NewStage("gate", "gate", "match", {**params, "required": required})]
    for one in catalogues:
        plan.append(_embed(f"embed {one.name}", model_id, one.collection_id))
        index = {
            "model_id": model_id,
            "collection_id": one.collection_id,
            "always": one.indexed,
            "summary": f"plan {one.name}",
        }
        plan.append(NewStage(f"index {one.name}", "index", "match", index))
    return [*plan, NewStage("switch", "switch", "match", params)]


def texts_stages(model_id: int) -> list[NewStage]:
    """Stages of a job that answers reports, which asked for single texts' vectors."""
    return [NewStage("texts", "texts", "embed", {"model_id": model_id})]


def _train(name: str, model_id: int, category: str | None) -> NewStage:
    return NewStage(name, "train", "train", {"model_id": model_id, "category": category})


def _catalogues(judges: Sequence[Judge], models: Mapping[int, str]) -> list[NewStage]:
    """Stages that give every judge's catalogue the models' vectors, once each."""
    wanted = {j.collection_id: j.catalogue for j in judges if j.collection_id is not None}
    return [
        _embed(f"embed {catalogue} ({name})", model_id, collection_id)
        for collection_id, catalogue in wanted.items()
        for model_id, name in models.items()
    ]


def _embed(name: str, model_id: int, collection_id: int) -> NewStage:
    return NewStage(name, "embed", "embed", {"model_id": model_id, "collection_id": collection_id})
