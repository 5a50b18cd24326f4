"""A match job's results, as pages and as one file."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from aparella.api import exports, schemas
from aparella.api.dependencies import Database, JobId
from aparella.api.exports import MatchRow
from aparella.api.routes.jobs import Cursor, Limit
from aparella.db import jobs, matches, records
from aparella.db.engine import transaction
from aparella.errors import ConflictError
from aparella.workers.fusion.wording import Language, sentence

PAGE_ROWS = 20_000
"""Candidates read at once, about: with many per source record a page has fewer source records."""

Writer = Callable[[Iterable[MatchRow]], Iterator[bytes]]
FORMATS: dict[str, tuple[Writer, str]] = {
    "csv": (exports.csv_chunks, "text/csv; charset=utf-8"),
    "ndjson": (exports.ndjson_chunks, "application/x-ndjson"),
    "parquet": (exports.parquet_chunks, "application/vnd.apache.parquet"),
}

router = APIRouter(prefix="/jobs/{job_id}/matches", tags=["matches"])


class MatchesParameters(schemas.Parameters):
    """Which matches to list; `limit` counts source records."""

    limit: Limit = 100
    after: Cursor = 0


class ExportParameters(schemas.Parameters):
    """The file's format, and whether its CSV is for programs rather than for spreadsheets."""

    format: Literal["csv", "ndjson", "parquet"] = "csv"
    language: Language = "en"
    """Of the column `why`."""
    raw: bool = False
    """Leave texts that a spreadsheet would take for formulas as they are; the other formats do."""


@dataclass(frozen=True)
class _Results:
    """Where a match job's results are; `block` is how many source records to read at once."""

    job_id: int
    source_id: int
    until: datetime
    block: int


@router.get("")
def list_matches(
    job_id: JobId, parameters: Annotated[MatchesParameters, Query()], db: Database
) -> schemas.Matches:
    """A page of candidates, ranked, of up to `limit` source records.

    While the job runs, those found so far: a source record without candidates may get some yet.
    """
    with transaction(db) as connection:
        results = _results(connection, job_id)
        limit = min(parameters.limit, results.block)
        found = matches.page(
            connection,
            job_id,
            results.source_id,
            until=results.until,
            after=parameters.after,
            limit=limit,
        )
    full = len({match.source_id for match in found}) == limit
    items = [schemas.Match.model_validate(match) for match in found]
    return schemas.Matches(items=items, next=found[-1].source_id if full else None)


@router.get("/export", response_class=StreamingResponse)
def export_matches(
    job_id: JobId, parameters: Annotated[ExportParameters, Query()], db: Database
) -> StreamingResponse:
    """All candidates as one file, which starts at once and may be of any length.

    While the job runs, those found so far: a source record without candidates may get some yet.
    """
    with transaction(db) as connection:
        results = _results(connection, job_id)
    found = matches.stream(db, job_id, results.source_id, until=results.until, block=results.block)
    write, media_type = FORMATS[parameters.format]
    if parameters.raw and parameters.format == "csv":
        write = partial(exports.csv_chunks, raw=True)
    disposition = f'attachment; filename="job-{job_id}.{parameters.format}"'
    return StreamingResponse(
        write(_row(match, parameters.language) for match in found),
        media_type=media_type,
        headers={"Content-Disposition": disposition},
    )


def _results(connection: sa.Connection, job_id: int) -> _Results:
    job = jobs.find(connection, job_id)
    if job.kind != "match":
        raise ConflictError(
            f"Job {job_id} is of the kind {job.kind}: only match jobs have matches."
        )
    source_id = records.collection_id(connection, job.params["source"])
    block = max(1, PAGE_ROWS // int(job.params["k"]))
    return _Results(job_id, source_id, job.finished_at or datetime.now(UTC), block)


def _row(match: matches.Match, language: Language) -> MatchRow:
    return (
        match.source_key,
        match.source_text,
        match.rank,
        match.target_key,
        match.target_text,
        match.score,
        match.confidence,
        match.accepted,
        sentence(match.evidence, language) if match.evidence else None,
    )
