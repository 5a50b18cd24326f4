"""Pair sets: the upload of known pairs, the collection of decisions, and what there is."""

from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response

from aparella.api import imports, pair_imports, problems, schemas
from aparella.api.dependencies import Database, ServerSettings
from aparella.api.pair_imports import PairParameters
from aparella.api.pair_schemas import (
    Collected,
    CollectRequest,
    PairSet,
    PairSetDetail,
    PairSets,
)
from aparella.api.routes.jobs import accepted
from aparella.db import pair_decisions, pair_rows, pair_sets, pairs, records
from aparella.db.engine import transaction
from aparella.errors import ConflictError, InputError
from aparella.workers import pairing
from aparella.workers.contracts import Name

STALE_SHOWN = 20
NOTICES_SHOWN = 1_000

router = APIRouter(prefix="/pairs", tags=["pairs"])


@router.get("")
def list_pair_sets(db: Database) -> PairSets:
    """All pair sets, by name."""
    with transaction(db) as connection:
        found = pairs.list_sets(connection)
        counts = pairs.counts(connection, [one.id for one in found])
    return PairSets(items=[PairSet.of(one, counts[one.id]) for one in found])


@router.get("/{name}")
def get_pair_set(name: Name, db: Database) -> PairSetDetail:
    """One pair set: its figures, its folds, and what of it is stale."""
    with transaction(db) as connection:
        found = pairs.find_set(connection, name)
        return PairSetDetail.with_stale(
            found,
            pairs.counts(connection, [found.id])[found.id],
            pairs.count_stale(connection, found.id),
            pairs.stale(connection, found.id, limit=STALE_SHOWN),
        )


@router.post(
    "/{name}",
    status_code=202,
    openapi_extra=imports.BODY,
)
async def upload_pairs(
    name: Name,
    parameters: Annotated[PairParameters, Query()],
    request: Request,
    response: Response,
    db: Database,
    settings: ServerSettings,
) -> schemas.Job:
    """Start importing a file of pairs, which is the body as it stands: CSV, NDJSON or Parquet.

    The set is created if there is none, and keeps to its collections. Pairs that it has already
    and that the file does not name stay.
    """
    enqueue = partial(
        pair_imports.enqueue,
        db,
        name=name,
        parameters=parameters,
        limits=imports.limits_of(settings),
    )
    job_id = await imports.upload(request, enqueue)
    return await to_thread.run_sync(accepted, db, job_id, response)


@router.post("/{name}/decisions")
def collect_decisions(name: Name, request: CollectRequest, db: Database) -> Collected:
    """Make pairs of what people decided about matches, in one transaction.

    An accepted match belongs together, a rejected one does not; the newest decision counts, also
    against what a file says. The set is created if there is none.
    """
    with transaction(db) as connection:
        with problems.about("source"):
            source_id = records.collection_id(connection, request.source)
        with problems.about("target"):
            target_id = records.collection_id(connection, request.target)
        pair_set_id = pair_sets.ensure_set(connection, name, source_id, target_id)
        pair_set = pair_sets.lock_set(connection, pair_set_id)
        if pair_set is None:
            raise ConflictError(f"The pair set '{name}' was deleted a moment ago. Try again.")
        pair_rows.create(connection)
        decisions, notices = pair_decisions.gather(connection, pair_set)
        if not decisions:
            raise InputError(
                f"Nobody has decided yet about a match of '{request.source}' with "
                f"'{request.target}'. Accept or reject matches first.",
                code="no_decisions",
            )
        written = pair_rows.write(connection, pair_set_id)
        moved = pairing.place(connection, pair_set_id)
        leaks = [leak.pair_id for leak in pair_rows.leaks(connection, pair_set_id)]
        notices += pair_decisions.left_out(connection, sorted({*leaks, *moved}))
    return Collected.of(name, decisions, written, notices, NOTICES_SHOWN)


@router.delete("/{name}", status_code=204)
def delete_pair_set(name: Name, db: Database) -> None:
    """Delete a pair set and the evaluations on it, unless a job that has not ended uses it."""
    with transaction(db) as connection:
        pair_sets.delete_set(connection, name)
