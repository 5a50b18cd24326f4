"""An uploaded file on its way into the database: the body to disk, the rows into an import job."""

import errno
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, BinaryIO, Literal

import sqlalchemy as sa
from anyio import CapacityLimiter, to_thread
from pydantic import Field
from starlette.requests import Request

from aparella.api import schemas
from aparella.api.uploads import BadRow, Columns, Limits, Row, read_rows
from aparella.api.uploads.source import is_gzip
from aparella.api.uploads.wording import file_label
from aparella.db import jobs, records
from aparella.db.engine import transaction
from aparella.errors import InputError, ResourceExhaustedError
from aparella.settings import Settings
from aparella.workers import pipelines

_BLOCK = 1 << 20
_HEAD = 16

BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
"""What OpenAPI is told of a route that takes a file as its body."""

Word = Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$")]
"""NUL cannot be stored: PostgreSQL's text has none."""


class FileParameters(schemas.Parameters):
    """How to read an uploaded file, whatever it holds."""

    format: Literal["csv", "ndjson", "parquet"] | None = None
    delimiter: str | None = None
    encoding: str | None = None
    strict: bool = False
    """Whether one bad row refuses the whole file."""
    filename: Annotated[str, Field(max_length=255, pattern=r"^[^\x00]*$")] = ""


class UploadParameters(FileParameters):
    """How to read an uploaded file of records."""

    key: Word
    """Column that tells the records apart."""
    text: list[Word]
    """Columns that make a record's text, joined by a space."""
    attribute: list[Word] = Field(default_factory=list)
    """Columns that are kept beside the text."""
    mode: Literal["replace", "merge"] = "replace"
    """Whether the file is the collection's new edition, or only adds to it."""


def limits_of(settings: Settings) -> Limits:
    """What an uploaded file may hold on this server."""
    return Limits(
        max_bytes=settings.max_unpacked_mb * 1_000_000,
        max_cell=settings.max_cell,
        max_columns=settings.max_columns,
        max_rows=settings.max_rows,
    )


def check_given_once(names: Iterable[str]) -> None:
    """Refuse a parameter that is given twice and holds one value: which was meant is unknown.

    Args:
        names: of the query's parameters, as often as each is given.

    Raises:
        InputError: one is given twice.
    """
    for name, times in Counter(names).items():
        if times > 1 and name not in ("text", "attribute"):
            raise InputError(
                f"{name} is given {times} times: give it once.", field=name, code="repeated"
            )


@contextmanager
def spool() -> Iterator[BinaryIO]:
    """A temporary file without a name: whatever happens to this process, nothing stays behind.

    Raises:
        ResourceExhaustedError: the disk is full.
    """
    try:
        with tempfile.TemporaryFile() as file:
            yield file
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ResourceExhaustedError(f"the folder for temporary files is full: {error}") from error


async def receive(request: Request, file: BinaryIO) -> None:
    """Write a request's body to `file`, holding a block of it at a time.

    Raises:
        InputError: the body is not encoded as it says.
        starlette.requests.ClientDisconnect: the client went away before its end.
    """
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        raise InputError(
            f"The body's Content-Encoding is {encoding!r}: send the file as it is, or as gzip.",
            field="Content-Encoding",
            code="unknown_encoding",
        )
    block = bytearray()
    async for part in request.stream():
        block += part
        if len(block) >= _BLOCK:
            await to_thread.run_sync(file.write, bytes(block))
            block.clear()
    await to_thread.run_sync(file.write, bytes(block))
    file.seek(0)
    if encoding == "gzip" and not is_gzip(file.read(_HEAD)):
        raise InputError(
            "Content-Encoding says gzip, and the body is not. Leave the header out.",
            field="Content-Encoding",
            code="not_gzip",
        )


async def upload(request: Request, enqueue: Callable[[BinaryIO], int]) -> int:
    """Receive a request's body and make a job of it; returns what `enqueue` does, the job's id.

    Raises:
        InputError: a parameter is given twice, or the body is not encoded as it says.
    """
    check_given_once(name for name, _ in request.query_params.multi_items())
    with spool() as file:
        await receive(request, file)
        limiter: CapacityLimiter = request.app.state.uploads
        return await to_thread.run_sync(enqueue, file, limiter=limiter)


def open_rows(
    file: BinaryIO, columns: Columns, parameters: FileParameters, limits: Limits
) -> Iterator[Row | BadRow]:
    """Begin to read a file as its parameters say; raises as `read_rows` does."""
    return read_rows(
        file,
        filename=parameters.filename,
        columns=columns,
        format=parameters.format,
        delimiter=parameters.delimiter,
        encoding=parameters.encoding,
        limits=limits,
    )


def enqueue(
    db: sa.Engine,
    file: BinaryIO,
    *,
    collection: str,
    parameters: UploadParameters,
    limits: Limits,
) -> int:
    """Store a file's rows and the job that makes records of them, all or nothing.

    Args:
        db: the database.
        file: the body, as `receive` wrote it.
        collection: its name; created if there is none.
        parameters: how to read the file.
        limits: what it may hold.

    Returns:
        The job's id.

    Raises:
        InputError: the file is wrong as a whole.
        TransientError: the database is away.
    """
    columns = Columns(parameters.key, tuple(parameters.text), tuple(parameters.attribute))
    # The header is read here, before a connection is taken.
    rows = open_rows(file, columns, parameters, limits)
    filename = file_label(parameters.filename)
    params: dict[str, Any] = {
        "collection": collection,
        "filename": filename,
        "mode": parameters.mode,
        "strict": parameters.strict,
        "columns": {
            "key": columns.key,
            "texts": columns.texts,
            "attributes": columns.attributes,
        },
    }
    with transaction(db) as connection:
        upload_id = records.create_upload(
            connection,
            records.ensure_collection(connection, collection),
            filename=filename,
            mode=parameters.mode,
            strict=parameters.strict,
        )
        records.copy_upload_rows(connection, upload_id, map(_upload_row, rows))
        job_id, _ = jobs.create(
            connection,
            kind="import",
            params=params,
            plan=pipelines.import_stages(upload_id),
            model_id=None,
        )
    return job_id


def _upload_row(row: Row | BadRow) -> records.UploadRow:
    if isinstance(row, Row):
        return records.UploadRow(row.number, row.key, row.text, row.attributes)
    return records.UploadRow(
        row.number, row.key, code=row.code, field=row.field, message=row.message
    )
