"""Catalogues as files that a machine's processes share: real files, locks and processes."""

import hashlib
import logging
import multiprocessing as mp
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from aparella.workers.arrays import Take
from aparella.workers.catalogues import Catalogues
from aparella.workers.matching import Catalogue, top_k

SPAWN = mp.get_context("spawn")
MOST = 1 << 30
DIM = 48
PART = 500


def part(number: int, dim: int = DIM) -> tuple[Any, Any, Any]:
    """500 records; a third of them have a text that others have, also in other parts."""
    rng = np.random.default_rng(number)
    ids = np.arange(number * PART, (number + 1) * PART, dtype=np.int64)
    texts = np.where(ids % 3 == 0, ids % 90, ids)
    hashes = np.array([b"%016d" % text for text in texts.tolist()], dtype="V16")
    vectors = rng.standard_normal((PART, dim), dtype=np.float32)
    return ids, hashes, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def writer(parts: int, name: str = "one", dim: int = DIM) -> Callable[[Take], str]:
    def write(take: Take) -> str:
        for number in range(parts):
            take(*part(number, dim))
        return name

    return write


def built(parts: int) -> Catalogue:
    """The same in memory of its own."""
    columns = [np.concatenate(column) for column in zip(*map(part, range(parts)), strict=True)]
    return Catalogue.build(columns[0], columns[1].tolist(), columns[2])


def bits(catalogue: Catalogue) -> list[tuple[str, tuple[int, ...], str]]:
    return [
        (str(array.dtype), array.shape, hashlib.sha256(array.tobytes()).hexdigest())
        for array in (catalogue.vectors, catalogue.ids, catalogue.starts)
    ]


def names(folder: Path) -> list[str]:
    """What is in the folder, but for the locks."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "catalogues"


@pytest.fixture
def catalogues(folder: Path) -> Catalogues:
    return Catalogues(folder, MOST)


def test_what_is_mapped_is_what_would_be_built(catalogues: Catalogues, folder: Path) -> None:
    mapped = catalogues.open("g", "one", 0, writer(5))
    assert mapped is not None
    assert mapped.mapped
    own = built(5)
    assert own.rows < len(own)
    assert bits(mapped) == bits(own)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "g-one").stat().st_mode & 0o777 == 0o700
    # Without a warning of torch's, which would be an error here.
    for exclude in (None, own.ids[:7]):
        for mine, theirs in zip(
            *(top_k(one, own.vectors[:7], 9, exclude) for one in (mapped, own)), strict=True
        ):
            np.testing.assert_array_equal(mine, theirs)


def test_a_second_one_is_not_built(catalogues: Catalogues, folder: Path) -> None:
    first = catalogues.open("g", "one", 0, writer(2))

    def never(_take: Take) -> str:
        raise AssertionError

    second = Catalogues(folder, MOST).open("g", "one", 0, never)
    assert first is not None
    assert second is not None
    assert bits(first) == bits(second)


def test_what_one_writes_no_other_sees(catalogues: Catalogues) -> None:
    first, second = (catalogues.open("g", "one", 0, writer(2)) for _ in range(2))
    assert first is not None
    assert second is not None
    first.vectors[:] = 7
    assert bits(second) == bits(built(2))
    third = catalogues.open("g", "one", 0, writer(2))
    assert third is not None
    assert bits(third) == bits(second)


def test_an_empty_one_is_none(catalogues: Catalogues, folder: Path) -> None:
    assert catalogues.open("g", "0", 0, writer(0)) is None
    assert names(folder) == []


def test_nothing_is_kept_where_nothing_may_be(folder: Path) -> None:
    assert Catalogues(folder, 0).open("g", "one", 0, writer(1)) is None
    assert not folder.exists()


# --- several processes ----------------------------------------------------------------------------


def _ask(folder: Path, barrier: Barrier, answers: Any, patience: float) -> None:
    """What a process does that needs the catalogue; it tells who has built it."""

    def write(take: Take) -> str:
        with (folder.parent / "built").open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.3)
        return writer(4)(take)

    barrier.wait(60)
    found = Catalogues(folder, MOST, patience=patience).open("g", "one", 0, write)
    answers.put(bits(found) if found is not None else None)
    barrier.wait(60)  # all have it at one time


@contextmanager
def processes(target: Callable[..., None], *each: tuple[Any, ...]) -> Iterator[list[Any]]:
    started = [SPAWN.Process(target=target, args=arguments) for arguments in each]
    for process in started:
        process.start()
    try:
        yield started
    finally:
        for process in started:
            process.join(60)
            process.kill()
            process.join()


def test_of_processes_that_ask_at_once_one_builds(folder: Path) -> None:
    barrier, answers = SPAWN.Barrier(4), SPAWN.Queue()
    with processes(_ask, *[(folder, barrier, answers, 600.0)] * 4) as started:
        found = [answers.get(timeout=60) for _ in started]
    assert found == [bits(built(4))] * 4
    assert len((folder.parent / "built").read_text().split()) == 1
    assert names(folder) == ["g-one"]


def _be_killed(folder: Path) -> None:
    def write(take: Take) -> str:
        take(*part(0))
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    Catalogues(folder, MOST).open("g", "one", 0, write)


def test_a_killed_builder_leaves_nothing_that_is_taken_for_whole(
    catalogues: Catalogues, folder: Path
) -> None:
    with processes(_be_killed, (folder,)) as (builder,):
        builder.join(60)
        assert builder.exitcode == -signal.SIGKILL
    (left,) = names(folder)
    assert left.startswith(".part-g-")
    assert (folder / left / "vectors.npy").exists()
    found = catalogues.open("g", "one", 0, writer(3))
    assert found is not None
    assert bits(found) == bits(built(3))
    assert names(folder) == ["g-one"]


def _hang(folder: Path, building: Event, release: Event) -> None:
    def write(take: Take) -> str:
        building.set()
        release.wait(60)
        return writer(1)(take)

    Catalogues(folder, MOST).open("g", "one", 0, write)


def test_nobody_waits_for_ever(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    building, release = SPAWN.Event(), SPAWN.Event()
    with processes(_hang, (folder, building, release)):
        assert building.wait(60)
        assert Catalogues(folder, MOST, patience=0.2).open("g", "one", 0, writer(1)) is None
        assert "another process has been building" in caplog.text
        # Another collection's is no business of theirs.
        assert Catalogues(folder, MOST, patience=0.2).open("h", "one", 0, writer(1)) is not None
        release.set()


def _hold(folder: Path, shared: bool, barrier: Barrier, answers: Any) -> None:
    """Hold a catalogue, shared or not; tells how much memory of this process's own that takes."""
    rows, dim = 60_000, 384
    process = psutil.Process()
    part(0, dim)[2].sum()  # what numpy sets up at its first use
    before = process.memory_full_info().uss
    if shared:
        found = Catalogues(folder, MOST).open("g", "one", 0, writer(rows // PART, "one", dim))
        assert found is not None
        held: NDArray[np.float32] = found.vectors
    else:
        held = np.concatenate([part(number, dim)[2] for number in range(rows // PART)])
    held.sum()  # each page is read
    barrier.wait(60)
    answers.put((held.nbytes, process.memory_full_info().uss - before))
    barrier.wait(60)


@pytest.mark.parametrize("shared", [True, False])
def test_two_processes_hold_the_matrix_once(folder: Path, shared: bool) -> None:
    barrier, answers = SPAWN.Barrier(2), SPAWN.Queue()
    with processes(_hold, *[(folder, shared, barrier, answers)] * 2):
        found = [answers.get(timeout=60) for _ in range(2)]
    matrix = max(nbytes for nbytes, _ in found)
    grown = sum(taken for _, taken in found)
    assert matrix > 55 << 20
    # Each has its own ids and rows while it builds; of the matrix nothing.
    assert grown < 0.5 * matrix if shared else grown > 1.9 * matrix, (grown, matrix)


# --- what goes wrong ------------------------------------------------------------------------------


@contextmanager
def small_files(most: int) -> Iterator[None]:
    """No file of this process may grow beyond so many bytes: as on a full disk, a write fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("most", [1 << 10, 300 << 10, 773_000])
def test_a_disk_that_is_full_while_it_is_written(
    catalogues: Catalogues, folder: Path, caplog: pytest.LogCaptureFixture, most: int
) -> None:
    with small_files(most):
        assert catalogues.open("g", "one", 0, writer(12)) is None
    assert "cannot be shared" in caplog.text
    assert names(folder) == []
    assert catalogues.open("g", "one", 0, writer(12)) is not None


def test_a_folder_that_cannot_be_made(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    catalogues = Catalogues(tmp_path / "file" / "catalogues", MOST)
    assert not catalogues.has_room("g", 1)
    assert catalogues.open("g", "one", 0, writer(1)) is None
    assert "cannot be shared" in caplog.text


def test_a_folder_that_others_may_write_to(
    catalogues: Catalogues, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    assert not catalogues.has_room("g", 1)
    assert catalogues.open("g", "one", 0, writer(1)) is None
    assert "others may write there" in caplog.text


@pytest.mark.parametrize("name", ["vectors.npy", "ids.npy", "starts.npy"])
@pytest.mark.parametrize("length", [None, 0, 5, 200])
def test_a_damaged_one_is_built_anew(
    catalogues: Catalogues, folder: Path, name: str, length: int | None
) -> None:
    assert catalogues.open("g", "one", 0, writer(2)) is not None
    if length is None:
        (folder / "g-one" / name).unlink()
    else:
        os.truncate(folder / "g-one" / name, length)
    found = catalogues.open("g", "one", 0, writer(2))
    assert found is not None
    assert bits(found) == bits(built(2))
    assert names(folder) == ["g-one"]


def test_an_error_of_who_reads_is_not_hidden(catalogues: Catalogues, folder: Path) -> None:
    def fail(take: Take) -> str:
        take(*part(0))
        raise RuntimeError("the database went away")

    with pytest.raises(RuntimeError, match="went away"):
        catalogues.open("g", "one", 0, fail)
    assert names(folder) == []


# --- what goes away -------------------------------------------------------------------------------


def test_older_ones_go_unless_somebody_has_them(
    catalogues: Catalogues, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first = catalogues.open("g", "one", 0, writer(1, "one"))
    other = catalogues.open("h", "one", 0, writer(1, "one"))
    assert first is not None
    assert other is not None
    del other
    rows = first.vectors[3:5]
    before = rows.copy()
    del first
    assert catalogues.open("g", "two", 0, writer(2, "two")) is not None
    # A part of the first one's matrix is enough to have it.
    assert names(folder) == ["g-one", "g-two", "h-one"]
    np.testing.assert_array_equal(rows, before)
    del rows
    assert catalogues.open("g", "three", 0, writer(3, "three")) is not None
    assert names(folder) == ["g-three", "h-one"]


def test_one_that_changed_while_it_was_read_has_its_new_name(
    catalogues: Catalogues, folder: Path
) -> None:
    assert catalogues.open("g", "old", 0, writer(2, "new")) is not None
    assert names(folder) == ["g-new"]
    again = catalogues.open("g", "old", 0, writer(2, "new"))
    assert again is not None
    assert bits(again) == bits(built(2))
    assert names(folder) == ["g-new"]


def test_what_is_mapped_outlives_its_file(catalogues: Catalogues, folder: Path) -> None:
    found = catalogues.open("g", "one", 0, writer(3))
    assert found is not None
    shutil.rmtree(folder)
    assert bits(found) == bits(built(3))


def test_what_nobody_opened_for_a_week_goes(catalogues: Catalogues, folder: Path) -> None:
    for group in ("g", "h"):
        assert catalogues.open(group, "one", 0, writer(1)) is not None
    (folder / ".part-x-1").mkdir()
    (folder / ".part-y-1").mkdir()
    long_ago = time.time() - 8 * 24 * 60 * 60
    os.utime(folder / "g-one", (long_ago, long_ago))
    os.utime(folder / ".part-x-1", (long_ago, long_ago))
    assert catalogues.open("i", "one", 0, writer(1)) is not None
    assert names(folder) == [".part-y-1", "h-one", "i-one"]
    os.utime(folder / "h-one", (long_ago, long_ago))
    assert catalogues.open("h", "one", 0, writer(1)) is not None  # which is to use it
    assert catalogues.open("j", "one", 0, writer(1)) is not None
    assert names(folder) == [".part-y-1", "h-one", "i-one", "j-one"]


def test_all_together_have_a_bound(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    size = 4 * PART * DIM + 10_000
    catalogues = Catalogues(folder, 2 * size)
    held = catalogues.open("g", "one", size, writer(1))
    assert catalogues.open("h", "one", size, writer(1)) is not None
    assert catalogues.open("i", "one", size, writer(1)) is not None
    assert names(folder) == ["g-one", "i-one"]
    also = catalogues.open("i", "one", size, writer(1))
    assert catalogues.open("j", "one", size, writer(1)) is None
    assert "APARELLA_CATALOGUE_DISK_MB" in caplog.text
    assert held is not None
    assert also is not None
    assert catalogues.has_room("i", 2 * size)
    assert not catalogues.has_room("j", 2 * size + 1)
    assert not catalogues.has_room("j", shutil.disk_usage(folder).total)
