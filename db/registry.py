"""The model registry, changed: versions are reserved, completed, promoted, rolled back."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from aparella.db import models
from aparella.db.models import Model
from aparella.db.promotions import rollback, switch
from aparella.db.retirement import delete, in_use, retire
from aparella.db.tables import DIMENSIONS
from aparella.errors import ConflictError

__all__ = [
    "complete",
    "delete",
    "in_use",
    "register",
    "reserve",
    "retire",
    "rollback",
    "set_metrics",
    "switch",
]


def _sql(query: str, *json: str) -> sa.TextClause:
    return sa.text(query).bindparams(*(sa.bindparam(name, type_=JSONB) for name in json))


# insert: a twin has the version of its model; any other one the next, which nobody ever had
_INSERT = _sql(
    """
    INSERT INTO model (name, version, base_model, parent_id, twin_of, held_out, dim,
                       max_seq_length, artifact_url, sha256, files, cleaner_version, training,
                       status, created_by)
    SELECT :name,
           coalesce((SELECT version FROM model WHERE id = :twin),
                    (SELECT max(version) FROM model WHERE name = :name AND twin_of IS NULL) + 1,
                    1),
           :base_model, :parent, :twin, CAST(:held_out AS smallint[]), :dim, :max_seq_length,
           :url, :sha256, :files, :cleaner, :training, :status, :by
    RETURNING id
    """,
    "files",
    "training",
)
_COMPLETE = _sql(
    """
    UPDATE model SET status = 'candidate', artifact_url = :url, sha256 = :sha256, files = :files,
                     max_seq_length = :length, training = :training, trials = :trials
    WHERE id = :id
    """,
    "files",
    "training",
    "trials",
)
_SET_METRICS = _sql("UPDATE model SET metrics = metrics || :metrics WHERE id = :id", "metrics")


class Artifact(Protocol):
    """A model's files as `aparella.artifacts.put` gives them."""

    @property
    def url(self) -> str:
        """Where they are."""
        ...

    @property
    def sha256(self) -> str:
        """Of the weights."""
        ...

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 of each file."""
        ...


def reserve(
    connection: sa.Connection,
    *,
    name: str,
    base: Model,
    held_out: Sequence[int],
    training: Mapping[str, Any],
    created_by: str | None,
    twin_of: int | None = None,
    cleaner_version: int | None = None,
) -> Model:
    """Reserve the next version of a name for a model that is to be trained.

    Args:
        connection: inside a transaction; until its end others who reserve the name wait.
        name: of the model.
        base: whose weights it starts from.
        held_out: folds of the pairs that it is not to see.
        training: recipe, pairs and split.
        created_by: who asked.
        twin_of: id of the model to which this is the twin.
        cleaner_version: of the texts that it learns from; the base's unless given.
    """
    row = {
        "name": name,
        "twin": twin_of,
        "base_model": base.base_model,
        "parent": base.id,
        "held_out": list(held_out),
        "dim": base.dim,
        "max_seq_length": base.max_seq_length,
        "url": "",
        "sha256": "",
        "files": {},
        "cleaner": base.cleaner_version if cleaner_version is None else cleaner_version,
        "training": dict(training),
        "status": "training",
        "by": created_by,
    }
    return models.model_by_id(connection, _insert(connection, row))


def register(
    connection: sa.Connection,
    *,
    name: str,
    artifact: Artifact,
    base_model: str,
    max_seq_length: int,
    cleaner_version: int,
    created_by: str | None = None,
    training: Mapping[str, Any] | None = None,
) -> Model:
    """Register a model that was trained elsewhere, as a candidate of the next version.

    Args:
        connection: inside a transaction.
        name: of the model.
        artifact: its files, in the store already.
        base_model: what it was made from, as it says itself.
        max_seq_length: tokens after which it cuts a text off.
        cleaner_version: of the texts that it will get.
        created_by: who imported it.
        training: what is known of how it was made.
    """
    row: dict[str, Any] = {
        "name": name,
        "twin": None,
        "base_model": base_model,
        "parent": None,
        "held_out": [],
        "dim": DIMENSIONS,
        "max_seq_length": max_seq_length,
        "url": artifact.url,
        "sha256": artifact.sha256,
        "files": artifact.files,
        "cleaner": cleaner_version,
        "training": dict(training or {}),
        "status": "candidate",
        "by": created_by,
    }
    return models.model_by_id(connection, _insert(connection, row))


def _insert(connection: sa.Connection, row: Mapping[str, Any]) -> int:
    wait = sa.text("SELECT pg_advisory_xact_lock(hashtext('aparella model'), hashtext(:name))")
    connection.execute(wait, {"name": row["name"]})
    return int(connection.execute(_INSERT, row).scalar_one())


def complete(
    connection: sa.Connection,
    model_id: int,
    artifact: Artifact,
    *,
    max_seq_length: int,
    training: Mapping[str, Any],
    trials: Mapping[str, Any] | None = None,
) -> None:
    """Make a candidate of a version that was reserved; from then on it does not change.

    The same files a second time change nothing.

    Raises:
        ConflictError: it has other files already, or was deleted.
    """
    query = sa.text("SELECT FROM model WHERE id = :id FOR NO KEY UPDATE")
    connection.execute(query, {"id": model_id})
    model = models.model_by_id(connection, model_id)
    if model.status == "deleted":
        raise ConflictError(f"{model} was deleted while it was being trained.")
    if model.status != "training":
        if model.files == artifact.files and model.sha256 == artifact.sha256:
            return
        raise ConflictError(
            f"{model} is registered with other files, and models do not change. Train it again "
            "for a new version."
        )
    values = {
        "id": model_id,
        "url": artifact.url,
        "sha256": artifact.sha256,
        "files": artifact.files,
        "length": max_seq_length,
        "training": dict(training),
        "trials": None if trials is None else dict(trials),
    }
    connection.execute(_COMPLETE, values)


def set_metrics(connection: sa.Connection, model_id: int, metrics: Mapping[str, Any]) -> None:
    """Merge figures, by the pair set's name, into those that the model has."""
    connection.execute(_SET_METRICS, {"id": model_id, "metrics": dict(metrics)})
