"""A typed, synchronous client of Aparella's HTTP interface.

Example:
    with Client("http://127.0.0.1:8000", token) as client:
        job = client.import_file("buyers", "lines.csv", key="id", text=["name"])
        client.wait(job.id)
        job = client.wait(client.match("buyers", "catalogue").id)
        for match in client.matches(job.id):
            print(match.source_key, match.target_key, match.score)
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self
from urllib.parse import quote

from aparella.client import outfile, uploads
from aparella.client.model_calls import ModelCalls
from aparella.client.models import AnyDocument, Collection, Job, JobProblem, Match
from aparella.client.operator_calls import OperatorCalls
from aparella.client.pair_calls import PairCalls
from aparella.client.review_calls import ReviewCalls
from aparella.client.token_calls import TokenCalls
from aparella.client.transport import Transport
from aparella.errors import ServiceUnavailableError

FIRST_POLL = 0.2
LAST_POLL = 2.0
POLL_GROWTH = 1.3
PATIENCE = 60.0
"""Seconds for which `wait` puts up with a server that is being restarted."""


class Client(ModelCalls, OperatorCalls, PairCalls, ReviewCalls, TokenCalls):
    """Talks to one Aparella server.

    Every method raises `ServiceUnavailableError` if the server cannot be reached or cannot answer
    now, `InputError`, `NotFoundError` or `ConflictError` if it refuses the request, and
    `ConfigurationError` if what answers at the URL is no Aparella.

    Args:
        url: of the server, such as `http://127.0.0.1:8000`.
        token: bearer token, if the server asks for one.
        timeout: seconds of silence after which an answer is given up.
    """

    def __init__(self, url: str, token: str | None = None, *, timeout: float = 30.0) -> None:
        self._transport = Transport(url, token, timeout=timeout)

    @property
    def url(self) -> str:
        """The server's URL."""
        return self._transport.url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def import_file(
        self,
        collection: str,
        file: str | Path,
        *,
        key: str,
        text: Sequence[str],
        attributes: Sequence[str] = (),
        delimiter: str | None = None,
        encoding: str | None = None,
        strict: bool = False,
        merge: bool = False,
        on_bytes: uploads.OnBytes | None = None,
    ) -> Job:
        """Upload a CSV, NDJSON or Parquet file (gzip or not) and start importing it.

        The file is streamed from disk, whatever its size.

        Args:
            collection: name of the collection, created if there is none.
            file: to upload.
            key: column that tells the records apart.
            text: columns that are joined into the record's text, in order.
            attributes: further columns to keep.
            delimiter: of a CSV file; found out by the server unless given.
            encoding: of a CSV file; found out by the server unless given.
            strict: refuse the whole file if one row is bad.
            merge: keep records that the file does not have; otherwise they are removed.
            on_bytes: called with the bytes sent so far and the file's size, None if unknown.

        Raises:
            InputError: the file cannot be read.
        """
        path = Path(file)
        optional = {
            "attribute": list(attributes) or None,
            "format": uploads.format_of(path),
            "delimiter": delimiter,
            "encoding": encoding,
            "strict": "true" if strict else None,
        }
        params: dict[str, str | int | list[str]] = {
            "key": key,
            "text": list(text),
            "mode": "merge" if merge else "replace",
            "filename": path.name,
            **{name: value for name, value in optional.items() if value is not None},
        }
        size = uploads.size_of(path)
        document = self._transport.upload(
            f"/v1/collections/{quote(collection, safe='')}/records",
            params,
            lambda: uploads.blocks(path, size, on_bytes),
            size=size,
        )
        return self._read(Job, document)

    def match(
        self,
        source: str,
        target: str,
        *,
        model: str | None = None,
        k: int = 10,
        scoring: str = "fused",
        auto_accept: float | None = None,
        since: int | None = None,
        one_to_one: bool = False,
        idempotency_key: str | None = None,
    ) -> Job:
        """Start finding the `k` best records of `target` for each record of `source`.

        Args:
            source: collection to match.
            target: collection to match with, the catalogue.
            model: `NAME` or `NAME@VERSION`; the server's default unless given.
            k: candidates per source record.
            scoring: `fused` weighs all evidence; `cosine` looks at the vectors alone.
            auto_accept: share of right ones among those that are accepted unseen; the job's
                `params["auto_accept"]` tells what is promised, its `summary["accepted"]` what came
                of it.
            since: an earlier match job of the two; answers that still hold are taken over, and
                `summary["since"]` tells what has moved.
            one_to_one: no record of `target` is the first candidate of two records.
            idempotency_key: the same key and request give the same job, however often sent.
        """
        wanted: dict[str, object] = {
            "kind": "match",
            "source": source,
            "target": target,
            "model": model,
            "k": k,
        }
        if scoring != "fused":
            wanted["scoring"] = scoring
        if auto_accept is not None:
            wanted["auto_accept"] = auto_accept
        if since is not None:
            wanted["since"] = since
        if one_to_one:
            wanted["one_to_one"] = True
        return self._submit(wanted, idempotency_key)

    def embed(
        self, collection: str, *, model: str | None = None, idempotency_key: str | None = None
    ) -> Job:
        """Start computing the vectors that the collection lacks."""
        return self._submit(
            {"kind": "embed", "collection": collection, "model": model}, idempotency_key
        )

    def index(
        self, collection: str, *, model: str | None = None, idempotency_key: str | None = None
    ) -> Job:
        """Start building the collection's vector index, and the vectors that it lacks."""
        return self._submit(
            {"kind": "index", "collection": collection, "model": model}, idempotency_key
        )

    def job(self, job_id: int) -> Job:
        """The job as it stands now."""
        return self._read(Job, self._transport.get(f"/v1/jobs/{job_id}"))

    def jobs(self, *, state: str | None = None, kind: str | None = None) -> Iterator[Job]:
        """Jobs, newest first, fetched page by page as they are asked for."""
        filters = {"state": state, "kind": kind}
        chosen = {name: value for name, value in filters.items() if value is not None}
        return self._pages(Job, "/v1/jobs", "before", 50, chosen)

    def wait(
        self,
        job_id: int,
        on_progress: Callable[[Job], None] | None = None,
        *,
        poll: float | None = None,
        patience: float = PATIENCE,
    ) -> Job:
        """Wait until the job ends, well or not, and return it.

        Args:
            job_id: of the job.
            on_progress: called with the job as each answer shows it, the last one included.
            poll: seconds between looks; from 0.2 rising to 2 unless given.
            patience: seconds for which the server may be away before that is an error.
        """
        pause = FIRST_POLL if poll is None else poll
        answered = time.monotonic()
        while True:
            try:
                job = self.job(job_id)
            except ServiceUnavailableError:
                if time.monotonic() - answered > patience:
                    raise
            else:
                answered = time.monotonic()
                if on_progress is not None:
                    on_progress(job)
                if job.finished:
                    return job
            time.sleep(pause)
            if poll is None:
                pause = min(LAST_POLL, pause * POLL_GROWTH)

    def cancel(self, job_id: int) -> Job:
        """Ask for the job's end; work in hand is given up, work done is kept."""
        path = f"/v1/jobs/{job_id}/cancel"
        return self._read(Job, self._transport.post(path, repeatable=True))

    def retry(self, job_id: int) -> Job:
        """Take up again what the job gave up."""
        return self._read(Job, self._transport.post(f"/v1/jobs/{job_id}/retry"))

    def errors(self, job_id: int) -> Iterator[JobProblem]:
        """What the job could not handle, row by row, fetched page by page."""
        return self._pages(JobProblem, f"/v1/jobs/{job_id}/errors", "after", 100)

    def matches(self, job_id: int, *, page: int = 100) -> Iterator[Match]:
        """A match job's candidates by source record and rank, fetched page by page.

        Args:
            job_id: of a match job.
            page: source records asked for at a time.
        """
        return self._pages(Match, f"/v1/jobs/{job_id}/matches", "after", page)

    def export(
        self,
        job_id: int,
        path: str | Path,
        *,
        raw: bool = False,
        language: str = "en",
        on_bytes: Callable[[int], None] | None = None,
    ) -> Path:
        """Write all of a match job's candidates to a .csv, .ndjson or .parquet file.

        The file appears whole or not at all.

        Args:
            job_id: of a match job.
            path: of the file; one that is there is replaced.
            language: of the column `why`: `ca`, `es` or `en`.
            raw: in CSV, leave texts that a spreadsheet would take for formulas as they are.
            on_bytes: called with the number of bytes received so far.

        Raises:
            InputError: the suffix is unknown, or the directory cannot be written.
            ResourceExhaustedError: the file cannot be written to its end.
        """
        path = Path(path)
        params = {"format": outfile.format_of(path)}
        if language != "en":
            params["language"] = language
        if raw:
            params["raw"] = "true"
        with outfile.replacing(path) as file:
            self._transport.download(
                f"/v1/jobs/{job_id}/matches/export",
                params,
                file,
                on_bytes=on_bytes or (lambda _: None),
            )
        return path

    def collections(self) -> list[Collection]:
        """All collections."""
        return list(self._items(Collection, self._transport.get("/v1/collections")))

    def _pages(
        self,
        kind: type[AnyDocument],
        path: str,
        cursor: str,
        limit: int,
        filters: dict[str, str] | None = None,
    ) -> Iterator[AnyDocument]:
        params: dict[str, str | int | list[str]] = {"limit": limit, **(filters or {})}
        while True:
            page = self._transport.get(path, params)
            yield from self._items(kind, page)
            if page.get("next") is None:
                return
            params[cursor] = page["next"]
