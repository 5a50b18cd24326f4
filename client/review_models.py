"""What the server says about reviews and decisions, as frozen dataclasses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aparella.client.models import Document


@dataclass(frozen=True)
class Finding(Document):
    """A record of the catalogue; `hash` is that of its text."""

    key: str
    text: str
    hash: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    similarity: float | None = None


@dataclass(frozen=True)
class Candidate(Finding):
    """A record that may be a line's counterpart, and what was last decided about the two."""

    rank: int = 0
    score: float | None = None
    confidence: float | None = None
    verdict: str | None = None
    decided_by: str | None = None


@dataclass(frozen=True)
class Line(Document):
    """A line to look at, with its candidates; `skips`: how often it was put off."""

    key: str
    text: str
    hash: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    skips: int = 0
    candidates: tuple[Candidate, ...] = ()

    @classmethod
    def _values(cls, document: Mapping[str, Any]) -> dict[str, Any]:
        values = super()._values(document)
        values["candidates"] = tuple(Candidate.read(c) for c in values.get("candidates") or ())
        return values


@dataclass(frozen=True)
class Lines(Document):
    """Lines that were given to a reviewer, and the collections that they are about."""

    source: str
    target: str
    items: tuple[Line, ...] = ()

    @classmethod
    def _values(cls, document: Mapping[str, Any]) -> dict[str, Any]:
        values = super()._values(document)
        values["items"] = tuple(Line.read(line) for line in values.get("items") or ())
        return values


@dataclass(frozen=True)
class Decision(Document):
    """A decision. `in_force`: neither undone nor followed by one about the same."""

    id: int
    source: str
    source_key: str
    target: str
    verdict: str
    decided_by: str
    target_key: str | None = None
    decided_at: datetime | None = None
    note: str | None = None
    job_id: int | None = None
    undoes_id: int | None = None
    in_force: bool = True
    texts_unchanged: bool = True

    @classmethod
    def _values(cls, document: Mapping[str, Any]) -> dict[str, Any]:
        values = super()._values(document)
        if isinstance(moment := values.get("decided_at"), str):
            values["decided_at"] = datetime.fromisoformat(moment)
        return values


@dataclass(frozen=True)
class Decided(Document):
    """The numbers of the decisions that were made, in order."""

    ids: tuple[int, ...] = ()

    @classmethod
    def _values(cls, document: Mapping[str, Any]) -> dict[str, Any]:
        return {"ids": tuple(document.get("ids") or ())}


@dataclass(frozen=True)
class Reviewer(Document):
    """What one person decided about the lines of a job."""

    name: str
    lines: int = 0
    accepted: int = 0
    rejected: int = 0
    none: int = 0


@dataclass(frozen=True)
class Agreement(Document):
    """How two people agree on the lines that both answered; `kappa` is Cohen's."""

    first: str
    second: str
    lines: int = 0
    agreed: int = 0
    share: float = 0.0
    kappa: float | None = None


@dataclass(frozen=True)
class Review(Document):
    """How far a review has come: `decided`, `leased` and `open` add up to `lines`."""

    lines: int = 0
    decided: int = 0
    leased: int = 0
    open: int = 0
    skipped: int = 0
    reviewers: tuple[Reviewer, ...] = ()
    compared: int = 0
    agreed: int = 0
    agreement: tuple[Agreement, ...] = ()

    @classmethod
    def _values(cls, document: Mapping[str, Any]) -> dict[str, Any]:
        values = super()._values(document)
        values["reviewers"] = tuple(Reviewer.read(one) for one in values.get("reviewers") or ())
        values["agreement"] = tuple(Agreement.read(one) for one in values.get("agreement") or ())
        return values
