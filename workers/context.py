"""What a worker process keeps from chunk to chunk: its engine, its model, its catalogue."""

import hashlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import sqlalchemy as sa

from aparella import artifacts, machine
from aparella.db import contents, models, records, vectors
from aparella.db.contents import Content
from aparella.db.engine import transaction
from aparella.errors import AparellaError, ResourceExhaustedError
from aparella.settings import Settings
from aparella.workers.arrays import Take
from aparella.workers.catalogues import Catalogues
from aparella.workers.encoder import Encoder, load_encoder
from aparella.workers.fusion.model import Fusion
from aparella.workers.fusion.search import Shelf
from aparella.workers.matching import Catalogue

log = logging.getLogger(__name__)

_SIGN_OF_LIFE = 5.0
"""Seconds between two ticks while a statement runs."""


class Tick(Protocol):
    """A sign of life from a chunk's work; raises to stop it."""

    def __call__(self, done: int, detail: Mapping[str, Any] | None = None) -> None:
        """Note progress.

        Args:
            done: items done since the last call.
            detail: what the work says about itself, for a chunk that is one long piece of work.
        """


@dataclass(frozen=True)
class Outcome:
    """What a chunk's work came to: of `size` items, `failed` have an error of their own.

    `fatal` ends the job: its sentence says why.
    """

    size: int
    failed: int = 0
    fatal: str | None = None


Write = Callable[[sa.Connection], Outcome]
"""Writes a chunk's results in the transaction that marks it done."""


@contextmanager
def waiting(
    tick: Tick, look: Callable[[], Mapping[str, Any] | None] | None = None
) -> Iterator[None]:
    """Give signs of life while the block waits for the database's own work.

    An index build may take an hour in one statement: the worker is not hung meanwhile. What
    `tick` raises is left for the next one to raise in the work's own thread.

    Args:
        tick: the sign of life.
        look: how far that work is, for the job to show; called in another thread.
    """
    done = threading.Event()

    def live() -> None:
        while not done.wait(_SIGN_OF_LIFE):
            with suppress(AparellaError):
                tick(0, look() if look else None)

    thread = threading.Thread(target=live, name="waiting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@dataclass
class Context:
    """A worker process's state. One of each is kept, whichever was used last."""

    db: sa.Engine
    settings: Settings
    _encoder: tuple[int, Encoder] | None = field(default=None, repr=False)
    _catalogue: tuple[object, Catalogue] | None = field(default=None, repr=False)
    _shelf: tuple[object, Shelf] | None = field(default=None, repr=False)
    _fusion: tuple[int, Fusion] | None = field(default=None, repr=False)

    def encoder(self, model_id: int) -> Encoder:
        """The model's encoder, loaded once.

        Raises:
            JobError: the artifact is not the registered one, or does not load.
        """
        if self._encoder is None or self._encoder[0] != model_id:
            self._encoder = None
            with transaction(self.db) as connection:
                model = models.model_by_id(connection, model_id)
            if self.settings.encoder == "sentence-transformers":
                path = artifacts.fetch(model.artifact_url, model.sha256, model.files)
                precision = self.settings.precision
                self._encoder = (model_id, load_encoder("sentence-transformers", path, precision))
            else:
                self._encoder = (model_id, load_encoder(self.settings.encoder, None))
            log.info("model %s loaded", model)
        return self._encoder[1]

    def catalogue(self, model_id: int, collection_id: int, stamp: object, tick: Tick) -> Catalogue:
        """A collection's vectors as a matrix, which this machine's processes share if they can.

        Args:
            model_id: whose vectors.
            collection_id: whose records.
            stamp: what the catalogue was when the job looked (edition and rows): another stamp
                looks what it is now.
            tick: given signs of life while it is built, here or by another process.

        Raises:
            ResourceExhaustedError: it can neither be shared nor held.
        """
        key = (model_id, collection_id, repr(stamp))
        if self._catalogue is None or self._catalogue[0] != key:
            self._catalogue = None
            with waiting(tick):
                with transaction(self.db) as connection:
                    content = contents.look(connection, model_id, collection_id)
                found = self._shared(model_id, collection_id, content) if content.rows else None
                if found is None:
                    found = self._own(model_id, collection_id, content)
            self._catalogue = (key, found)
        return self._catalogue[1]

    def matrix_memory(self, model_id: int, collection_id: int, rows: int) -> tuple[int, bool]:
        """What a catalogue of so many records may take here.

        Returns:
            MiB, and whether that is for all of this worker's processes together: they share it.
        """
        own = self.settings.match_memory_mb
        need = Content(rows, 0).bytes
        if not self.catalogues.has_room(self._group(model_id, collection_id), need):
            return own, False
        together = self.settings.catalogue_memory_mb
        return own if together is None else together, True

    @cached_property
    def catalogues(self) -> Catalogues:
        """Those of this machine."""
        folder = self.settings.catalogue_folder
        return Catalogues(Path(folder) if folder else None, self.settings.catalogue_disk_mb << 20)

    def _group(self, model_id: int, collection_id: int) -> str:
        """The files' name for a collection by a model, apart from those of other databases."""
        url = self.db.url
        database = hashlib.sha256(f"{url.host}:{url.port}/{url.database}".encode()).hexdigest()
        return f"{database[:8]}-{model_id}-{collection_id}"

    def _shared(self, model_id: int, collection_id: int, content: Content) -> Catalogue | None:
        def write(take: Take) -> str:
            def block(part: vectors.Block) -> None:
                take(part.ids, part.hashes, part.vectors)

            with transaction(self.db) as connection:
                return contents.read(connection, model_id, collection_id, block).name

        group = self._group(model_id, collection_id)
        return self.catalogues.open(group, content.name, content.bytes, write)

    def _own(self, model_id: int, collection_id: int, content: Content) -> Catalogue:
        free = machine.memory_free()
        if free is not None and content.bytes > free:
            # Better than to be killed for it, with whatever else runs here.
            raise ResourceExhaustedError(
                f"The catalogue takes {content.bytes >> 20:,} MiB of memory, and "
                f"{free >> 20:,} are free. Let this machine's processes share it "
                "(APARELLA_CATALOGUE_FOLDER)."
            )
        with transaction(self.db) as connection:
            block = vectors.load(connection, model_id, collection_id)
        return Catalogue.build(block.ids, block.hashes.tolist(), block.vectors)

    def shelf(self, collection_id: int, stamp: object, tick: Tick) -> Shelf:
        """A collection's texts, ready to be compared with lines.

        Args:
            collection_id: whose records.
            stamp: as for `catalogue`.
            tick: given signs of life while it is made.
        """
        key = (collection_id, repr(stamp))
        if self._shelf is None or self._shelf[0] != key:
            self._shelf = None
            with waiting(tick):
                pages = list(records.text_pages(self.db, collection_id))
                ids = np.concatenate([page for page, _ in pages] or [np.empty(0, np.int64)])
                shelf = Shelf.build(ids, [text for _, page in pages for text in page])
            self._shelf = (key, shelf)
        return self._shelf[1]

    def fusion(self, model_id: int, tick: Tick) -> Fusion:
        """How a model's version weighs evidence; `tick` is given signs of life.

        Raises:
            JobError: the artifact is not the registered one.
        """
        if self._fusion is None or self._fusion[0] != model_id:
            with transaction(self.db) as connection:
                model = models.model_by_id(connection, model_id)
            with waiting(tick):
                folder = artifacts.fetch(model.artifact_url, model.sha256, model.files)
            self._fusion = (model_id, Fusion.load(folder))
        return self._fusion[1]
