"""The catalogue that a worker's processes share, from the database to the job's plan."""

import logging
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from aparella import machine
from aparella.db import contents, engine, vectors
from aparella.db.engine import transaction
from aparella.errors import ResourceExhaustedError
from aparella.workers.context import Context
from aparella.workers.matching import Catalogue
from tests.integration import drive
from tests.integration.catalogues import Filled, clustered, fill

LIST = [(f"L{i}", f"AGULLA {i % 20}G") for i in range(25)]
CATALOGUE = [(f"C{i}", f"AGULLA HIPODÈRMICA {i % 40}G") for i in range(60)]


def ignore(done: int, detail: object = None) -> None:
    """A tick that nobody looks at."""
    del done, detail


def catalogue(context: Context, filled: Filled, stamp: object = 1) -> Catalogue:
    return context.catalogue(filled.model_id, filled.collection_id, stamp, ignore)


def own(context: Context, filled: Filled) -> Catalogue:
    with transaction(context.db) as connection:
        block = vectors.load(connection, filled.model_id, filled.collection_id)
    return Catalogue.build(block.ids, block.hashes.tolist(), block.vectors)


def folders(context: Context) -> list[str]:
    found = Path(context.settings.catalogue_folder)
    return sorted(path.name for path in found.iterdir() if path.is_dir())


def same(one: Catalogue, other: Catalogue) -> bool:
    return all(
        getattr(one, name).tobytes() == getattr(other, name).tobytes()
        for name in ("vectors", "ids", "starts")
    )


@pytest.fixture
def filled(db: sa.Engine) -> Filled:
    return fill(db, "catalogue", clustered(3_000))


@pytest.fixture
def second(context: Context) -> Iterator[Context]:
    """Another process of the same machine."""
    db = engine.create(context.settings, name="second")
    yield Context(db, context.settings)
    db.dispose()


@contextmanager
def small_files(most: int) -> Iterator[None]:
    """No file of this process may grow beyond so many bytes: as on a full disk, a write fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_two_processes_open_one_file(context: Context, second: Context, filled: Filled) -> None:
    first = catalogue(context, filled)
    (folder,) = folders(context)
    built = (Path(context.settings.catalogue_folder) / folder / "vectors.npy").stat()
    other = catalogue(second, filled)
    assert first.mapped
    assert other.mapped
    assert same(first, own(context, filled))
    assert same(first, other)
    assert folders(context) == [folder]
    now = (Path(context.settings.catalogue_folder) / folder / "vectors.npy").stat()
    assert (now.st_ino, now.st_mtime) == (built.st_ino, built.st_mtime)
    assert catalogue(context, filled) is first


def test_another_stamp_looks_what_is_there_now(
    context: Context, second: Context, filled: Filled
) -> None:
    before = catalogue(context, filled)
    assert catalogue(second, filled, "edition 2").mapped
    assert len(folders(context)) == 1  # it is the same
    with transaction(context.db) as connection:
        connection.execute(
            sa.text("UPDATE record SET removed_at = now() WHERE id = :id"),
            {"id": int(filled.ids[17])},
        )
    after = catalogue(context, filled, "edition 3")
    assert len(after) == len(before) - 1
    assert same(after, own(context, filled))
    assert len(folders(context)) == 2  # the second process has the older one
    catalogue(second, filled, "edition 3")
    with transaction(context.db) as connection:
        connection.execute(
            sa.text("UPDATE record SET removed_at = NULL WHERE id = :id"),
            {"id": int(filled.ids[17])},
        )
    assert same(catalogue(context, filled, "edition 4"), before)


def test_one_bit_of_one_vector_is_another_content(context: Context, filled: Filled) -> None:
    def look() -> contents.Content:
        with transaction(context.db) as connection:
            return contents.look(connection, filled.model_id, filled.collection_id)

    before = look()
    assert look() == before
    assert before.rows == 3_000
    bit = filled.matrix[1_234].copy()
    bit[99] = np.nextafter(bit[99], np.float32(2))
    change = sa.text("UPDATE embedding SET embedding = CAST(:new AS vector) WHERE record_id = :id")
    with transaction(context.db) as connection:
        connection.execute(change, {"new": str(bit.tolist()), "id": int(filled.ids[1_234])})
    assert look().rows == before.rows
    assert look().name != before.name
    with transaction(context.db) as connection:
        blocks: list[vectors.Block] = []
        read = contents.read(connection, filled.model_id, filled.collection_id, blocks.append)
    assert read == look()
    assert np.concatenate([block.ids for block in blocks]).tolist() == filled.ids.tolist()


def test_an_empty_collection(context: Context) -> None:
    found = context.catalogue(1, 1, "none", ignore)
    assert (len(found), found.rows, found.mapped) == (0, 0, False)
    assert not Path(context.settings.catalogue_folder).exists()


def test_a_full_disk_fails_no_job(context: Context, caplog: pytest.LogCaptureFixture) -> None:
    drive.imported(context, "list", LIST)
    drive.imported(context, "catalogue", CATALOGUE)
    shared = drive.match(context.db, "list", "catalogue")
    drive.run(context)
    plan = drive.find(context.db, shared).summary["plan"]
    assert plan["search"] == "exact"
    assert plan["matrix_shared"] is True
    assert "where its worker processes share them" in plan["reason"]

    drive.imported(context, "catalogue", [*CATALOGUE, ("C99", "AGULLA DE PALOMETA 99G")])
    job_id = drive.match(context.db, "list", "catalogue")
    caplog.set_level(logging.WARNING)
    with small_files(20_000):
        drive.run(context)
    job = drive.find(context.db, job_id)
    assert job.state == "succeeded"
    assert "cannot be shared" in caplog.text
    plan = job.summary["plan"]
    assert plan["search"] == "exact"
    assert plan["matrix_shared"] is False
    assert "could not be shared" in plan["reason"]

    again = drive.match(context.db, "list", "catalogue")
    drive.run(Context(context.db, context.settings))
    assert drive.find(context.db, again).summary["plan"]["matrix_shared"] is True
    assert drive.results(context.db, again) == drive.results(context.db, job_id)


def test_a_folder_that_cannot_be_used_is_planned_for(context: Context, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    alone = context.settings.model_copy(
        update={"catalogue_folder": str(tmp_path / "file" / "x"), "catalogue_memory_mb": 4_000}
    )
    worker = Context(context.db, alone)
    assert worker.matrix_memory(1, 2, 10) == (alone.match_memory_mb, False)
    drive.imported(worker, "list", LIST)
    drive.imported(worker, "catalogue", CATALOGUE)
    job_id = drive.match(context.db, "list", "catalogue")
    drive.run(worker)
    job = drive.find(context.db, job_id)
    assert job.state == "succeeded"
    assert job.summary["plan"]["matrix_shared"] is False
    assert "each holding a copy of its own" in job.summary["plan"]["reason"]


def test_the_memory_of_all_bounds_what_they_share(context: Context) -> None:
    assert context.matrix_memory(1, 2, 10) == (context.settings.match_memory_mb, True)
    together = Context(
        context.db, context.settings.model_copy(update={"catalogue_memory_mb": 7_000})
    )
    assert together.matrix_memory(1, 2, 10) == (7_000, True)


def test_what_fits_nowhere_waits(
    context: Context, filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    none_shared = context.settings.model_copy(update={"catalogue_disk_mb": 0})
    alone = Context(context.db, none_shared)
    assert not catalogue(alone, filled).mapped
    monkeypatch.setattr(machine, "memory_free", lambda: 1_000_000)
    with pytest.raises(ResourceExhaustedError, match="APARELLA_CATALOGUE_FOLDER"):
        catalogue(alone, filled, "edition 2")
