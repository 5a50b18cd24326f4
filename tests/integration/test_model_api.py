"""Models over HTTP: shown, exported, imported, rolled back, retired, deleted."""

import io
import json
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from aparella import artifacts
from aparella.client import modeltar
from aparella.db import jobs, models, registry
from aparella.db.engine import transaction
from aparella.settings import Settings
from aparella.workers.text import CLEANER_VERSION

BASE = "/v1/models/all-MiniLM-L6-v2/1"
TRANSFORMER = "sentence_transformers.base.modules.transformer.Transformer"
POOLING = "sentence_transformers.sentence_transformer.modules.pooling.Pooling"
DENSE = "sentence_transformers.models.Dense"


def safetensors(dtype: str = "F32", size: int = 8) -> bytes:
    tensor = {"dtype": dtype, "shape": [size // 4], "data_offsets": [0, size]}
    header = json.dumps({"w": tensor}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size)


def modules(*kinds: tuple[str, str]) -> bytes:
    listed = [{"idx": i, "path": path, "type": kind} for i, (kind, path) in enumerate(kinds)]
    return json.dumps(listed).encode()


def files(**changed: Any) -> dict[str, bytes]:
    given = {
        "modules.json": modules((TRANSFORMER, ""), (POOLING, "1_Pooling")),
        "config.json": b'{"hidden_size": 384, "max_position_embeddings": 512}',
        "1_Pooling/config.json": b'{"embedding_dimension": 384, "pooling_mode": "mean"}',
        "model.safetensors": safetensors(),
        "tokenizer.json": b"{}",
        "sentence_bert_config.json": b'{"max_seq_length": 128}',
        "README.md": b"---\nbase_model: somebody/small\n---\n# A card\n",
    }
    return {**given, **changed}


def tar(contents: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as packed:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def bring(api: TestClient, content: bytes, name: str = "own") -> httpx2.Response:
    return api.post(f"/v1/models/{name}/import", params={"by": "ana"}, content=content)


def store(settings: Settings) -> list[Path]:
    folder = Path(settings.artifacts.removeprefix("file://")) / "models"
    return list(folder.iterdir()) if folder.exists() else []


def detail(response: httpx2.Response, status: int) -> str:
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    return str(response.json()["detail"])


def test_an_import_is_a_candidate(api: TestClient, settings: Settings) -> None:
    answer = bring(api, tar(files()))
    assert answer.status_code == 201, answer.text
    assert answer.headers["Location"] == "/v1/models/own/1"
    model = answer.json()
    assert (model["status"], model["max_seq_length"], model["base_model"], model["created_by"]) == (
        "candidate",
        128,
        "somebody/small",
        "ana",
    )
    assert model["cleaner_version"] == CLEANER_VERSION
    assert set(model["files"]) == files().keys() - {"README.md"}
    assert api.get("/v1/models/own/1").json() == model == api.get("/v1/models/own").json()
    assert api.get("/v1/models/own/1/card").json()["text"].endswith("# A card\n")
    assert [one["name"] for one in api.get("/v1/models").json()["items"]] == [
        "all-MiniLM-L6-v2",
        "own",
    ]
    # A folder in the tar is looked into, and the next one gets the next version.
    again = bring(api, tar({f"model/{name}": content for name, content in files().items()}))
    assert again.json()["version"] == 2
    assert len(store(settings)) == 2


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"config.json": b'{"hidden_size": 384, "auto_map": {}}'}, "code of its own"),
        ({"config.json": b'{"hidden_size": 384, "dtype": "float16"}'}, "weights are of float16"),
        ({"config.json": b"["}, "its config.json is no JSON"),
        ({"model.safetensors": safetensors("F16")}, "has weights of F16"),
        ({"model.safetensors": safetensors()[:-1]}, "is cut short or damaged"),
        ({"model.safetensors": b"PK"}, "is no safetensors file"),
        ({"model.safetensors": b"\xff" * 64}, "is no safetensors file"),
        ({"modules.json": modules(("evil.Module", ""))}, "the class 'evil.Module'"),
        ({"modules.json": modules((TRANSFORMER, "../.."))}, "leads out of the folder"),
        ({"modules.json": modules(("sentence_transformers.models.CNN", ""))}, "a module 'CNN'"),
        ({"pytorch_model.bin": b"x"}, "'pytorch_model.bin' is not taken: pickles"),
        ({"../evil.json": b"{}"}, "leads out of the model's folder"),
        ({"/etc/evil.json": b"{}"}, "leads out of the model's folder"),
        (
            {"config_sentence_transformers.json": b'{"default_prompt_name": "query"}'},
            "it puts a prompt ('query') before each text, which Aparella does not do",
        ),
        (
            {"config_sentence_transformers.json": b'{"model_type": "SparseEncoder"}'},
            "it is a SparseEncoder",
        ),
        (
            {"1_Pooling/config.json": b'{"embedding_dimension": 768, "pooling_mode": "mean"}'},
            "768 numbers, and Aparella stores 384: the column of the vectors and its index are 384",
        ),
        (
            {"1_Pooling/config.json": b'{"embedding_dimension": 384, "pooling_mode": ["a", "b"]}'},
            "vectors of 768 numbers",
        ),
        (
            {
                "1_Pooling/config.json": b'{"word_embedding_dimension": 384,'
                b' "pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": true}'
            },
            "vectors of 768 numbers",
        ),
        (
            {
                "modules.json": modules((TRANSFORMER, ""), (POOLING, "1_Pooling"), (DENSE, "2")),
                "2/config.json": b'{"in_features": 384, "out_features": 256}',
            },
            "vectors of 256 numbers",
        ),
    ],
)
def test_what_is_not_imported(
    api: TestClient, settings: Settings, changed: dict[str, bytes], words: str
) -> None:
    assert words in detail(bring(api, tar(files(**changed))), 422)
    assert store(settings) == []
    assert len(api.get("/v1/models").json()["items"]) == 1


@pytest.mark.parametrize("missing", ["modules.json", "config.json", "model.safetensors"])
def test_a_file_that_is_missing(api: TestClient, missing: str) -> None:
    contents = files()
    del contents[missing]
    assert f"it has no {missing}" in detail(bring(api, tar(contents)), 422)


def test_a_dense_module_may_make_the_width_right(api: TestClient) -> None:
    contents = files(
        **{
            "config.json": b'{"hidden_size": 768}',
            "1_Pooling/config.json": b'{"embedding_dimension": 768, "pooling_mode": "cls"}',
            "modules.json": modules((TRANSFORMER, ""), (POOLING, "1_Pooling"), (DENSE, "2_Dense")),
            "2_Dense/config.json": b'{"in_features": 768, "out_features": 384}',
            "2_Dense/model.safetensors": safetensors(),
        }
    )
    assert bring(api, tar(contents)).status_code == 201


def odd(kind: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as packed:
        entry = tarfile.TarInfo("config.json")
        entry.type, entry.linkname = kind, "/etc/passwd"
        packed.addfile(entry)
    return buffer.getvalue()


def long_header() -> bytes:
    entry = tarfile.TarInfo("x")
    entry.type, entry.size = tarfile.XHDTYPE, 1 << 30
    return entry.tobuf(tarfile.USTAR_FORMAT) + bytes(1024)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read to its end"),
        (tar({}), "It holds no files."),
        (b"x" * 5000, "Pack the folder with `tar -cf`"),
        (odd(tarfile.SYMTYPE), "'config.json' is no plain file: links"),
        (odd(tarfile.LNKTYPE), "'config.json' is no plain file: links"),
        (odd(tarfile.CHRTYPE), "'config.json' is no plain file: links"),
        (long_header(), "One of its headers is too long."),
        (tar(files())[:2000], "cannot be read to its end"),
        (tar({f"{i}.json": b"" for i in range(201)}), "more than 200 files"),
        (tar({"a.json": b"{}", "a.json/b.json": b"{}"}), "both a file's and a folder's"),
    ],
)
def test_what_is_no_tar_of_a_model(api: TestClient, content: bytes, words: str) -> None:
    assert words in detail(bring(api, content), 422)


def test_a_round_trip_of_the_base_model(
    api: TestClient, settings: Settings, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    answer = api.get(f"{BASE}/export")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/x-tar")
    with modeltar.receiving(tmp_path / "model") as file:
        file.write(answer.content)
    assert api.get(f"{BASE}/card").json()["text"] == (tmp_path / "model/README.md").read_text()
    texts = ["XERINGA 150ML", "AGULLA 20G"]
    model = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    before = model.encode(texts)
    model.save(str(tmp_path / "saved"))
    contents = {
        path.relative_to(tmp_path / "saved").as_posix(): path.read_bytes()
        for path in (tmp_path / "saved").rglob("*")
        if path.is_file()
    }
    imported = bring(api, tar(contents))
    assert imported.status_code == 201, imported.text
    assert imported.json()["max_seq_length"] == 256
    again = api.get("/v1/models/own/1/export")
    with modeltar.receiving(tmp_path / "again") as file:
        file.write(again.content)
    loaded = SentenceTransformer(str(tmp_path / "again"), device="cpu")
    np.testing.assert_allclose(loaded.encode(texts), before, atol=1e-6)
    # What is in the store changed: it is not sent.
    (store(settings)[0] / "config.json").write_text("{}")
    artifacts._verified.clear()
    words = detail(api.get("/v1/models/own/1/export"), 409)
    assert "its config.json has sha256 44136fa355b3…, registered is " in words


def promote(db: sa.Engine, name: str) -> None:
    with transaction(db) as connection:
        registry.switch(
            connection,
            models.find_model(connection, name).id,
            kind="promote",
            reason="we looked",
            verdict={"passed": False},
            job_id=None,
            by="ana",
            cleaner_version=CLEANER_VERSION,
        )


def test_a_rollback(api: TestClient, db: sa.Engine) -> None:
    assert "No model was promoted before" in detail(api.post("/v1/models/rollback"), 409)
    bring(api, tar(files()))
    promote(db, "own")
    (step,) = api.get("/v1/models/own/1").json()["promotions"]
    assert (step["kind"], step["reason"], step["previous"], step["promoted_by"]) == (
        "promote",
        "we looked",
        "all-MiniLM-L6-v2@1",
        "ana",
    )
    answer = api.post("/v1/models/rollback", json={"by": "eva"})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["name"], answer.json()["status"]) == ("all-MiniLM-L6-v2", "promoted")
    assert answer.json()["promotions"][-1]["promoted_by"] == "eva"
    assert api.get("/v1/models/own").json()["status"] == "superseded"


def test_retired_and_deleted(api: TestClient, settings: Settings) -> None:
    bring(api, tar(files()))
    assert api.post("/v1/models/own/1/retire").json()["status"] == "retired"
    assert api.get("/v1/models/own/1").json()["status"] == "retired"
    assert api.delete("/v1/models/own/1").status_code == 204
    assert store(settings) == []
    for call in (api.get, api.delete):
        assert detail(call("/v1/models/own/1"), 404) == "own@1 was deleted."
    assert "There is no model 'other'" in detail(api.get("/v1/models/other"), 404)


def test_what_a_training_left_goes_with_its_model(
    api: TestClient, settings: Settings, db: sa.Engine
) -> None:
    bring(api, tar(files()))
    with transaction(db) as connection:
        model = models.find_model(connection, "own@1")
        job_id, _ = jobs.create(
            connection,
            kind="train",
            params={},
            plan=[jobs.NewStage("train", "train", "train")],
            model_id=model.id,
        )
        jobs.end(connection, job_id, "failed", "the disk is full")
    left = Path(artifacts.checkpoints(settings.artifacts, model.id).removeprefix("file://"))
    (left / "half-0" / "step-000000001").mkdir(parents=True)
    assert api.delete("/v1/models/own/1").status_code == 204
    assert not left.exists()
    said = detail(api.post(f"/v1/jobs/{job_id}/retry"), 409)
    assert "own@1 was deleted" in said


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda api: api.delete(BASE), "comes with Aparella and cannot be deleted"),
        (lambda api: api.post(f"{BASE}/retire"), "is promoted and cannot be retired"),
    ],
)
def test_the_base_model_stays(
    api: TestClient, call: Callable[[TestClient], httpx2.Response], words: str
) -> None:
    assert words in detail(call(api), 409)


def test_a_version_is_a_number(api: TestClient) -> None:
    assert "such as 2" in detail(api.get("/v1/models/own/latest"), 422)
