"""The change of the default model, forth and back, each in one transaction."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from aparella.db import models
from aparella.db.models import Model
from aparella.db.retirement import lock
from aparella.errors import ConflictError, InputError

_STATUS = sa.text("UPDATE model SET status = :status WHERE id = :id")
_PROMOTION = sa.text("""
    INSERT INTO promotion (model_id, previous_id, job_id, kind, reason, verdict, promoted_by)
    VALUES (:model, :previous, :job, :kind, :reason, :verdict, :by) RETURNING id
""").bindparams(sa.bindparam("verdict", type_=JSONB))


def switch(
    connection: sa.Connection,
    model_id: int,
    *,
    kind: str,
    reason: str | None,
    verdict: Mapping[str, Any],
    job_id: int | None,
    by: str | None,
    cleaner_version: int,
) -> int:
    """Make a model the default; who asks for the default from the commit on gets this one.

    Args:
        connection: inside a transaction, whose end is the switch.
        model_id: of the model, whose vectors must be there.
        kind: `promote` or `rollback`.
        reason: why the gate was overruled, where it was.
        verdict: what the gate found.
        job_id: of the promotion.
        by: who asked.
        cleaner_version: of the texts as they are cleaned now.

    Returns:
        The id of the history's new row.

    Raises:
        InputError: it is a twin, or learnt from texts that were cleaned differently.
        ConflictError: it is promoted already, was deleted, or is not trained yet.
    """
    lock(connection, model_id)
    model, old = models.model_by_id(connection, model_id), models.promoted(connection)
    if model.twin_of is not None:
        raise InputError(
            f"This twin of {model} saw only a part of the pairs: it judges, and is never promoted.",
            field="model",
        )
    if model.status == "deleted":
        raise ConflictError(f"{model} was deleted and cannot be promoted.")
    if model.status == "training":
        raise ConflictError(f"{model} is not trained yet and cannot be promoted.")
    if old is not None and old.id == model.id:
        raise ConflictError(f"{model} is promoted already.")
    if model.cleaner_version != cleaner_version:
        raise InputError(
            f"{model} was made for texts of cleaner version {model.cleaner_version}, and texts "
            f"are now cleaned by version {cleaner_version}: it would see other texts than it "
            "learnt from. Train it again on the same pairs.",
            field="model",
            code="cleaner_version",
        )
    # The old one first: there may be one promoted model at any moment.
    if old is not None:
        connection.execute(_STATUS, {"id": old.id, "status": "superseded"})
    connection.execute(_STATUS, {"id": model.id, "status": "promoted"})
    row = {
        "model": model.id,
        "previous": None if old is None else old.id,
        "job": job_id,
        "kind": kind,
        "reason": reason,
        "verdict": dict(verdict),
        "by": by,
    }
    return int(connection.execute(_PROMOTION, row).scalar_one())


def rollback(connection: sa.Connection, by: str | None, *, cleaner_version: int) -> Model:
    """Make the model the default again that was promoted before the present one.

    Raises:
        ConflictError: there is none, or its vectors are gone; says what to do.
        InputError: texts are cleaned differently by now.
    """
    lock(connection)
    back = models.previous(connection)
    if back is None:
        raise ConflictError("No model was promoted before the present one: nothing to go back to.")
    if back.status == "retired":
        raise ConflictError(
            f"{back}, which was promoted before, is retired: its vectors are gone. Promote it "
            f"again to build them: `aparella model promote {back}`."
        )
    if back.status == "deleted":
        raise ConflictError(
            f"{back}, which was promoted before, was deleted. Promote another one: "
            "`aparella model promote NAME@VERSION`."
        )
    switch(
        connection,
        back.id,
        kind="rollback",
        reason=None,
        verdict={},
        job_id=None,
        by=by,
        cleaner_version=cleaner_version,
    )
    return models.model_by_id(connection, back.id)
