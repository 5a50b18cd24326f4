"""The JSON documents about pair sets."""

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from aparella.db.pair_decisions import Notice as FoundNotice
from aparella.db.pair_rows import Written
from aparella.db.pairs import Counts, Stale
from aparella.db.pairs import PairSet as FoundSet
from aparella.workers.contracts import Name


class PairSet(BaseModel):
    """A named set of pairs, in figures.

    `pairs` belong together, of which `held_out` test and never train, and `left_out` do neither;
    `rejected` are known not to belong. Without collections the pairs came as texts.
    """

    name: str
    source: str | None
    target: str | None
    pairs: int
    rejected: int
    held_out: int
    left_out: int
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, found: FoundSet, counts: Counts) -> Self:
        """Build the document of a set."""
        return cls(**_values(found, counts))


class PairSets(BaseModel):
    """All pair sets, by name."""

    items: list[PairSet]


class StalePair(BaseModel):
    """A pair that neither trains nor tests, since a record's text changed or it was removed."""

    model_config = ConfigDict(from_attributes=True)

    source_key: str | None
    target_key: str | None
    reason: str


class PairSetDetail(PairSet):
    """A set looked at closely: its pairs by fold, those that are stale, those decided by people."""

    folds: list[int]
    decided: int
    stale: int
    stale_pairs: list[StalePair]

    @classmethod
    def with_stale(cls, found: FoundSet, counts: Counts, stale: int, examples: list[Stale]) -> Self:
        """Build the document of a set; `examples` are the first of its `stale` pairs."""
        shown = [StalePair.model_validate(one) for one in examples]
        return cls(**_values(found, counts), stale=stale, stale_pairs=shown)


class CollectRequest(BaseModel):
    """The collections whose decisions are to become pairs."""

    model_config = ConfigDict(extra="forbid")

    source: Name
    target: Name


class Notice(BaseModel):
    """Something about one of the pairs that were collected."""

    model_config = ConfigDict(from_attributes=True)

    code: str
    source_key: str | None
    target_key: str | None
    message: str


class Collected(BaseModel):
    """What came of the decisions, in pairs; `notices` are the first of `noticed`."""

    name: str
    decisions: int
    new: int
    changed: int
    unchanged: int
    rejected: int
    left_out: int
    conflicts: int
    noticed: int
    notices: list[Notice]

    @classmethod
    def of(
        cls, name: str, decisions: int, written: Written, notices: list[FoundNotice], most: int
    ) -> Self:
        """Build the answer; it shows `most` notices."""
        codes = [notice.code for notice in notices]
        return cls(
            name=name,
            decisions=decisions,
            **written.__dict__,
            left_out=codes.count("leak"),
            conflicts=codes.count("conflict") + codes.count("overruled"),
            noticed=len(notices),
            notices=[Notice.model_validate(notice) for notice in notices[:most]],
        )


def _values(found: FoundSet, counts: Counts) -> dict[str, Any]:
    return {**found.__dict__, **counts.__dict__}
