"""What a request for a job comes to: its model and its stages, after checking all it names."""

from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from aparella.api.problems import about
from aparella.db import imports, jobs, models, pairs, partitions, records, registry
from aparella.db.jobs import NewStage
from aparella.db.models import Model
from aparella.db.pairs import PairSet
from aparella.errors import InputError
from aparella.workers import pipelines
from aparella.workers.contracts import (
    EmbedRequest,
    EvaluateRequest,
    IndexRequest,
    JobRequest,
    MatchRequest,
    PromoteRequest,
    TrainRequest,
)
from aparella.workers.evaluation import split
from aparella.workers.evaluation.split import PairKey
from aparella.workers.fusion.promise import Promise, Trials, promise
from aparella.workers.pipelines import Catalogue, Entrant, Judge
from aparella.workers.text import CLEANER_VERSION
from aparella.workers.training import recipe


@dataclass(frozen=True)
class JobPlan:
    """A job to be: the model that it works with, its stages, and what it says about itself."""

    model_id: int
    stages: list[NewStage]
    params: dict[str, Any] = field(default_factory=dict)


def plan(connection: sa.Connection, request: JobRequest) -> JobPlan:
    """Plan the job that answers a request.

    Raises:
        InputError, NotFoundError: what the request names is not there, or not fit for it; the
            problem says which field.
    """
    match request:
        case TrainRequest():
            return _train(connection, request)
        case EvaluateRequest():
            return _evaluate(connection, request)
        case PromoteRequest():
            return _promote(connection, request)
    with about("model"):
        model = models.find_model(connection, request.model, hold=True)
    match request:
        case MatchRequest():
            source_id = _records(connection, "source", request.source)
            target_id = _records(connection, "target", request.target)
            promised = _promise(connection, model, request, source_id, target_id)
            stages = pipelines.match_stages(
                *(model.id, source_id, target_id, request.k),
                scoring=request.scoring,
                threshold=promised.threshold if promised else None,
                since=_earlier(connection, request),
                one_to_one=request.one_to_one,
                accepting=promised is not None,
            )
            return JobPlan(model.id, stages, {"auto_accept": vars(promised)} if promised else {})
        case EmbedRequest():
            collection_id = _records(connection, "collection", request.collection)
            return JobPlan(model.id, pipelines.embed_stages(model.id, collection_id))
        case IndexRequest():
            collection_id = _records(connection, "collection", request.collection)
            return JobPlan(model.id, pipelines.index_stages(model.id, collection_id))


def _earlier(connection: sa.Connection, request: MatchRequest) -> int | None:
    """The job whose answers are taken over, if one was named.

    Raises:
        InputError: it is no match job of these collections, or has not come to its end.
    """
    if request.since is None:
        return None
    with about("since"):
        job = jobs.find(connection, request.since)
    names = (job.params.get("source"), job.params.get("target"))
    if job.kind != "match" or names != (request.source, request.target):
        raise InputError(
            f"Job {job.id} did not match '{request.source}' with '{request.target}': name one that "
            "did. `aparella jobs --kind match` lists them.",
            field="since",
        )
    if job.state not in ("succeeded", "succeeded_with_errors"):
        raise InputError(
            f"Job {job.id} is {job.state}: only answers of a job that has come to a good end can "
            "be taken over.",
            field="since",
        )
    return job.id


def _promise(
    connection: sa.Connection, model: Model, request: MatchRequest, source_id: int, target_id: int
) -> Promise | None:
    """What accepting unseen will come to, by answers that the model had not learnt from."""
    if request.auto_accept is None:
        return None
    if request.scoring == "cosine":
        raise InputError(
            "Cosines are no confidences: nothing can be accepted by them. Leave out the scoring, "
            "or auto_accept.",
            field="auto_accept",
        )
    known = models.trials(connection, model.id)
    taught = pairs.collections(connection, model.training.get("pair_set_ids", []))
    if known and (source_id, target_id) not in taught:
        return Promise(
            *(request.auto_accept, None, 0.0),
            f"Nothing is accepted unseen: {model} was taught by other lists than these, and what "
            "is true of one list need not be of another. Train on pairs of these.",
        )
    return promise(Trials.from_json(known) if known else Trials(), request.auto_accept)


def _train(connection: sa.Connection, request: TrainRequest) -> JobPlan:
    # Outside of `about`: its errors name their own field of the recipe.
    chosen = recipe.recipe(request.preset, **request.recipe)
    with about("base"):
        base = models.find_model(
            connection, request.base or models.BASE_REFERENCE, retired=True, hold=True
        )
    with about("pairs"):
        sets = [pairs.find_set(connection, name) for name in dict.fromkeys(request.pairs)]
        keys = [key for one in sets for key in _keys(connection, one.id)]
        protocol = split.protocol(keys)
    training = {
        "preset": request.preset,
        "recipe": chosen.as_dict(),
        "pairs": [one.name for one in sets],
        "pair_set_ids": [one.id for one in sets],
        "split_sha256": split.digest(keys),
        "protocol": protocol.sentence,
        "method": protocol.kind,
    }

    def reserve(held_out: frozenset[int], twin_of: int | None = None) -> Model:
        return registry.reserve(
            connection,
            name=request.name,
            base=base,
            held_out=sorted(held_out),
            training=training,
            cleaner_version=CLEANER_VERSION,
            created_by=request.by,
            twin_of=twin_of,
        )

    # With too few pairs for a hold-out each round has a twin, and the model itself gets them all.
    refit = request.refit or protocol.kind == "cross_validation"
    rounds = [one.test for one in protocol.rounds]
    model = reserve(frozenset() if refit else rounds[0])
    entrants = [
        Entrant(reserve(test, model.id).id if refit else model.id, tuple(sorted(test)))
        for test in rounds
    ]
    promoted = models.find_model(connection, None)
    references = {one.id: str(one) for one in (base, promoted)}
    stages = pipelines.train_stages(
        *(model.id, entrants, _judges(sets), references, request.category),
        mining=chosen.hard_negatives > 0,
    )
    if request.promote:
        stages += pipelines.promote_stages(
            model.id,
            _catalogues(connection, promoted.id),
            request={"reason": None, "by": request.by},
            required=False,
        )
    return JobPlan(model.id, stages, {"version": model.version})


def _evaluate(connection: sa.Connection, request: EvaluateRequest) -> JobPlan:
    with about("model"):
        model = models.find_model(connection, request.model, hold=True)
    with about("pairs"):
        one = pairs.find_set(connection, request.pairs)
        protocol = split.protocol(_keys(connection, one.id))
    # A model that is there already cannot be trained anew for each round: it is judged by the
    # held-out folds, few as they may be.
    folds = sorted(protocol.rounds[0].test)
    promoted = models.find_model(connection, None)
    stages = pipelines.evaluate_stages(
        model.id,
        [Entrant(model.id, tuple(folds))],
        _judges([one]),
        {model.id: str(model), promoted.id: str(promoted)},
        request.category,
    )
    return JobPlan(model.id, stages)


def _promote(connection: sa.Connection, request: PromoteRequest) -> JobPlan:
    with about("model"):
        model = models.find_model(connection, request.model, retired=True, hold=True)
        promoted = models.find_model(connection, None)
        if model.id == promoted.id:
            raise InputError(f"{model} is promoted already.", code="already_promoted")
    stages = pipelines.promote_stages(
        model.id,
        _catalogues(connection, promoted.id),
        request={"reason": request.reason, "by": request.by},
        required=True,
    )
    return JobPlan(model.id, stages)


def _keys(connection: sa.Connection, pair_set_id: int) -> list[PairKey]:
    return [PairKey(**vars(key)) for key in pairs.keys(connection, pair_set_id, current_only=True)]


def _judges(sets: list[PairSet]) -> list[Judge]:
    return [Judge(one.id, one.target_collection_id, one.target) for one in sets]


def _catalogues(connection: sa.Connection, promoted_id: int) -> list[Catalogue]:
    """Every collection that has vectors of the present default."""
    return [Catalogue(*row) for row in partitions.collections(connection, promoted_id)]


def _records(connection: sa.Connection, parameter: str, name: str) -> int:
    with about(parameter):
        return filled_collection(connection, name)


def filled_collection(connection: sa.Connection, name: str) -> int:
    """The id of a collection that has records: a job on none would succeed and say nothing.

    Raises:
        InputError: it has none.
        NotFoundError: there is no such collection.
    """
    collection_id = records.collection_id(connection, name)
    if records.is_empty(connection, collection_id):
        running = imports.open_job(connection, name)
        advice = (
            "Import a file into it first."
            if running is None
            else f"Its import, job {running}, has not ended yet: wait for it."
        )
        raise InputError(f"Collection '{name}' has no records. {advice}", code="empty_collection")
    return collection_id
