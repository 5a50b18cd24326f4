"""A file of known pairs on its way into the database: its rows, and the job that checks them."""

from dataclasses import replace
from functools import partial
from typing import Annotated, Any, BinaryIO

import sqlalchemy as sa
from pydantic import Field

from aparella.api import imports, pair_rows, problems
from aparella.api.imports import FileParameters, Word
from aparella.api.plans import filled_collection
from aparella.api.uploads import Limits
from aparella.api.uploads.wording import file_label
from aparella.db import jobs, pair_sets, records
from aparella.db.engine import transaction
from aparella.errors import InputError
from aparella.workers import pipelines
from aparella.workers.contracts import Name

Column = Annotated[Word, Field(min_length=1)]


class PairParameters(FileParameters):
    """How to read an uploaded file of pairs; without collections it holds texts."""

    source: Name | None = None
    target: Name | None = None
    source_column: Column | None = None
    """`source_key` unless given; `source_text` where the file holds texts."""
    target_column: Column | None = None
    """`target_key` unless given; `target_text` where the file holds texts."""


def enqueue(
    db: sa.Engine, file: BinaryIO, *, name: str, parameters: PairParameters, limits: Limits
) -> int:
    """Store a file's rows and the job that makes pairs of them, all or nothing.

    Args:
        db: the database.
        file: the body.
        name: of the pair set; created if there is none.
        parameters: how to read the file.
        limits: what it may hold.

    Returns:
        The job's id.

    Raises:
        InputError: the file or a parameter is wrong as a whole.
        NotFoundError: there is no such collection.
        ConflictError: the set has pairs of other collections.
        TransientError: the database is away.
    """
    texts = parameters.source is None
    if texts is not (parameters.target is None):
        given, missing = ("target", "source") if texts else ("source", "target")
        raise InputError(
            f"{given} is given and {missing} is not: pairs by keys need both collections. Give "
            f"--{missing} too, or neither for a file of texts.",
            field=missing,
            code="missing",
        )
    kind = "text" if texts else "key"
    columns = pair_rows.columns_of(
        parameters.source_column or f"source_{kind}", parameters.target_column or f"target_{kind}"
    )
    if texts:
        # A text stands where a key would, and may be as long as a text.
        limits = replace(limits, max_key=limits.max_cell)
    # The header is read here, before a connection is taken.
    filename = file_label(parameters.filename)
    try:
        rows = imports.open_rows(file, columns, parameters, limits)
    except InputError as error:
        raise _other_kind(error, filename, kind, parameters) or error from error
    params: dict[str, Any] = {
        "pairs": name,
        "source": parameters.source,
        "target": parameters.target,
        "filename": filename,
        "strict": parameters.strict,
        "columns": {"source": columns.key, "target": columns.texts[0]},
    }
    with transaction(db) as connection:
        source_id = _collection(connection, "source", parameters.source)
        target_id = _collection(connection, "target", parameters.target)
        pair_set_id = pair_sets.ensure_set(connection, name, source_id, target_id)
        upload_id = records.create_upload(
            connection, None, filename=filename, mode="merge", strict=parameters.strict
        )
        convert = partial(pair_rows.upload_row, texts=texts)
        records.copy_upload_rows(connection, upload_id, map(convert, rows))
        # Reading the file may have taken long.
        pair_sets.hold_set(connection, pair_set_id, source_id, target_id)
        job_id, _ = jobs.create(
            connection,
            kind="pairs",
            params=params,
            plan=pipelines.pairs_stages(upload_id, pair_set_id, texts=texts),
            model_id=None,
        )
    return job_id


def _other_kind(
    error: InputError, filename: str, kind: str, parameters: PairParameters
) -> InputError | None:
    """What to say of a file that lacks a column which nobody named: keys are no texts."""
    if error.code != "unknown_column" or error.field not in ("source_column", "target_column"):
        return None
    if getattr(parameters, error.field) is not None:
        return None
    side = error.field.removesuffix("_column")
    means = (
        "Without --source and --target a file holds texts; if it holds keys, give the two "
        "collections that they belong to"
        if kind == "text"
        else "With --source and --target a file holds keys; if it holds texts, leave the two out"
    )
    return InputError(
        f"{filename}: there is no column '{side}_{kind}'. {means}. If the column has another "
        f"name, pass it as --{side}-column.",
        field=error.field,
        code=error.code,
    )


def _collection(connection: sa.Connection, field: str, name: str | None) -> int | None:
    if name is None:
        return None
    with problems.about(field):
        return filled_collection(connection, name)
