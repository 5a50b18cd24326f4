"""What the server's JSON documents say, as frozen dataclasses.

A field that this version does not know is ignored, so a newer server can say more.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self, TypeVar

FINISHED = frozenset({"succeeded", "succeeded_with_errors", "failed", "cancelled"})
"""States in which a job stays until somebody retries it."""


def _time(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


class _Document:
    """Reads a dataclass from a JSON object."""

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Build the object from the server's JSON.

        Raises:
            TypeError, ValueError: the document is of another kind.
        """
        if not isinstance(document, Mapping):
            raise TypeError(f"a JSON object was expected, not {type(document).__name__}")
        return cls(**cls._values(document))

    @classmethod
    def _values(cls, document: Mapping[str, Any]) -> dict[str, Any]:
        names = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        values = {name: value for name, value in document.items() if name in names}
        for name in names & {
            "created_at",
            "updated_at",
            "started_at",
            "finished_at",
            "promoted_at",
            "revoked_at",
        }:
            values[name] = _time(values.get(name))
        return values


@dataclass(frozen=True)
class Progress(_Document):
    """Counts of a job or a stage. `skipped` was there already and is not part of `total`."""

    total: int = 0
    done: int = 0
    failed: int = 0
    skipped: int = 0

    @property
    def handled(self) -> int:
        """Items that need no more work: done or given up."""
        return min(self.total, self.done + self.failed)


@dataclass(frozen=True)
class Stage(Progress):
    """One step of a job; `rate` is in items per second."""

    name: str = ""
    state: str = "waiting"
    rate: float | None = None
    eta_seconds: float | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    detail: Mapping[str, Any] | None = None
    """What a long piece of work says about itself: a training's `step`, `steps`, `loss`, `rate`."""


@dataclass(frozen=True)
class Job(_Document):
    """A job as it stood when the server answered; `rate` is in items per second."""

    id: int
    kind: str
    state: str
    params: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: str | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)
    errors: int = 0
    progress: Progress = field(default_factory=Progress)
    rate: float | None = None
    eta_seconds: float | None = None
    stages: tuple[Stage, ...] = ()

    @classmethod
    def _values(cls, document: Mapping[str, Any]) -> dict[str, Any]:
        values = super()._values(document)
        values["summary"] = values.get("summary") or {}
        values["params"] = values.get("params") or {}
        values["progress"] = Progress.read(values.get("progress") or {})
        values["stages"] = tuple(Stage.read(stage) for stage in values.get("stages") or ())
        return values

    @property
    def finished(self) -> bool:
        """Whether the job has ended, well or not."""
        return self.state in FINISHED


@dataclass(frozen=True)
class JobProblem(_Document):
    """One row, record or chunk that a job could not handle, and why."""

    id: int
    message: str
    stage: str | None = None
    code: str | None = None
    row: int | None = None
    key: str | None = None
    field: str | None = None


@dataclass(frozen=True)
class Match(_Document):
    """One candidate of one source record; rank 1 is the best, scores are cosine similarities.

    A source record without any candidate has None in the rank and all that follows.
    """

    source_key: str
    source_text: str
    rank: int | None
    target_key: str | None
    target_text: str | None
    score: float | None
    confidence: float | None = None
    accepted: bool | None = None
    evidence: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Collection(_Document):
    """A named set of records; its edition grows with each import that changes it."""

    name: str
    records: int = 0
    edition: int | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True)
class Model(_Document):
    """A registered version of an embedding model."""

    name: str
    version: int | str
    dim: int | None = None
    max_seq_length: int | None = None
    base_model: str | None = None
    status: str | None = None
    sha256: str | None = None
    created_at: datetime | None = None
    parent: str | None = None
    accuracy: float | None = None

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True)
class Promotion(_Document):
    """A change of the default from `previous` to `model`; a rollback has no job."""

    model: str
    kind: str
    previous: str | None = None
    job_id: int | None = None
    reason: str | None = None
    verdict: Mapping[str, Any] = field(default_factory=dict)
    promoted_by: str | None = None
    promoted_at: datetime | None = None


@dataclass(frozen=True)
class ModelDetail(Model):
    """All that is known of a version: digests by file, figures by pair set, its promotions."""

    cleaner_version: int | None = None
    held_out: tuple[int, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    created_by: str | None = None
    promotions: tuple[Promotion, ...] = ()

    @classmethod
    def _values(cls, document: Mapping[str, Any]) -> dict[str, Any]:
        values = super()._values(document)
        values["held_out"] = tuple(values.get("held_out") or ())
        values["promotions"] = tuple(Promotion.read(one) for one in values.get("promotions") or ())
        return values


@dataclass(frozen=True)
class Card(_Document):
    """A model's card in Markdown, if it has one."""

    name: str
    version: int
    text: str | None = None


@dataclass(frozen=True)
class PairSet(_Document):
    """A named set of known pairs; without collections its pairs came as texts.

    `pairs` belong together, of which `held_out` test and never train, and `left_out` do neither;
    `rejected` are known not to belong.
    """

    name: str
    source: str | None = None
    target: str | None = None
    pairs: int = 0
    rejected: int = 0
    held_out: int = 0
    left_out: int = 0
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True)
class StalePair(_Document):
    """A pair that does not count until it is imported anew: a record's text changed, or it went."""

    source_key: str | None
    target_key: str | None
    reason: str


@dataclass(frozen=True)
class PairSetDetail(PairSet):
    """A pair set looked at closely.

    `folds` has the number of pairs of each fold, `decided` says how many are people's decisions,
    and `stale_pairs` are the first of the `stale` ones.
    """

    folds: tuple[int, ...] = ()
    decided: int = 0
    stale: int = 0
    stale_pairs: tuple[StalePair, ...] = ()

    @classmethod
    def _values(cls, document: Mapping[str, Any]) -> dict[str, Any]:
        values = super()._values(document)
        values["folds"] = tuple(values.get("folds") or ())
        values["stale_pairs"] = tuple(StalePair.read(p) for p in values.get("stale_pairs") or ())
        return values


@dataclass(frozen=True)
class PairNotice(_Document):
    """Something about one of the pairs that were collected."""

    code: str
    message: str
    source_key: str | None = None
    target_key: str | None = None


@dataclass(frozen=True)
class Collected(_Document):
    """What came of people's decisions, in pairs; `notices` are the first of `noticed`."""

    name: str
    decisions: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    rejected: int = 0
    left_out: int = 0
    conflicts: int = 0
    noticed: int = 0
    notices: tuple[PairNotice, ...] = ()

    @classmethod
    def _values(cls, document: Mapping[str, Any]) -> dict[str, Any]:
        values = super()._values(document)
        values["notices"] = tuple(PairNotice.read(one) for one in values.get("notices") or ())
        return values


AnyDocument = TypeVar("AnyDocument", bound=_Document)


@dataclass(frozen=True)
class Token(_Document):
    """A bearer token without its secret; `handle` is the part of it that may be shown."""

    name: str
    scope: str
    handle: str
    created_by: str | None
    created_at: datetime
    revoked_at: datetime | None = None


@dataclass(frozen=True)
class NewToken(_Document):
    """A token as the server shows it, once."""

    name: str
    scope: str
    token: str = field(repr=False)


Document = _Document
"""What documents of other modules are made from."""
