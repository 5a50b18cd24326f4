"""A file of people's decisions on its way into the database: its rows, and the job for them."""

from functools import partial
from typing import Any, BinaryIO

import sqlalchemy as sa

from aparella.api import imports, problems
from aparella.api.decision_schemas import Person
from aparella.api.imports import FileParameters
from aparella.api.plans import filled_collection
from aparella.api.uploads import BadRow, Columns, Limits, Row
from aparella.api.uploads.rows import Scalar
from aparella.api.uploads.wording import file_label, quoted
from aparella.db import jobs, records
from aparella.db.engine import transaction
from aparella.db.records import UploadRow
from aparella.workers import pipelines
from aparella.workers.contracts import Name

VERDICTS = ("accept", "reject", "none")
LONGEST_NAME, LONGEST_NOTE, LONGEST_KEY = 200, 2_000, 512

COLUMNS = Columns(
    "source_key",
    ("verdict",),
    ("target_key", "reviewer", "note"),
    optional=("target_key", "reviewer", "note"),
    parameters=("column", "column", "column"),
)


class DecisionFileParameters(FileParameters):
    """How to read an uploaded file of decisions."""

    source: Name
    target: Name
    by: Person
    """Who decided, where a row has no reviewer."""


def enqueue(
    db: sa.Engine, file: BinaryIO, *, parameters: DecisionFileParameters, largest_file: int
) -> int:
    """Store a file's rows and the job that makes decisions of them, all or nothing.

    Returns:
        The job's id.

    Raises:
        InputError: the file is wrong as a whole.
        NotFoundError: there is no such collection.
        TransientError: the database is away.
    """
    filename = file_label(parameters.filename)
    rows = imports.open_rows(file, COLUMNS, parameters, Limits(max_bytes=largest_file))
    params: dict[str, Any] = {
        "source": parameters.source,
        "target": parameters.target,
        "filename": filename,
        "strict": parameters.strict,
    }
    with transaction(db) as connection:
        with problems.about("source"):
            source_id = filled_collection(connection, parameters.source)
        with problems.about("target"):
            target_id = filled_collection(connection, parameters.target)
        upload_id = records.create_upload(
            connection, None, filename=filename, mode="merge", strict=parameters.strict
        )
        convert = partial(upload_row, by=parameters.by)
        records.copy_upload_rows(connection, upload_id, map(convert, rows))
        job_id, _ = jobs.create(
            connection,
            kind="decisions",
            params=params,
            plan=pipelines.decisions_stages(upload_id, source_id, target_id),
            model_id=None,
        )
    return job_id


def upload_row(row: Row | BadRow, *, by: str) -> UploadRow:
    """Turn a row that was read into one to store: its text is the target's key.

    Args:
        row: its text is the verdict.
        by: who decided, unless the row says it.
    """
    if isinstance(row, BadRow):
        message = row.message
        if row.code in {"empty_key", "empty_text", "missing_field"}:
            message = f"column {quoted(row.field or '')} is blank: fill it in, or leave the row out"
        return UploadRow(row.number, row.key, code=row.code, field=row.field, message=message)
    verdict = row.text.strip().lower()
    target, reviewer, note = (_word(row.attributes.get(name)) for name in COLUMNS.attributes)
    fault = _fault(verdict, target, reviewer, note)
    if fault is not None:
        field, code, message = fault
        return UploadRow(row.number, row.key, code=code, field=field, message=message)
    return UploadRow(
        row.number, row.key, target, {"verdict": verdict, "by": reviewer or by, "note": note}
    )


def _fault(
    verdict: str, target: str | None, reviewer: str | None, note: str | None
) -> tuple[str, str, str] | None:
    """Field, code and sentence of what is wrong with a row."""
    if verdict not in VERDICTS:
        return (
            "verdict",
            "bad_verdict",
            f"the verdict is {quoted(verdict)}: give accept, reject, or none (no counterpart)",
        )
    if verdict == "none" and target is not None:
        return (
            "target_key",
            "target_of_none",
            "none says that there is no counterpart: leave target_key blank, or write reject",
        )
    if verdict != "none" and target is None:
        return (
            "target_key",
            "empty_key",
            f"column 'target_key' is blank: {verdict} is about a record of the catalogue",
        )
    for field, value, most in (
        ("target_key", target, LONGEST_KEY),
        ("reviewer", reviewer, LONGEST_NAME),
        ("note", note, LONGEST_NOTE),
    ):
        if value is not None and len(value) > most:
            return field, "too_long", f"the {field} has {len(value):,} characters, over {most:,}"
    return None


def _word(value: Scalar) -> str | None:
    """A cell as text; None where it is blank. A key in JSON may be a number."""
    text = "" if value is None else str(value)
    return text if text.strip() else None
