"""The registered models: what there is, what came of them, in and out, and back."""

from functools import partial
from typing import Annotated

import sqlalchemy as sa
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from aparella import artifacts
from aparella.api import imports, model_files, schemas
from aparella.api.dependencies import Database, ServerSettings
from aparella.api.model_schemas import By, Card, ModelDetail
from aparella.db import models, registry
from aparella.db.engine import transaction
from aparella.db.models import Model
from aparella.workers.contracts import Name
from aparella.workers.text import CLEANER_VERSION

router = APIRouter(prefix="/models", tags=["models"])

Version = Annotated[int, Path(ge=1, le=999_999_999)]


class ImportParameters(schemas.Parameters, By):
    """Who imports a model."""


@router.get("")
def list_models(db: Database) -> schemas.Models:
    """All models, by name and version."""
    with transaction(db) as connection:
        found = models.list_models(connection)
    return schemas.Models(items=[schemas.Model.model_validate(model) for model in found])


@router.post("/rollback")
def roll_back(db: Database, request: By | None = None) -> ModelDetail:
    """Make the model the default again that was promoted before the present one, at once."""
    by = None if request is None else request.by
    with transaction(db) as connection:
        return _detail_in(
            connection, registry.rollback(connection, by, cleaner_version=CLEANER_VERSION)
        )


@router.get("/{name}")
def get_latest(name: Name, db: Database) -> ModelDetail:
    """The latest version of a model that can be used."""
    with transaction(db) as connection:
        return _detail_in(connection, models.find_model(connection, name, retired=True))


@router.get("/{name}/{version}")
def get_version(name: Name, version: Version, db: Database) -> ModelDetail:
    """One version of a model, whatever has become of it."""
    with transaction(db) as connection:
        return _detail_in(connection, _find(connection, name, version))


@router.get("/{name}/{version}/card")
def get_card(name: Name, version: Version, db: Database) -> Card:
    """A model's card, in Markdown."""
    model = _trained(db, name, version)
    with model_files.store_errors():
        return Card(name=name, version=version, text=artifacts.card(model.artifact_url))


@router.get("/{name}/{version}/export", response_class=StreamingResponse)
def export_model(name: Name, version: Version, db: Database) -> StreamingResponse:
    """A model's folder as a tar, with its card: `SentenceTransformer(folder)` loads it."""
    model = _trained(db, name, version)
    return StreamingResponse(
        model_files.export(model),
        media_type="application/x-tar",
        headers={"Content-Disposition": f'attachment; filename="model-{model.id}.tar"'},
    )


@router.post(
    "/{name}/import",
    status_code=201,
    openapi_extra=imports.BODY,
)
async def import_model(
    name: Name,
    parameters: Annotated[ImportParameters, Query()],
    request: Request,
    response: Response,
    db: Database,
    settings: ServerSettings,
) -> ModelDetail:
    """Register a model from elsewhere, as a candidate: a tar of what `save` wrote, uncompressed.

    It must give vectors of 384 numbers, and is judged by its files alone, without loading it.
    """
    imports.check_given_once(key for key, _ in request.query_params.multi_items())
    with imports.spool() as file:
        await imports.receive(request, file)
        limiter: CapacityLimiter = request.app.state.uploads
        register = partial(
            model_files.import_model, db, settings, file, name=name, by=parameters.by
        )
        model = await to_thread.run_sync(register, limiter=limiter)
    response.headers["Location"] = f"/v1/models/{model.name}/{model.version}"
    return ModelDetail.of(model, [])


@router.post("/{name}/{version}/retire")
def retire(name: Name, version: Version, db: Database) -> ModelDetail:
    """Drop a model's vectors; promoting it again builds them anew."""
    with transaction(db) as connection:
        model = _find(connection, name, version)
        return _detail_in(connection, registry.retire(connection, model.id))


@router.delete("/{name}/{version}", status_code=204)
def delete(name: Name, version: Version, db: Database, settings: ServerSettings) -> None:
    """Delete a model: its vectors and its files. Its place in the history stays."""
    with transaction(db) as connection:
        gone = registry.delete(connection, _find(connection, name, version).id)
    model_files.remove([one.artifact_url for one in gone if one.artifact_url])
    model_files.remove([artifacts.checkpoints(settings.artifacts, one.id) for one in gone])


def _find(connection: sa.Connection, name: str, version: int) -> Model:
    return models.find_model(connection, f"{name}@{version}", retired=True, training=True)


def _trained(db: sa.Engine, name: str, version: int) -> Model:
    with transaction(db) as connection:
        return models.find_model(connection, f"{name}@{version}", retired=True)


def _detail_in(connection: sa.Connection, model: Model) -> ModelDetail:
    return ModelDetail.of(model, models.history(connection, model.id))
