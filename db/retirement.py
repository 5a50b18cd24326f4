"""The end of a model: retired, its vectors go; deleted, its files go too. Its row stays."""

import sqlalchemy as sa
from psycopg2.errors import LockNotAvailable
from sqlalchemy.exc import DBAPIError

from aparella.db import models
from aparella.db.models import Model
from aparella.errors import BusyError, ConflictError

_LOCK_SECONDS = 2
"""Who reads vectors waits behind a DROP that waits itself: for so long and no longer."""

_STATUS = sa.text("UPDATE model SET status = :status WHERE id = :id")
# in_use: an open job works with the model, starts from it, or has it ranked beside its own
_IN_USE = sa.text("""
    SELECT max(j.id) FROM job j
    WHERE j.state IN ('queued', 'running', 'cancelling') AND (
      j.model_id = :id
      OR EXISTS (SELECT FROM model m WHERE m.id = j.model_id AND m.parent_id = :id)
      OR EXISTS (SELECT FROM stage s WHERE s.job_id = j.id AND (
           s.params->>'model_id' = CAST(:id AS text)
           OR s.params->>'against' = CAST(:id AS text)
           OR s.params->'references' @> to_jsonb(CAST(:id AS bigint)))))
""")


def lock(connection: sa.Connection, model_id: int | None = None) -> None:
    """Wait until nobody else changes what models are, and keep others from it.

    One lock for all of them: which row is the promoted one must not change while rows are locked
    one after the other. Who holds the model by `find_model` is waited for.
    """
    connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('aparella registry'))"))
    rows = sa.text("SELECT FROM model WHERE id = :id OR status = 'promoted' ORDER BY id FOR UPDATE")
    connection.execute(rows, {"id": model_id})


def in_use(connection: sa.Connection, model_id: int) -> int | None:
    """The newest job that has not ended and needs the model, if there is one."""
    found = connection.execute(_IN_USE, {"id": model_id}).scalar()
    return None if found is None else int(found)


def retire(connection: sa.Connection, model_id: int) -> Model:
    """Drop a model's vectors; its files stay, and a promotion can build the vectors again.

    Raises:
        ConflictError: it is promoted, in use, not trained yet, or deleted.
        BusyError: its vectors are being read.
    """
    lock(connection, model_id)
    model = models.model_by_id(connection, model_id)
    _check_free(connection, model, "retired")
    if model.status == "training":
        raise ConflictError(f"{model} is not trained yet: it has no vectors to drop.")
    if model.status == "deleted":
        raise ConflictError(f"{model} was deleted: its vectors are gone.")
    _drop_vectors(connection, [model])
    connection.execute(_STATUS, {"id": model_id, "status": "retired"})
    return models.model_by_id(connection, model_id)


def delete(connection: sa.Connection, model_id: int) -> list[Model]:
    """Leave nothing of a model but its row, which the history needs, and its twins' rows.

    A twin may be deleted while its job runs: it is the job that does so.

    Returns:
        The model and its twins as they were: the caller deletes their files after the commit.

    Raises:
        ConflictError: it is promoted, in use, or comes with a package.
        BusyError: its vectors are being read.
    """
    lock(connection, model_id)
    model = models.model_by_id(connection, model_id)
    if model.artifact_url.startswith("package://"):
        raise ConflictError(
            f"{model} comes with Aparella and cannot be deleted. `aparella model retire {model}` "
            "drops its vectors."
        )
    if model.twin_of is None:
        _check_free(connection, model, "deleted")
    ids = connection.execute(
        sa.text("SELECT id FROM model WHERE id = :id OR twin_of = :id ORDER BY id"),
        {"id": model_id},
    ).scalars()
    family = [models.model_by_id(connection, one) for one in ids.all()]
    _drop_vectors(connection, family)
    for one in family:
        connection.execute(_STATUS, {"id": one.id, "status": "deleted"})
    return family


def _check_free(connection: sa.Connection, model: Model, done: str) -> None:
    if model.status == "promoted":
        raise ConflictError(
            f"{model} is promoted and cannot be {done}. Promote another model first."
        )
    if (job_id := in_use(connection, model.id)) is not None:
        raise ConflictError(
            f"{model} cannot be {done} while job {job_id} uses it. Wait for the job, or end it "
            f"with `aparella job cancel {job_id}`."
        )


def _drop_vectors(connection: sa.Connection, gone: list[Model]) -> None:
    try:
        with connection.begin_nested():
            connection.execute(sa.text(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'"))
            for model in gone:
                connection.execute(sa.text("SELECT drop_vectors(:id)"), {"id": model.id})
                connection.execute(
                    sa.text("DELETE FROM vector_index WHERE model_id = :id"), {"id": model.id}
                )
            connection.execute(sa.text("SET LOCAL lock_timeout = DEFAULT"))
    except DBAPIError as error:
        if not isinstance(error.orig, LockNotAvailable):
            raise
        raise BusyError(
            f"The vectors of {gone[0]} cannot be dropped while vectors are being read. Try again "
            "in a moment."
        ) from error
