"""The client's calls about reviews: lines to look at, and what people decide about them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aparella.client import uploads
from aparella.client.calls import Calls
from aparella.client.models import Job
from aparella.client.review_models import Decided, Decision, Finding, Lines, Review


class ReviewCalls(Calls):
    """Calls about reviews and decisions."""

    def next_lines(
        self, job_id: int, *, by: str, limit: int = 1, order: str = "uncertain"
    ) -> Lines:
        """Take the next undecided lines of a match job; for some minutes nobody else gets them.

        Args:
            job_id: of a match job that has succeeded.
            by: the reviewer.
            limit: lines, at most 50.
            order: `uncertain`, `listed` or `value:ATTR`, the largest number first.
        """
        request = {"by": by, "limit": limit, "order": order}
        # Repeated, it would lease other lines; the first ones come free by themselves.
        return self._read(
            Lines, self._transport.post(f"/v1/jobs/{job_id}/review/next", json=request)
        )

    def return_lines(
        self, job_id: int, lines: Sequence[str], *, by: str, skip: bool = False
    ) -> None:
        """Give lines back that were not decided; with `skip` they come last from now on."""
        request = {"by": by, "lines": list(lines), "skip": skip}
        self._transport.post(f"/v1/jobs/{job_id}/review/return", json=request, repeatable=True)

    def decide(
        self,
        source: str,
        target: str,
        decisions: Sequence[dict[str, Any]],
        *,
        by: str,
        job_id: int | None = None,
    ) -> tuple[int, ...]:
        """Add decisions, all of them or none; returns their numbers.

        Args:
            source: collection that was matched.
            target: the catalogue.
            decisions: each with `verdict` (`accept`, `reject`, `none`), `source_key`, `target_key`
                (not with `none`), and `note`, `source_hash`, `target_hash` if wanted; or `undo`
                and the number of a `decision`.
            by: who decides.
            job_id: the match job that was looked at.

        Raises:
            ConflictError: a text is another one than that whose hash is given.
        """
        request = {"source": source, "target": target, "by": by, "job": job_id}
        document = self._transport.post(
            "/v1/decisions",
            json={**request, "decisions": list(decisions)},
            # Saying the same again adds nothing.
            repeatable=True,
        )
        return self._read(Decided, document).ids

    def decisions(
        self,
        *,
        source: str | None = None,
        target: str | None = None,
        by: str | None = None,
        in_force: bool = False,
    ) -> Iterator[Decision]:
        """Decisions in the order of time, fetched page by page."""
        chosen = {"source": source, "target": target, "by": by}
        params: dict[str, str | int | list[str]] = {
            "limit": 1_000,
            **{name: value for name, value in chosen.items() if value is not None},
            **({"in_force": "true"} if in_force else {}),
        }
        while True:
            page = self._transport.get("/v1/decisions", params)
            yield from self._items(Decision, page)
            if page.get("next") is None:
                return
            params["after"] = page["next"]

    def import_decisions(
        self,
        file: str | Path,
        *,
        source: str,
        target: str,
        by: str,
        strict: bool = False,
        on_bytes: uploads.OnBytes | None = None,
    ) -> Job:
        """Upload a CSV, NDJSON or Parquet file of decisions and start importing it.

        Its columns: source_key, target_key, verdict, and reviewer and note if it has them.

        Args:
            file: to upload.
            source: collection that the source keys belong to.
            target: the catalogue.
            by: who decided, where a row does not say it.
            strict: refuse the whole file if one row is bad.
            on_bytes: called with the bytes sent so far and the file's size, None if unknown.

        Raises:
            InputError: the file cannot be read.
        """
        path = Path(file)
        params: dict[str, str | int | list[str]] = {
            "source": source,
            "target": target,
            "by": by,
            "filename": path.name,
            **({"format": form} if (form := uploads.format_of(path)) else {}),
            **({"strict": "true"} if strict else {}),
        }
        size = uploads.size_of(path)
        document = self._transport.upload(
            "/v1/decisions/import",
            params,
            lambda: uploads.blocks(path, size, on_bytes),
            size=size,
        )
        return self._read(Job, document)

    def search(self, collection: str, text: str, *, limit: int = 10) -> list[Finding]:
        """Records of a collection that fit a text, the best first."""
        path = f"/v1/collections/{quote(collection, safe='')}/search"
        page = self._transport.get(path, {"q": text, "limit": limit})
        return list(self._items(Finding, page))

    def review(self, job_id: int) -> Review:
        """How far the review of a job has come, who did what, and how far people agree."""
        return self._read(Review, self._transport.get(f"/v1/jobs/{job_id}/review"))
