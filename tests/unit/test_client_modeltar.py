import io
import tarfile
from pathlib import Path

import pytest

from aparella.client import modeltar
from aparella.errors import ResourceExhaustedError


def tar(*entries: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        for entry in entries:
            entry.size = 3 if entry.isreg() else 0
            file.addfile(entry, io.BytesIO(b"abc"))
    return out.getvalue()


def link() -> tarfile.TarInfo:
    entry = tarfile.TarInfo("link")
    entry.type, entry.linkname = tarfile.SYMTYPE, "/etc"
    return entry


def test_a_folder_goes_in_and_out(tmp_path: Path) -> None:
    (tmp_path / "model" / "1_Pooling").mkdir(parents=True)
    (tmp_path / "model" / "modules.json").write_text("[]")
    (tmp_path / "model" / "1_Pooling" / "config.json").write_text("{}")
    with modeltar.packed(tmp_path / "model") as packed:
        content = packed.read_bytes()
    with modeltar.receiving(tmp_path / "back") as file:
        file.write(content)
    found = {
        p.relative_to(tmp_path / "back").as_posix() for p in (tmp_path / "back").rglob("*.json")
    }
    assert found == {"modules.json", "1_Pooling/config.json"}


@pytest.mark.parametrize(
    "entry", [tarfile.TarInfo("../outside"), tarfile.TarInfo("/tmp/outside"), link()]
)
def test_what_leads_out_of_the_folder_is_not_written(
    entry: tarfile.TarInfo, tmp_path: Path
) -> None:
    with (
        pytest.raises(ResourceExhaustedError, match="is no file of a model"),
        modeltar.receiving(tmp_path / "model") as file,
    ):
        file.write(tar(tarfile.TarInfo("modules.json"), entry))
    assert list(tmp_path.iterdir()) == []
