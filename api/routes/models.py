"""The registered models."""

from fastapi import APIRouter

from aparella.api import schemas
from aparella.api.dependencies import Database
from aparella.db import models
from aparella.db.engine import transaction

router = APIRouter(prefix="/models", tags=["models"])


@router.get("")
def list_models(db: Database) -> schemas.Models:
    """All models, by name and version."""
    with transaction(db) as connection:
        found = models.list_models(connection)
    return schemas.Models(items=[schemas.Model.model_validate(model) for model in found])
