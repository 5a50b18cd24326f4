"""The client's calls about models: trained, judged, promoted, brought in and out, and ended."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aparella.client import modeltar, uploads
from aparella.client.calls import Calls
from aparella.client.models import Card, Job, Model, ModelDetail
from aparella.errors import InputError


class ModelCalls(Calls):
    """Calls about models. A model is named as `NAME`, its latest version, or `NAME@VERSION`."""

    def models(self) -> list[Model]:
        """All registered models."""
        return list(self._items(Model, self._transport.get("/v1/models")))

    def model(self, reference: str) -> ModelDetail:
        """All that is known of a model."""
        return self._read(ModelDetail, self._transport.get(_path(reference)))

    def card(self, reference: str) -> str | None:
        """A model's card, in Markdown; None if it has none."""
        return self._read(Card, self._transport.get(f"{self._version_path(reference)}/card")).text

    def train(
        self,
        name: str,
        pairs: Sequence[str],
        *,
        preset: str = "default",
        recipe: Mapping[str, int | float | str | bool] | None = None,
        base: str | None = None,
        category: str | None = None,
        refit: bool = True,
        promote: bool = False,
        by: str | None = None,
    ) -> Job:
        """Start training a new version of a model.

        Args:
            name: of the model; the server gives the version.
            pairs: names of pair sets.
            preset: recipe to start from, `default` or `seed`.
            recipe: what shall differ from it: `epochs`, `batch_size`, `learning_rate`, `seed`,
                `hard_negatives`.
            base: model to start from; the base model that comes with Aparella unless given.
            category: attribute of the catalogue's records by which figures are broken down and
                confidences corrected.
            refit: train once more on all pairs after the evaluation on the held-out ones.
            promote: make it the default if it passes the gate.
            by: who asks.
        """
        return self._submit(
            {
                "kind": "train",
                "name": name,
                "pairs": list(pairs),
                "preset": preset,
                "recipe": dict(recipe or {}),
                "base": base,
                "refit": refit,
                "category": category,
                "promote": promote,
                "by": by,
            }
        )

    def evaluate(self, model: str, pairs: str, *, category: str | None = None) -> Job:
        """Start judging a model by the held-out part of a pair set."""
        return self._submit(
            {"kind": "evaluate", "model": model, "pairs": pairs, "category": category}
        )

    def promote(self, model: str, *, reason: str | None = None, by: str | None = None) -> Job:
        """Start making a model the default; with a reason, even if the gate is against it."""
        return self._submit({"kind": "promote", "model": model, "reason": reason, "by": by})

    def rollback(self, *, by: str | None = None) -> ModelDetail:
        """Make the model the default again that was it before, and return it."""
        document = self._transport.post("/v1/models/rollback", json={"by": by})
        return self._read(ModelDetail, document)

    def retire(self, model: str) -> ModelDetail:
        """Drop a model's vectors; promoting it again builds them anew."""
        return self._read(
            ModelDetail, self._transport.post(f"{self._version_path(model, latest=False)}/retire")
        )

    def delete_model(self, model: str) -> None:
        """Delete a model: its vectors and its files."""
        self._transport.delete(self._version_path(model, latest=False))

    def export_model(
        self, model: str, folder: str | Path, *, on_bytes: Callable[[int], None] | None = None
    ) -> Path:
        """Write a model's folder, which `SentenceTransformer(folder)` loads, whole or not at all.

        Args:
            model: which.
            folder: that is not there yet, or is empty.
            on_bytes: called with the number of bytes received so far.

        Raises:
            InputError: the folder is there already, or cannot be written.
            ResourceExhaustedError: the disk is full.
        """
        folder = Path(folder)
        path = f"{self._version_path(model)}/export"
        with modeltar.receiving(folder) as file:
            self._transport.download(path, {}, file, on_bytes=on_bytes or (lambda _: None))
        return folder

    def import_model(
        self,
        folder: str | Path,
        name: str,
        *,
        by: str | None = None,
        on_bytes: uploads.OnBytes | None = None,
    ) -> ModelDetail:
        """Register a model that `SentenceTransformer.save` wrote, as a candidate.

        Args:
            folder: of the model.
            name: to register it under; it gets the next version.
            by: who asks.
            on_bytes: called with the bytes sent so far and their total.

        Raises:
            InputError: it is no such folder, or the server cannot use the model; says why.
        """
        params: dict[str, str | int | list[str]] = {} if by is None else {"by": by}
        with modeltar.packed(Path(folder)) as path:
            size = uploads.size_of(path)
            document = self._transport.upload(
                f"{_path(name)}/import",
                params,
                lambda: uploads.blocks(path, size, on_bytes),
                size=size,
            )
        return self._read(ModelDetail, document)

    def _version_path(self, reference: str, *, latest: bool = True) -> str:
        """Path of the version; what ends a model must name it, for a latest one may come."""
        if "@" in reference:
            return _path(reference)
        if not latest:
            raise InputError(
                f"'{reference}' has no version: write which one, such as {reference}@1.",
                field="model",
            )
        found: Any = self.model(reference)
        return _path(f"{found.name}@{found.version}")


def _path(reference: str) -> str:
    name, _, version = reference.partition("@")
    if "@" in reference and not version.isdecimal():
        raise InputError(
            f"'{reference}' is no model: write NAME or NAME@VERSION, such as {name or 'NAME'}@1.",
            field="model",
        )
    return "/v1/models/" + "/".join(quote(part, safe="") for part in (name, version) if part)
