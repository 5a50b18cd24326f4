import importlib.util
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from aparella.workers import contracts, pipelines
from aparella.workers.contracts import (
    MAX_K,
    QUEUES,
    EmbedRequest,
    IndexRequest,
    JobRequest,
    MatchRequest,
)

requests: TypeAdapter[MatchRequest | EmbedRequest | IndexRequest] = TypeAdapter(JobRequest)
MATCH = {"kind": "match", "source": "list", "target": "catalogue"}
PLANS = {
    "import": pipelines.import_stages(1),
    "embed": pipelines.embed_stages(1, 2),
    "index": pipelines.index_stages(1, 2),
    "match": pipelines.match_stages(1, 2, 3, 10),
}


def test_a_request_is_read_by_its_kind() -> None:
    match = requests.validate_python(MATCH)
    assert isinstance(match, MatchRequest)
    assert (match.k, match.model) == (10, None)
    assert isinstance(requests.validate_python({"kind": "embed", "collection": "a"}), EmbedRequest)
    assert isinstance(requests.validate_python({"kind": "index", "collection": "a"}), IndexRequest)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"k": 0}, "k"),
        ({"k": -1}, "k"),
        ({"k": 10**9}, "k"),
        ({"k": MAX_K + 1}, "k"),
        ({"k": "many"}, "k"),
        ({"source": ""}, "source"),
        ({"source": "a/b"}, "source"),
        ({"target": "a b"}, "target"),
        ({"target": "x" * 201}, "target"),
        ({"top": 3}, "top"),
        ({"model": 7}, "model"),
    ],
)
def test_a_wrong_request_is_refused_by_the_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        requests.validate_python(MATCH | change)
    assert [error["loc"][-1] for error in caught.value.errors()] == [field]


@pytest.mark.parametrize("kind", ["teach", "", None])
def test_an_unknown_kind_is_refused(kind: str | None) -> None:
    with pytest.raises(ValidationError):
        requests.validate_python(MATCH | {"kind": kind})


@pytest.mark.parametrize("k", [1, MAX_K])
def test_the_ends_of_k_are_allowed(k: int) -> None:
    read = requests.validate_python(MATCH | {"k": k})
    assert isinstance(read, MatchRequest)
    assert read.k == k


@pytest.mark.parametrize("kind", PLANS)
def test_each_stage_has_a_handler_and_a_queue(kind: str) -> None:
    for stage in PLANS[kind]:
        assert importlib.util.find_spec(f"aparella.workers.stages.{stage.handler}")
        assert stage.queue in QUEUES
    names = [stage.name for stage in PLANS[kind]]
    assert len(set(names)) == len(names)


def test_a_match_embeds_both_sides_before_it_searches() -> None:
    assert [(stage.name, stage.params.get("collection_id")) for stage in PLANS["match"]] == [
        ("embed source", 2),
        ("embed target", 3),
        ("drift", 3),
        ("index", 3),
        ("match", 3),
    ]


def test_a_collection_matched_with_itself_is_embedded_once() -> None:
    assert [stage.handler for stage in pipelines.match_stages(1, 2, 2, 5)] == [
        "embed",
        "drift",
        "index",
        "match",
    ]


@pytest.mark.parametrize("mining", [True, False])
def test_who_mines_negatives_has_the_bases_vectors_first(mining: bool) -> None:
    plan = pipelines.train_stages(
        *(9, [pipelines.Entrant(8, (0, 1))], [pipelines.Judge(1, 2, "catalogue")], {1: "base@1"}),
        *(None,),
        mining=mining,
    )
    order = [(stage.handler, stage.params["model_id"]) for stage in plan]
    training, base = [("train", 8), ("embed", 8)], [("embed", 1)]
    rest = [("evaluate", 9), ("train", 9), ("card", 9)]
    assert order == [*(base + training if mining else training + base), *rest]


def test_only_an_index_job_wants_the_index_whatever_the_size() -> None:
    always = {
        kind: [stage.params["always"] for stage in plan if stage.handler == "index"]
        for kind, plan in PLANS.items()
    }
    assert always == {"import": [], "embed": [], "index": [True], "match": [False]}


def test_every_queue_has_kinds_of_stages_that_there_are() -> None:
    assert tuple(contracts.STAGES) == QUEUES
    kinds = [kind for stages in contracts.STAGES.values() for kind in stages]
    assert len(kinds) == len(set(kinds))
    for kind in kinds:
        assert importlib.util.find_spec(f"aparella.workers.stages.{kind}"), kind
    for plan in PLANS.values():
        assert all(stage.handler in contracts.STAGES[stage.queue] for stage in plan)
