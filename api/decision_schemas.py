"""The JSON documents about people's decisions."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from aparella.api import schemas
from aparella.api.validation import LARGEST_ID, LARGEST_PAGE
from aparella.workers.contracts import Name

MOST = 200
"""Decisions of one request; many are an import."""

Person = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""Who decides: a name, as the reviewer's client gives it."""
Note = Annotated[str, Field(max_length=2_000, pattern=r"^[^\x00]*$")]
Id = Annotated[int, Field(ge=1, le=LARGEST_ID)]
_Key = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[^\x00]*$")]
_Hash = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{32}$")]


class NewDecision(BaseModel):
    """One decision: the keys of its records, and the hashes of the texts that were looked at.

    `undo` takes back the decision whose number is `decision`, and needs nothing else.
    """

    model_config = ConfigDict(extra="forbid")

    verdict: Literal["accept", "reject", "none", "undo"]
    source_key: _Key | None = None
    target_key: _Key | None = None
    decision: Id | None = None
    note: Note | None = None
    source_hash: _Hash | None = None
    target_hash: _Hash | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        undo, none = self.verdict == "undo", self.verdict == "none"
        if (self.decision is not None) is not undo:
            raise ValueError("undo, and nothing else, names the decision that it takes back")
        if (self.source_key is None) is not undo:
            raise ValueError("every verdict but undo names the record's source_key")
        if (self.target_key is None) is not (undo or none):
            raise ValueError("accept and reject, and nothing else, name a target_key")
        return self


class Decisions(BaseModel):
    """What somebody decides about records of two collections, all of it or nothing.

    `job` is the match job that was looked at, if one was.
    """

    model_config = ConfigDict(extra="forbid")

    source: Name
    target: Name
    by: Person
    job: Id | None = None
    decisions: Annotated[list[NewDecision], Field(min_length=1, max_length=MOST)]


class Decided(BaseModel):
    """The numbers of the decisions, in order; what was said before keeps its number."""

    ids: list[int]


class Decision(BaseModel):
    """A decision. `in_force`: neither undone nor followed by one about the same.

    `texts_unchanged` tells whether both records still have the texts that were decided about.
    """

    model_config = ConfigDict(from_attributes=True)

    id: int
    source: str
    source_key: str
    target: str
    target_key: str | None
    verdict: str
    decided_by: str
    decided_at: datetime
    note: str | None
    job_id: int | None
    undoes_id: int | None
    in_force: bool
    texts_unchanged: bool


class DecisionPage(BaseModel):
    """A page of decisions; `next` is the `after` of the following page."""

    items: list[Decision]
    next: int | None


class DecisionsParameters(schemas.Parameters):
    """Which decisions to list, in the order of time."""

    limit: Annotated[int, Field(ge=1, le=LARGEST_PAGE)] = 100
    after: Annotated[int, Field(ge=0, le=LARGEST_ID)] = 0
    source: Name | None = None
    target: Name | None = None
    by: Person | None = None
    in_force: bool = False
    """Only those that are neither undone nor followed by one about the same."""
