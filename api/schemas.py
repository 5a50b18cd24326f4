"""The JSON documents that the API answers with, built from what the database layer found."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from aparella.api.progress import Pace, job_pace, stage_pace
from aparella.db import jobs
from aparella.db.stages import Progress as StageProgress


class _FromDatabase(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Parameters(BaseModel):
    """A route's query parameters: one that it does not know is refused, not ignored."""

    model_config = ConfigDict(extra="forbid")


class Collection(_FromDatabase):
    """A named list of records; `edition` counts the imports that were applied to it."""

    name: str
    records: int
    edition: int
    created_at: datetime
    updated_at: datetime


class Collections(BaseModel):
    """All collections, by name."""

    items: list[Collection]


class Model(_FromDatabase):
    """One version of a model; the promoted one is the default."""

    name: str
    version: int
    dim: int
    max_seq_length: int
    base_model: str
    status: str
    sha256: str
    created_at: datetime
    parent: str | None
    accuracy: float | None
    """acc@1 on the first pair set by which it was judged."""


class Models(BaseModel):
    """All models, by name and version."""

    items: list[Model]


class Progress(_FromDatabase):
    """Items: of `total`, so many are `done` or `failed`; `skipped` were done before, beside it."""

    total: int
    done: int
    failed: int
    skipped: int


class Stage(Progress):
    """One step of a job. `total` is 0 until the stage has begun; `rate` is in items a second."""

    name: str
    state: str
    rate: float | None
    eta_seconds: float | None
    started_at: datetime | None
    finished_at: datetime | None
    detail: dict[str, Any] | None = None
    """What a long piece of work says about itself: a training's step and loss."""

    @classmethod
    def of(cls, stage: StageProgress, pace: Pace) -> Self:
        """Build the document of a stage."""
        figures = {name: getattr(stage, name) for name in cls.model_fields if hasattr(stage, name)}
        return cls(**figures, rate=pace.rate, eta_seconds=pace.eta_seconds)


class Job(BaseModel):
    """A job as it stands. `eta_seconds` is known only while its last stage runs."""

    id: int
    kind: str
    state: str
    params: dict[str, Any]
    model: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None
    summary: dict[str, Any]
    errors: int
    progress: Progress
    rate: float | None
    eta_seconds: float | None
    stages: list[Stage]

    @classmethod
    def of(cls, job: jobs.Job, its_stages: Sequence[StageProgress], now: datetime) -> Self:
        """Build the document of a job."""
        paused = job.state == "paused"
        pace = Pace() if paused else job_pace(its_stages, job.started_at, job.finished_at, now)
        totals = {
            name: sum(getattr(stage, name) for stage in its_stages)
            for name in Progress.model_fields
        }
        return cls(
            **job.__dict__,
            progress=Progress(**totals),
            rate=pace.rate,
            eta_seconds=pace.eta_seconds,
            stages=[
                Stage.of(stage, Pace() if paused else stage_pace(stage, now))
                for stage in its_stages
            ],
        )


class Jobs(BaseModel):
    """A page of jobs, newest first; `next` is the `before` of the following page."""

    items: list[Job]
    next: int | None


class JobError(_FromDatabase):
    """One row or record that a job could not do, and why."""

    id: int
    stage: str | None
    code: str
    row: int | None
    key: str | None
    field: str | None
    message: str


class JobErrors(BaseModel):
    """A page of a job's errors; `next` is the `after` of the following page."""

    items: list[JobError]
    next: int | None


class Match(_FromDatabase):
    """One candidate of a source record; all from `rank` on is null where it has none."""

    source_key: str
    source_text: str
    rank: int | None
    target_key: str | None
    target_text: str | None
    score: float | None
    confidence: float | None
    accepted: bool | None
    """Accepted unseen; null but for first candidates whose evidence was weighed."""
    evidence: dict[str, Any] | None
    """Why it is the first: `agree`, `contradict`, `moved`; see docs/matching.md."""


class Matches(BaseModel):
    """A page of a job's matches; `next` is the `after` of the following page."""

    items: list[Match]
    next: int | None


class Health(BaseModel):
    """Whether this process lives."""

    status: str


class Readiness(BaseModel):
    """`ready`, `degraded` (Redis is away: jobs are taken and wait) or `unavailable`."""

    status: str
    checks: dict[str, str]
