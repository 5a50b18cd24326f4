"""Changes of the model registry: versions are reserved, completed, promoted, retired, deleted."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from aparella.artifacts import Artifact
from aparella.db import models, partitions
from aparella.db.models import USABLE, Model
from aparella.db.tables import DIMENSIONS
from aparella.errors import ConflictError, JobError


def _sql(query: str, *json: str) -> sa.TextClause:
    return sa.text(query).bindparams(*(sa.bindparam(name, type_=JSONB) for name in json))


_INSERT = _sql(
    """
    INSERT INTO model (name, version, base_model, parent_id, twin_of, held_out, dim,
                       max_seq_length, artifact_url, sha256, files, cleaner_version, training,
                       status, created_by)
    VALUES (:name, :version, :base_model, :parent, :twin_of, CAST(:held_out AS smallint[]),
            :dim, :max_seq_length, :url, :sha256, :files, :cleaner, :training, :status, :by)
    RETURNING id
    """,
    "files",
    "training",
)
# complete: only once; afterwards the version is immutable
_COMPLETE = _sql(
    """
    UPDATE model SET artifact_url = :url, sha256 = :sha256, files = :files, training = :training,
                     max_seq_length = :max_seq_length, status = 'candidate'
    WHERE id = :id AND status = 'training' RETURNING id
    """,
    "files",
    "training",
)
_OPEN_JOBS = sa.text("""
    SELECT min(j.id) FROM job j
    WHERE j.state IN ('queued', 'running', 'cancelling') AND (j.model_id = :id OR EXISTS (
        SELECT FROM stage s WHERE s.job_id = j.id
          AND (s.params -> 'model_id' = to_jsonb(CAST(:id AS bigint))
               OR s.params -> 'references' @> to_jsonb(CAST(:id AS bigint)))))
""")
_PROMOTION = _sql(
    """
    INSERT INTO promotion (model_id, previous_id, job_id, kind, reason, verdict, promoted_by)
    VALUES (:model, :previous, :job, :kind, :reason, :verdict, :by)
    """,
    "verdict",
)


def next_version(connection: sa.Connection, name: str) -> int:
    """The next free version of a name; others who ask for it wait until this transaction ends."""
    lock = sa.text("SELECT pg_advisory_xact_lock(hashtext('aparella model ' || :name))")
    connection.execute(lock, {"name": name})
    query = sa.text("SELECT coalesce(max(version), 0) + 1 FROM model WHERE name = :name")
    return int(connection.execute(query, {"name": name}).scalar_one())


def reserve(
    connection: sa.Connection,
    *,
    name: str,
    base: Model,
    held_out: Sequence[int],
    training: Mapping[str, Any],
    cleaner_version: int,
    created_by: str | None,
    twin_of: Model | None = None,
) -> Model:
    """Take the next version of a name, or its twin's place, for a model that is to be trained.

    Raises:
        ConflictError: the base was made by another cleaner: its texts looked otherwise.
    """
    if base.cleaner_version != cleaner_version:
        raise ConflictError(
            f"{base} was trained on texts of cleaner version {base.cleaner_version}, and this is "
            f"version {cleaner_version}. Train from the base model, without --from."
        )
    values = {
        "name": name,
        "version": twin_of.version if twin_of else next_version(connection, name),
        "base_model": base.base_model,
        "parent": base.id,
        "twin_of": twin_of.id if twin_of else None,
        "held_out": list(held_out),
        "dim": base.dim,
        "max_seq_length": base.max_seq_length,
        "url": "",
        "sha256": "",
        "files": {},
        "cleaner": cleaner_version,
        "training": dict(training),
        "status": "training",
        "by": created_by,
    }
    return models.model_by_id(connection, connection.execute(_INSERT, values).scalar_one())


def complete(
    connection: sa.Connection,
    model_id: int,
    artifact: Artifact,
    *,
    max_seq_length: int,
    training: Mapping[str, Any],
) -> None:
    """Make a trained model a candidate; from then on the version is immutable.

    Raises:
        JobError: it is no longer being trained.
    """
    values = {
        "id": model_id,
        "url": artifact.url,
        "sha256": artifact.sha256,
        "files": artifact.files,
        "max_seq_length": max_seq_length,
        "training": dict(training),
    }
    if connection.execute(_COMPLETE, values).first() is None:
        model = models.model_by_id(connection, model_id)
        raise JobError(f"{model} is {model.status}: a version is trained once. Train a new one.")


def register(
    connection: sa.Connection,
    *,
    name: str,
    base_model: str,
    artifact: Artifact,
    max_seq_length: int,
    cleaner_version: int,
    created_by: str | None,
) -> Model:
    """Register a model that came from elsewhere as the next version of a name, a candidate."""
    values = {
        "name": name,
        "version": next_version(connection, name),
        "base_model": base_model,
        "parent": None,
        "twin_of": None,
        "held_out": [],
        "dim": DIMENSIONS,
        "max_seq_length": max_seq_length,
        "url": artifact.url,
        "sha256": artifact.sha256,
        "files": artifact.files,
        "cleaner": cleaner_version,
        "training": {},
        "status": "candidate",
        "by": created_by,
    }
    return models.model_by_id(connection, connection.execute(_INSERT, values).scalar_one())


def set_metrics(connection: sa.Connection, model_id: int, metrics: Mapping[str, Any]) -> None:
    """Note a model's headline figures by pair set, beside those that it has."""
    query = _sql("UPDATE model SET metrics = metrics || :metrics WHERE id = :id", "metrics")
    connection.execute(query, {"id": model_id, "metrics": dict(metrics)})


def switch(
    connection: sa.Connection,
    model_id: int,
    *,
    kind: str,
    cleaner_version: int,
    reason: str | None = None,
    verdict: Mapping[str, Any] | None = None,
    job_id: int | None = None,
    by: str | None = None,
) -> None:
    """Make a model the default, in the caller's transaction.

    Raises:
        ConflictError: it was deleted, is not trained, or was made by another text cleaner.
    """
    current = models.find_model(connection, None)
    _lock(connection, model_id, current.id)
    model = models.model_by_id(connection, model_id)
    if model.status not in (*USABLE, "retired"):
        raise ConflictError(f"{model} is {model.status}: it cannot become the default.")
    if model.cleaner_version != cleaner_version:
        raise ConflictError(
            f"{model} was trained on texts of cleaner version {model.cleaner_version}, and texts "
            f"are cleaned by version {cleaner_version} now. Train it anew."
        )
    if models.find_model(connection, None).id != current.id:
        raise ConflictError("Another model was promoted at the same moment. Try again.")
    if model.id == current.id:
        return
    for changed, status in ((current.id, "superseded"), (model.id, "promoted")):
        connection.execute(
            sa.text("UPDATE model SET status = :status WHERE id = :id"),
            {"id": changed, "status": status},
        )
    values = {
        "model": model.id,
        "previous": current.id,
        "job": job_id,
        "kind": kind,
        "reason": reason,
        "verdict": dict(verdict or {}),
        "by": by,
    }
    connection.execute(_PROMOTION, values)


def rollback(connection: sa.Connection, *, cleaner_version: int, by: str | None) -> Model:
    """Make the default of before the last promotion the default again; needs no work.

    Raises:
        ConflictError: there is none, or its vectors are gone.
    """
    current = models.find_model(connection, None)
    previous_id = connection.execute(
        sa.text(
            "SELECT previous_id FROM promotion WHERE model_id = :id AND kind = 'promote' "
            "ORDER BY id DESC LIMIT 1"
        ),
        {"id": current.id},
    ).scalar()
    if previous_id is None:
        raise ConflictError(
            f"{current} was not promoted over another model: nothing to go back to."
        )
    previous = models.model_by_id(connection, previous_id)
    if previous.status != "superseded":
        raise ConflictError(
            f"{previous} is {previous.status}: its vectors are gone. `aparella model promote "
            f"{previous}` makes them again."
        )
    switch(connection, previous.id, kind="rollback", cleaner_version=cleaner_version, by=by)
    return models.model_by_id(connection, previous.id)


def retire(connection: sa.Connection, model_id: int) -> None:
    """Drop a model's vectors; its files stay, and a promotion makes the vectors again.

    Raises:
        ConflictError: it is the default, or an open job uses it.
    """
    _end(connection, model_id, "retired")


def delete(connection: sa.Connection, model_id: int) -> None:
    """Drop a model's vectors and take it off the list; the row stays, as jobs refer to it.

    The caller removes its artifact once this is committed.

    Raises:
        ConflictError: it is the default or comes with a package, or an open job uses it.
    """
    _end(connection, model_id, "deleted")


def _end(connection: sa.Connection, model_id: int, status: str) -> None:
    _lock(connection, model_id)
    model = models.model_by_id(connection, model_id)
    done = {"retired": "retired", "deleted": "deleted"}[status]
    if model.status == "promoted":
        raise ConflictError(
            f"{model} is the default: it cannot be {done}. Promote another model first, or roll "
            "back."
        )
    if status == "deleted" and model.artifact_url.startswith("package://"):
        raise ConflictError(f"{model} comes with Aparella: it can be retired, not deleted.")
    if model.twin_of is None:
        job_id = connection.execute(_OPEN_JOBS, {"id": model_id}).scalar()
        if job_id is not None:
            raise ConflictError(
                f"Job {job_id} uses {model}: wait for it, or `aparella job cancel {job_id}`."
            )
    partitions.drop(connection, model_id)
    connection.execute(sa.text("DELETE FROM vector_index WHERE model_id = :id"), {"id": model_id})
    connection.execute(
        sa.text("UPDATE model SET status = :status WHERE id = :id"),
        {"id": model_id, "status": status},
    )


def _lock(connection: sa.Connection, *model_ids: int) -> None:
    """Whoever changes a model's status waits here, in the order of ids: no two wait in a ring."""
    connection.execute(
        sa.text("SELECT FROM model WHERE id = ANY(:ids) ORDER BY id FOR UPDATE"),
        {"ids": list(model_ids)},
    )
