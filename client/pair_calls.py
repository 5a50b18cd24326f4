"""The client's calls about pair sets: known pairs, from which models are trained."""

from pathlib import Path
from urllib.parse import quote

from aparella.client import uploads
from aparella.client.calls import Calls
from aparella.client.models import Collected, Job, PairSet, PairSetDetail


class PairCalls(Calls):
    """Calls about pair sets."""

    def import_pairs(
        self,
        name: str,
        file: str | Path,
        *,
        source: str | None = None,
        target: str | None = None,
        source_column: str | None = None,
        target_column: str | None = None,
        delimiter: str | None = None,
        encoding: str | None = None,
        strict: bool = False,
        on_bytes: uploads.OnBytes | None = None,
    ) -> Job:
        """Upload a CSV, NDJSON or Parquet file of known pairs and start importing it.

        A column `label` (1 or 0, 1 if there is none) tells pairs that belong together from those
        that are known not to, and a column `weight` (above 0, 1 if there is none) how much one
        counts.

        Args:
            name: of the pair set, created if there is none.
            file: to upload.
            source: collection that the keys of the file's sources belong to.
            target: collection that the keys of its targets belong to. Without the two
                collections the file holds texts instead of keys.
            source_column: `source_key` unless given, or `source_text` in a file of texts.
            target_column: `target_key` unless given, or `target_text` in a file of texts.
            delimiter: of a CSV file; found out by the server unless given.
            encoding: of a CSV file; found out by the server unless given.
            strict: refuse the whole file if one row is bad.
            on_bytes: called with the bytes sent so far and the file's size, None if unknown.

        Raises:
            InputError: the file cannot be read.
        """
        path = Path(file)
        optional = {
            "source": source,
            "target": target,
            "source_column": source_column,
            "target_column": target_column,
            "format": uploads.format_of(path),
            "delimiter": delimiter,
            "encoding": encoding,
            "strict": "true" if strict else None,
        }
        params: dict[str, str | int | list[str]] = {
            "filename": path.name,
            **{name: value for name, value in optional.items() if value is not None},
        }
        size = uploads.size_of(path)
        document = self._transport.upload(
            _path(name), params, lambda: uploads.blocks(path, size, on_bytes), size=size
        )
        return self._read(Job, document)

    def pair_sets(self) -> list[PairSet]:
        """All pair sets."""
        return list(self._items(PairSet, self._transport.get("/v1/pairs")))

    def pair_set(self, name: str) -> PairSetDetail:
        """One pair set: its figures, its folds, and what of it is stale."""
        return self._read(PairSetDetail, self._transport.get(_path(name)))

    def collect_pairs(self, name: str, *, source: str, target: str) -> Collected:
        """Make pairs of what people decided about matches of two collections.

        Args:
            name: of the pair set, created if there is none.
            source: collection that was matched.
            target: collection that it was matched with.
        """
        document = self._transport.post(
            f"{_path(name)}/decisions",
            json={"source": source, "target": target},
            # The second time it finds all of it there.
            repeatable=True,
        )
        return self._read(Collected, document)

    def delete_pairs(self, name: str) -> None:
        """Delete a pair set, with the evaluations on it."""
        self._transport.delete(_path(name))


def _path(name: str) -> str:
    return f"/v1/pairs/{quote(name, safe='')}"
