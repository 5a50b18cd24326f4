"""Jobs: asking for one, looking at it, ending it, trying it again, and its errors."""

import hashlib
import json
from datetime import UTC, datetime
from itertools import groupby
from typing import Annotated, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Body, Header, Query, Response
from pydantic import Field

from aparella.api import plans, schemas
from aparella.api.auth import require
from aparella.api.dependencies import CallerOf, Database, JobId
from aparella.api.validation import LARGEST_ID, LARGEST_PAGE
from aparella.db import faults, jobs, pauses, retries, stages
from aparella.db.engine import transaction
from aparella.errors import ConflictError
from aparella.workers.contracts import JobRequest, PromoteRequest, TrainRequest

router = APIRouter(prefix="/jobs", tags=["jobs"])

State = Literal[
    "queued",
    "running",
    "paused",
    "cancelling",
    "succeeded",
    "succeeded_with_errors",
    "failed",
    "cancelled",
]
Kind = Literal[
    "import",
    "embed",
    "index",
    "match",
    "pairs",
    "decisions",
    "train",
    "evaluate",
    "promote",
    "texts",
]
Limit = Annotated[int, Field(ge=1, le=LARGEST_PAGE)]
Cursor = Annotated[int, Field(ge=0, le=LARGEST_ID)]


class JobsParameters(schemas.Parameters):
    """Which jobs to list: newest first, from the one before the job `before`."""

    limit: Limit = 50
    before: Cursor | None = None
    state: State | None = None
    kind: Kind | None = None


class ErrorsParameters(schemas.Parameters):
    """Which of a job's errors to list."""

    limit: Limit = 100
    after: Cursor | None = None


@router.post("", status_code=202)
def create_job(
    request: Annotated[JobRequest, Body()],
    response: Response,
    db: Database,
    caller: CallerOf,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
) -> schemas.Job:
    """Ask for a job. It is stored when this answers, whether or not a worker is there to do it.

    The same `Idempotency-Key` with the same request gives the same job, however often it is sent.
    """
    if isinstance(request, PromoteRequest) or (
        isinstance(request, TrainRequest) and request.promote
    ):
        require(caller, "admin")  # it changes what everybody gets
    with transaction(db) as connection, connection.begin_nested() as planned:
        plan = plans.plan(connection, request)
        job_id, new = jobs.create(
            connection,
            kind=request.kind,
            params={**request.model_dump(exclude={"kind", "model"}), **plan.params},
            plan=plan.stages,
            model_id=plan.model_id,
            idempotency_key=idempotency_key,
            request_hash=_hash(request),
        )
        if not new:
            planned.rollback()  # with it goes the version that a training has reserved
    return accepted(db, job_id, response)


@router.get("")
def list_jobs(parameters: Annotated[JobsParameters, Query()], db: Database) -> schemas.Jobs:
    """A page of jobs, newest first."""
    with transaction(db) as connection:
        found = jobs.page(connection, **parameters.model_dump())
        documents = _documents(connection, found)
    full = len(found) == parameters.limit
    return schemas.Jobs(items=documents, next=found[-1].id if full else None)


@router.get("/{job_id}")
def get_job(job_id: JobId, db: Database) -> schemas.Job:
    """A job as it stands, with the progress of its stages."""
    return _document(db, job_id)


@router.post("/{job_id}/cancel", status_code=202)
def cancel_job(job_id: JobId, response: Response, db: Database) -> schemas.Job:
    """Ask for a job's end: chunks in work are given up, and what is done stays."""
    with transaction(db) as connection:
        if not jobs.cancel(connection, job_id):
            state = jobs.state(connection, job_id)
            if state not in jobs.OPEN:
                raise ConflictError(f"Job {job_id} has ended already: it {_ended(state)}.")
    return accepted(db, job_id, response)


@router.post("/{job_id}/retry", status_code=202)
def retry_job(job_id: JobId, response: Response, db: Database) -> schemas.Job:
    """Try again what died or failed in a job that has ended; what is done stays done."""
    with transaction(db) as connection:
        retries.begin(connection, job_id)
    return accepted(db, job_id, response)


@router.post("/{job_id}/pause", status_code=202)
def pause_job(job_id: JobId, response: Response, db: Database) -> schemas.Job:
    """Let a job rest: chunks in hand finish, and no other is taken up until it is resumed."""
    with transaction(db) as connection:
        pauses.pause_job(connection, job_id)
    return accepted(db, job_id, response)


@router.post("/{job_id}/resume", status_code=202)
def resume_job(job_id: JobId, response: Response, db: Database) -> schemas.Job:
    """Let a paused job go on."""
    with transaction(db) as connection:
        pauses.resume_job(connection, job_id)
    return accepted(db, job_id, response)


@router.get("/{job_id}/errors")
def list_errors(
    job_id: JobId, parameters: Annotated[ErrorsParameters, Query()], db: Database
) -> schemas.JobErrors:
    """A page of the rows and records that a job could not do, each with its reason."""
    with transaction(db) as connection:
        jobs.find(connection, job_id)
        found = faults.page(connection, job_id, **parameters.model_dump())
    full = len(found) == parameters.limit
    items = [schemas.JobError.model_validate(fault) for fault in found]
    return schemas.JobErrors(items=items, next=found[-1].id if full else None)


def accepted(db: sa.Engine, job_id: int, response: Response) -> schemas.Job:
    """Answer with a job that was asked for, and say where it is to be found."""
    response.headers["Location"] = f"/v1/jobs/{job_id}"
    return _document(db, job_id)


def _document(db: sa.Engine, job_id: int) -> schemas.Job:
    with transaction(db) as connection:
        return _documents(connection, [jobs.find(connection, job_id)])[0]


def _documents(connection: sa.Connection, found: list[jobs.Job]) -> list[schemas.Job]:
    now = datetime.now(UTC)
    rows = stages.progress(connection, [job.id for job in found])
    by_job = {job_id: list(group) for job_id, group in groupby(rows, lambda row: row.job_id)}
    return [schemas.Job.of(job, by_job.get(job.id, []), now) for job in found]


def _hash(request: JobRequest) -> bytes:
    """SHA-256 of the request as it was understood: order and defaults make no difference."""
    canonical = json.dumps(request.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).digest()


def _ended(state: str) -> str:
    words = {"succeeded_with_errors": "succeeded with errors", "cancelled": "was cancelled"}
    return words.get(state, state)
