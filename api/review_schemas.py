"""The JSON documents about the review of a match job."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from aparella.api import schemas
from aparella.api.decision_schemas import Person
from aparella.db import review
from aparella.db.agreement import Progress as FoundProgress
from aparella.db.agreement import Reviewer as FoundReviewer
from aparella.workers.evaluation.agreement import Agreement as FoundAgreement

MOST_LINES = 50
"""Lines that one reviewer may take at once."""


class _FromDatabase(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class NextRequest(BaseModel):
    """Who wants to look at lines, how many, and in which order.

    `order` is `uncertain` (those about which least is known first), `listed` (as imported) or
    `value:ATTR` (the largest number in that attribute of the source record first).
    """

    model_config = ConfigDict(extra="forbid")

    by: Person
    limit: Annotated[int, Field(ge=1, le=MOST_LINES)] = 1
    order: Annotated[str, Field(max_length=510, pattern=r"^(uncertain|listed|value:[^\x00]+)$")] = (
        "uncertain"
    )
    minutes: Annotated[int, Field(ge=1, le=120)] = review.LEASE_MINUTES
    """After which somebody else may get the lines."""


class ReturnRequest(BaseModel):
    """Lines that a reviewer gives back; with `skip` they come after all others from now on."""

    model_config = ConfigDict(extra="forbid")

    by: Person
    lines: Annotated[
        list[Annotated[str, Field(max_length=512, pattern=r"^[^\x00]*$")]],
        Field(min_length=1, max_length=MOST_LINES),
    ]
    skip: StrictBool = False


class Returned(BaseModel):
    """How many lines were given back: none of those that somebody else has by now."""

    lines: int


class Candidate(_FromDatabase):
    """A record that may be the counterpart, and what was last decided about the two."""

    rank: int
    key: str
    text: str
    hash: str
    attributes: dict[str, Any]
    score: float
    confidence: float | None
    verdict: str | None
    decided_by: str | None


class Line(_FromDatabase):
    """A line to look at, until `lease_until`, with its first candidates."""

    key: str
    text: str
    hash: str
    attributes: dict[str, Any]
    skips: int
    lease_until: datetime
    candidates: list[Candidate]


class Lines(BaseModel):
    """The lines that were given, of the collections `source` and `target`; empty: none is open."""

    source: str
    target: str
    items: list[Line]


class Reviewer(_FromDatabase):
    """What one person decided about the lines' texts of today, in whatever job."""

    name: str
    lines: int
    accepted: int
    rejected: int
    none: int


class Agreement(_FromDatabase):
    """How two people agree on the lines that both answered; `kappa` is Cohen's."""

    first: str
    second: str
    lines: int
    agreed: int
    share: float
    kappa: float | None


class Review(BaseModel):
    """How far a review has come. `decided`, `leased` and `open` add up to `lines`.

    `agreement` is of each two people, `agreed` and `compared` are sums over them.
    """

    lines: int
    decided: int
    leased: int
    open: int
    skipped: int
    reviewers: list[Reviewer]
    compared: int
    agreed: int
    agreement: list[Agreement]

    @classmethod
    def of(
        cls,
        progress: FoundProgress,
        reviewers: Sequence[FoundReviewer],
        pairs: Sequence[FoundAgreement],
    ) -> Self:
        """Build the document."""
        return cls(
            **progress.__dict__,
            reviewers=[Reviewer.model_validate(one) for one in reviewers],
            compared=sum(one.lines for one in pairs),
            agreed=sum(one.agreed for one in pairs),
            agreement=[Agreement.model_validate(one) for one in pairs],
        )


class SearchParameters(schemas.Parameters):
    """What to look for in a collection."""

    q: Annotated[str, Field(min_length=1, max_length=1_000, pattern=r"^[^\x00]*\S[^\x00]*$")]
    limit: Annotated[int, Field(ge=1, le=100)] = 10


class Finding(_FromDatabase):
    """A record that fits a text; `similarity` is 0 to 1, the share of its trigrams in a row."""

    key: str
    text: str
    hash: str
    attributes: dict[str, Any]
    similarity: float


class Findings(BaseModel):
    """Records that fit a text, the best first."""

    items: list[Finding]
