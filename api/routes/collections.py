"""Collections, and the upload of their records."""

from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response

from aparella.api import imports, schemas
from aparella.api.dependencies import Database, ServerSettings
from aparella.api.imports import UploadParameters
from aparella.api.routes.jobs import accepted
from aparella.db import records
from aparella.db.engine import transaction
from aparella.workers.contracts import Name

UPLOADS_AT_ONCE = 4
"""Files that are read into the database at the same time, each on a thread and a connection of
its own; more wait, so that other requests still find both."""

router = APIRouter(prefix="/collections", tags=["collections"])


@router.get("")
def list_collections(db: Database) -> schemas.Collections:
    """All collections, by name."""
    with transaction(db) as connection:
        found = records.list_collections(connection)
    return schemas.Collections(items=[schemas.Collection.model_validate(one) for one in found])


@router.get("/{name}")
def get_collection(name: Name, db: Database) -> schemas.Collection:
    """One collection."""
    with transaction(db) as connection:
        return schemas.Collection.model_validate(records.find_collection(connection, name))


@router.post(
    "/{name}/records",
    status_code=202,
    openapi_extra=imports.BODY,
)
async def upload_records(
    name: Name,
    parameters: Annotated[UploadParameters, Query()],
    request: Request,
    response: Response,
    db: Database,
    settings: ServerSettings,
) -> schemas.Job:
    """Start importing a file, which is the body as it stands: CSV, NDJSON or Parquet, also gzip.

    The collection is created if there is none. A file that is wrong as a whole is refused at once
    and leaves nothing behind; rows that are wrong by themselves are the job's errors.
    """
    enqueue = partial(
        imports.enqueue,
        db,
        collection=name,
        parameters=parameters,
        limits=imports.limits_of(settings),
    )
    job_id = await imports.upload(request, enqueue)
    return await to_thread.run_sync(accepted, db, job_id, response)
