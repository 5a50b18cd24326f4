"""The JSON documents about single models."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from aparella.api import schemas
from aparella.db import models


class Promotion(BaseModel):
    """A change of the default from `previous` to `model`; a rollback has no job."""

    model_config = ConfigDict(from_attributes=True)

    model: str
    previous: str | None
    kind: str
    job_id: int | None
    reason: str | None
    verdict: dict[str, Any]
    promoted_by: str | None
    promoted_at: datetime


class ModelDetail(schemas.Model):
    """All that is known of a version: `files` has digests, `metrics` figures by pair set."""

    cleaner_version: int
    held_out: list[int]
    files: dict[str, str]
    training: dict[str, Any]
    metrics: dict[str, Any]
    created_by: str | None
    promotions: list[Promotion] = Field(default_factory=list)

    @classmethod
    def of(cls, model: models.Model, history: Sequence[models.Promotion]) -> Self:
        """Build the document of a model."""
        document = cls.model_validate(model)
        document.promotions = [Promotion.model_validate(one) for one in history]
        return document


class By(BaseModel):
    """Who asks."""

    model_config = ConfigDict(extra="forbid")

    by: Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")] | None = None


class Card(BaseModel):
    """A model's card, in Markdown; null if it has none."""

    name: str
    version: int
    text: str | None
