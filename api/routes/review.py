"""The review of a match job: the next lines to look at, lines given back, and how it goes."""

from datetime import UTC, datetime
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Query

from aparella.api.dependencies import Database, JobId
from aparella.api.review_schemas import (
    Finding,
    Findings,
    Line,
    Lines,
    NextRequest,
    Returned,
    ReturnRequest,
    Review,
    SearchParameters,
)
from aparella.db import agreement, jobs, records, review, search
from aparella.db.engine import transaction
from aparella.db.review import Reviewed
from aparella.errors import ConflictError
from aparella.workers.contracts import Name
from aparella.workers.evaluation.agreement import pairwise

router = APIRouter(tags=["review"])


@router.post("/jobs/{job_id}/review/next")
def next_lines(job_id: JobId, request: NextRequest, db: Database) -> Lines:
    """Give the next undecided lines to a reviewer; for some minutes nobody else gets them."""
    job, reviewed = _prepared(db, job_id)
    with transaction(db) as connection:
        found = review.lease(connection, reviewed, **request.model_dump())
    return Lines(
        source=job.params["source"],
        target=job.params["target"],
        items=[Line.model_validate(line) for line in found],
    )


@router.post("/jobs/{job_id}/review/return")
def return_lines(job_id: JobId, request: ReturnRequest, db: Database) -> Returned:
    """Give lines back that were not decided: to be looked at by others, or later."""
    with transaction(db) as connection:
        jobs.find(connection, job_id)
        lines = review.give_back(
            connection, job_id, request.lines, by=request.by, skip=request.skip
        )
    return Returned(lines=lines)


@router.get("/jobs/{job_id}/review")
def get_review(job_id: JobId, db: Database) -> Review:
    """How far the review has come, who did what, and how far people agree."""
    _, reviewed = _prepared(db, job_id)
    with transaction(db) as connection:
        return Review.of(
            agreement.progress(connection, reviewed),
            agreement.reviewers(connection, reviewed),
            pairwise(agreement.answers(connection, reviewed)),
        )


@router.get("/collections/{name}/search")
def search_collection(
    name: Name, parameters: Annotated[SearchParameters, Query()], db: Database
) -> Findings:
    """Records that fit a text by their key, their words or their letters; accents do not count."""
    with transaction(db) as connection:
        collection_id = records.collection_id(connection, name)
        found = search.search(
            connection, collection_id, parameters.q.strip(), limit=parameters.limit
        )
    return Findings(items=[Finding.model_validate(one) for one in found])


def _prepared(db: sa.Engine, job_id: int) -> tuple[jobs.Job, Reviewed]:
    """The job, and its queue, which is made at the first look."""
    with transaction(db) as connection:
        job = jobs.find(connection, job_id)
        reviewed = _reviewed(connection, job)
        review.build(connection, reviewed)
    return job, reviewed


def _reviewed(connection: sa.Connection, job: jobs.Job) -> Reviewed:
    if job.kind != "match":
        raise ConflictError(
            f"Job {job.id} is of the kind {job.kind}: only match jobs can be reviewed."
        )
    if job.state not in ("succeeded", "succeeded_with_errors"):
        raise ConflictError(
            f"Job {job.id} is {job.state}: it can be reviewed once it has succeeded."
        )
    return Reviewed(
        job.id,
        records.collection_id(connection, job.params["source"]),
        records.collection_id(connection, job.params["target"]),
        job.finished_at or datetime.now(UTC),
    )
