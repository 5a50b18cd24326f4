import errno
from pathlib import Path

import fsspec
import pytest

from aparella.errors import ResourceExhaustedError, ServiceUnavailableError
from aparella.workers.training.checkpoints import Checkpoints
from aparella.workers.training.disk import whole


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    place = f"{tmp_path}/store" if request.param == "file" else f"/{tmp_path.name}/store"
    return f"{request.param}://{place}"


def folder(path: Path, word: str) -> Path:
    (path / "deep").mkdir(parents=True, exist_ok=True)
    (path / "weights").write_text(word * 1_000)
    (path / "deep" / "state").write_text(word)
    return path


def read(found: Path | None) -> str:
    assert found is not None
    word = (found / "deep" / "state").read_text()
    assert (found / "weights").read_text() == word * 1_000
    return word


def test_the_newest_is_found_and_two_are_kept(url: str, tmp_path: Path) -> None:
    checkpoints = Checkpoints(url)
    assert checkpoints.latest(tmp_path / "into") is None
    for step, word in ((9, "a"), (10, "b"), (100, "c")):
        checkpoints.save(folder(tmp_path / "made", word), step)
    assert read(Checkpoints(url).latest(tmp_path / "into")) == "c"
    filesystem, root = fsspec.core.url_to_fs(url)
    assert len(filesystem.ls(root)) == 4
    checkpoints.clear()
    assert checkpoints.latest(tmp_path / "into") is None
    checkpoints.clear()


@pytest.mark.parametrize("harm", ["marker", "file", "bytes", "size", "json"])
def test_one_that_is_not_whole_is_passed_over(url: str, tmp_path: Path, harm: str) -> None:
    checkpoints = Checkpoints(url)
    checkpoints.save(folder(tmp_path / "made", "a"), 1)
    checkpoints.save(folder(tmp_path / "made", "b"), 2)
    filesystem, root = fsspec.core.url_to_fs(url)
    newest = f"{root}/step-000000002"
    if harm == "marker":
        filesystem.rm(newest + ".complete.json")
    elif harm == "json":
        filesystem.pipe_file(newest + ".complete.json", b"{")
    elif harm == "file":
        filesystem.rm(newest + "/deep/state")
    else:
        filesystem.pipe_file(newest + "/weights", b"x" * (1_000 if harm == "bytes" else 3))
    assert read(checkpoints.latest(tmp_path / "into")) == "a"
    assert len(list((tmp_path / "into").iterdir())) == 1
    checkpoints.save(folder(tmp_path / "made", "c"), 2)  # over the damaged one
    assert read(checkpoints.latest(tmp_path / "into")) == "c"


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.ENOSPC, ResourceExhaustedError), (errno.EIO, ServiceUnavailableError)],
)
def test_a_store_that_fails_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[Exception]
) -> None:
    checkpoints = Checkpoints(f"file://{tmp_path}/store")
    checkpoints.save(folder(tmp_path / "made", "a"), 1)
    real = fsspec.implementations.local.LocalFileSystem.put_file

    def fail(self: object, source: str, target: str) -> None:
        real(self, source, target)
        if target.endswith("weights"):
            raise OSError(number, "no")

    monkeypatch.setattr(fsspec.implementations.local.LocalFileSystem, "put_file", fail)
    with pytest.raises(expected):
        checkpoints.save(folder(tmp_path / "made", "b"), 2)
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == [
        "step-000000001",
        "step-000000001.complete.json",
    ]
    assert read(checkpoints.latest(tmp_path / "into")) == "a"


def write(out: Path, error: Exception) -> None:
    with whole(out) as part:
        (part / "a").write_text("2")
        raise error


def test_a_folder_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    with whole(tmp_path / "out") as part:
        (part / "a").write_text("1")
    for error, expected in (
        (OSError(errno.ENOSPC, "full"), ResourceExhaustedError),
        (ValueError("x"), ValueError),
    ):
        with pytest.raises(expected):
            write(tmp_path / "out", error)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "a").read_text() == "1"
