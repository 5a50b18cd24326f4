"""People's decisions: made, taken back, listed."""

from functools import partial
from typing import Annotated

import sqlalchemy as sa
from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response

from aparella.api import decision_imports, imports, problems, schemas
from aparella.api.decision_imports import DecisionFileParameters
from aparella.api.decision_schemas import (
    Decided,
    Decision,
    DecisionPage,
    Decisions,
    DecisionsParameters,
    NewDecision,
)
from aparella.api.dependencies import Database, ServerSettings
from aparella.api.routes.jobs import accepted
from aparella.db import decisions, jobs, records, review
from aparella.db.decisions import Said
from aparella.db.engine import transaction

router = APIRouter(prefix="/decisions", tags=["decisions"])


@router.post("", status_code=201)
def decide(request: Decisions, db: Database) -> Decided:
    """Add decisions, all of them or none. Nothing is overwritten: the newest one counts.

    Sent twice, it adds nothing the second time.
    """
    with transaction(db) as connection:
        with problems.about("source"):
            source_id = records.collection_id(connection, request.source)
        with problems.about("target"):
            catalogue_id = records.collection_id(connection, request.target)
        if request.job is not None:
            with problems.about("job"):
                jobs.find(connection, request.job)
        said = [one for one in request.decisions if one.verdict != "undo"]
        with problems.about("decisions"):
            new = iter(
                decisions.add(
                    connection,
                    [_said(one, request.by) for one in said],
                    source_id=source_id,
                    catalogue_id=catalogue_id,
                    job_id=request.job,
                )
                if said
                else []
            )
            ids = [
                next(new) if one.decision is None else _undo(connection, one, request)
                for one in request.decisions
            ]
    return Decided(ids=ids)


@router.post(
    "/import",
    status_code=202,
    openapi_extra=imports.BODY,
)
async def upload_decisions(
    parameters: Annotated[DecisionFileParameters, Query()],
    request: Request,
    response: Response,
    db: Database,
    settings: ServerSettings,
) -> schemas.Job:
    """Start importing a file of decisions, which is the body as it stands: CSV, NDJSON or Parquet.

    Its columns: source_key, target_key, verdict (accept, reject or none), and reviewer and note if
    it has them.
    """
    enqueue = partial(
        decision_imports.enqueue,
        db,
        parameters=parameters,
        largest_file=settings.max_upload_mb * 1_000_000,
    )
    job_id = await imports.upload(request, enqueue)
    return await to_thread.run_sync(accepted, db, job_id, response)


@router.get("")
def list_decisions(
    parameters: Annotated[DecisionsParameters, Query()], db: Database
) -> DecisionPage:
    """A page of decisions, in the order of time: also those that were undone, and the undoing."""
    with transaction(db) as connection:
        with problems.about("source"):
            source_id = _collection(connection, parameters.source)
        with problems.about("target"):
            catalogue_id = _collection(connection, parameters.target)
        found = decisions.page(
            connection,
            limit=parameters.limit,
            after=parameters.after,
            source_id=source_id,
            catalogue_id=catalogue_id,
            by=parameters.by,
            in_force=parameters.in_force,
        )
    full = len(found) == parameters.limit
    items = [Decision.model_validate(one) for one in found]
    return DecisionPage(items=items, next=found[-1].id if full else None)


def _said(one: NewDecision, by: str) -> Said:
    return Said(
        source=one.source_key or "",
        target=one.target_key,
        verdict=one.verdict,
        by=by,
        note=one.note,
        source_hash=one.source_hash,
        target_hash=one.target_hash,
    )


def _undo(connection: sa.Connection, one: NewDecision, request: Decisions) -> int:
    decision_id = one.decision or 0
    undone = decisions.undo(connection, decision_id, by=request.by, note=one.note)
    if request.job is not None:
        review.lease_undone(connection, request.job, decision_id, by=request.by)
    return undone


def _collection(connection: sa.Connection, name: str | None) -> int | None:
    return None if name is None else records.collection_id(connection, name)
