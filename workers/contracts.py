"""What may be asked for. With `pipelines` all that the API knows of the workers."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

QUEUES = ("import", "embed", "match", "train")
"""Each kind of work has its queue, so that workers can be set aside for it."""

STAGES = {
    "import": ("clean", "apply", "clean_pairs", "pairs"),
    "embed": ("embed", "texts"),
    "match": ("drift", "index", "carry", "match", "assign", "conclude", "gate", "switch"),
    "train": ("train", "evaluate", "card"),
}
"""The kinds of stages that run in each queue."""

TASK = "aparella.chunk"
"""The one Celery task; its message is a chunk's id and nothing else."""

MAX_K = 1_000
"""Candidates a source record may have; also the largest `hnsw.ef_search` of pgvector."""

LARGEST_JOB = 2**63 - 1
"""PostgreSQL's largest bigint."""

_NAME = r"^[^\s/@?#%\x00-\x1f\x7f-\x9f]+$"
"""All of C1's control characters, because regular expressions disagree whether x85 is a space."""
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=_NAME)]
"""A collection's name stands in URLs and on command lines."""


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class MatchRequest(_Request):
    """Rank the records of `target` for each record of `source`.

    Attributes:
        scoring: `fused` weighs the vectors, the letters, the words and what these state; `cosine`
            looks at the vectors alone.
        auto_accept: accept first candidates unseen so far down that at least this share of them is
            right; None accepts none.
        since: an earlier match job of the two collections; answers that nothing new concerns are
            taken over from it.
        one_to_one: each record of `target` is the first candidate of one line at most.
    """

    kind: Literal["match"]
    source: Name
    target: Name
    model: str | None = None
    k: Annotated[int, Field(ge=1, le=MAX_K)] = 10
    scoring: Literal["fused", "cosine"] = "fused"
    auto_accept: Annotated[float | None, Field(ge=0.5, le=0.999)] = None
    since: Annotated[int | None, Field(ge=1, le=LARGEST_JOB)] = None
    one_to_one: bool = False


class EmbedRequest(_Request):
    """Encode the records of a collection that have no vector for their text yet."""

    kind: Literal["embed"]
    collection: Name
    model: str | None = None


class IndexRequest(_Request):
    """Build (anew) the HNSW index of a collection, encoding first what is missing."""

    kind: Literal["index"]
    collection: Name
    model: str | None = None


class TrainRequest(_Request):
    """Fine-tune a new version of a model on known pairs, evaluate it, and register it.

    Attributes:
        name: of the model; the version is the next free one.
        pairs: pair sets; with several, batches are taken from them in turn.
        preset: recipe to start from; `recipe` holds what shall differ from it.
        base: model whose weights it starts from; the base model that comes with Aparella if none.
        refit: train once more on all pairs after the evaluation on the held-out ones.
        category: attribute of the catalogue's records by which figures are broken down and
            confidences corrected.
        promote: make it the default if it passes the gate.
        by: who asked.
    """

    kind: Literal["train"]
    name: Name
    pairs: Annotated[list[Name], Field(min_length=1, max_length=20)]
    preset: str = "default"
    recipe: dict[str, int | float | str | bool] = Field(default_factory=dict)
    base: str | None = None
    refit: bool = True
    category: str | None = None
    promote: bool = False
    by: Annotated[str | None, Field(max_length=200)] = None


class EvaluateRequest(_Request):
    """Judge a registered model by the held-out part of a pair set, beside the promoted one."""

    kind: Literal["evaluate"]
    model: str
    pairs: Name
    category: str | None = None


class PromoteRequest(_Request):
    """Make a model the default, if it passes the gate or there is a reason to overrule it."""

    kind: Literal["promote"]
    model: str
    reason: Annotated[str | None, Field(min_length=1, max_length=2_000)] = None
    by: Annotated[str | None, Field(max_length=200)] = None


JobRequest = Annotated[
    MatchRequest | EmbedRequest | IndexRequest | TrainRequest | EvaluateRequest | PromoteRequest,
    Field(discriminator="kind"),
]
