"""The client and the command about models: against the real API, and against a scripted server."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import uvicorn
from typer.testing import CliRunner, Result

from aparella.api.app import create_app
from aparella.client import Client
from aparella.client.cli import app
from aparella.db import models, registry
from aparella.db.engine import transaction
from aparella.errors import InputError
from aparella.settings import Settings
from aparella.workers.text import CLEANER_VERSION
from tests.integration.contract_server import ContractServer, job, stage
from tests.integration.test_model_api import files

ROWS = [
    {"system": "hospital@1", "acc@1": 0.9, "mrr@10": 0.93, "low": 0.87, "high": 0.92},
    {"system": "character trigrams (TF-IDF)", "acc@1": 0.7},
]
DETAIL = {"step": 120, "steps": 400, "loss": 0.1234, "rate": 95.0}


@pytest.fixture
def server() -> Iterator[ContractServer]:
    server = ContractServer()
    server.jobs[7] = [job(7, "train", "queued")]
    yield server
    server.stop()


@pytest.fixture
def url(settings: Settings) -> Iterator[str]:
    """Of the real API, in a thread."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    api = uvicorn.Server(
        uvicorn.Config(create_app(settings), port=port, log_level="error", lifespan="on")
    )
    thread = threading.Thread(target=api.run)
    thread.start()
    while not api.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    api.should_exit = True
    thread.join()


def run(url: str, *args: object) -> Result:
    result = CliRunner().invoke(app, ["--url", url, *map(str, args)])
    assert "Traceback" not in result.output
    return result


def asked(server: ContractServer) -> Any:
    return json.loads(server.asked("POST", "/v1/jobs")[-1].body)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in files().items():
        path = tmp_path / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "own"


# --- requests -------------------------------------------------------------------------------------


def test_only_what_is_given_goes_into_the_recipe(
    server: ContractServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "ana")
    assert run(server.url, "train", "hospital", "--pairs", "known").exit_code == 0
    assert asked(server) == {
        "kind": "train",
        "name": "hospital",
        "pairs": ["known"],
        "preset": "default",
        "recipe": {},
        "base": None,
        "refit": True,
        "category": None,
        "promote": False,
        "by": "ana",
    }
    options = "--pairs a --pairs b --preset seed --epochs 3 --batch-size 8 --learning-rate 1e-5"
    more = "--seed 1 --hard-negatives 0 --from other@2 --category family --no-refit --promote"
    done = run(server.url, "train", "hospital", *options.split(), *more.split())
    assert done.exit_code == 0, done.output
    assert asked(server) == {
        "kind": "train",
        "name": "hospital",
        "pairs": ["a", "b"],
        "preset": "seed",
        "recipe": {
            "epochs": 3,
            "batch_size": 8,
            "learning_rate": 1e-5,
            "seed": 1,
            "hard_negatives": 0,
        },
        "base": "other@2",
        "refit": False,
        "category": "family",
        "promote": True,
        "by": "ana",
    }


def test_the_requests_of_evaluate_and_promote(
    server: ContractServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "ana")
    run(server.url, "model", "evaluate", "hospital@1", "--pairs", "known", "--category", "family")
    assert asked(server) == {
        "kind": "evaluate",
        "model": "hospital@1",
        "pairs": "known",
        "category": "family",
    }
    run(server.url, "model", "promote", "hospital")
    assert asked(server) == {"kind": "promote", "model": "hospital", "reason": None, "by": "ana"}
    run(server.url, "model", "promote", "hospital", "--force", "--reason", "we looked")
    assert asked(server)["reason"] == "we looked"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--force"], "--force needs a reason, which is kept: --reason WHY."),
        (["--force", "--reason", " "], "--force needs a reason"),
        (["--reason", "we looked"], "--reason overrules the gate: say --force too."),
    ],
)
def test_no_promotion_by_force_without_a_reason(
    server: ContractServer, options: list[str], words: str
) -> None:
    done = run(server.url, "model", "promote", "hospital", *options)
    assert done.exit_code == 2
    assert words in done.stderr
    assert server.requests == []


def test_waiting_for_a_training_shows_its_loss_and_figures(server: ContractServer) -> None:
    training = stage("train", "running", 120, 400, detail=DETAIL)
    summary = {"evaluation": ROWS, "gate": "It is better on 90 lines. It passes."}
    server.jobs[7] = [
        job(7, "train", "running", training),
        job(7, "train", "running", training),
        job(7, "train", "succeeded", stage("train", "done", 400, 400), summary=summary),
    ]
    done = run(server.url, "train", "hospital", "--pairs", "known", "--wait")
    assert done.exit_code == 0, done.output
    assert "loss 0.1234, 95/s pairs" in done.output
    assert "0.900" in done.output
    assert "0.870" in done.output
    assert "character trigrams (TF-IDF)" in done.output
    assert "Gate: It is better on 90 lines. It passes." in done.output


# --- the real API ---------------------------------------------------------------------------------


def test_a_model_goes_in_and_out(url: str, folder: Path, tmp_path: Path) -> None:
    done = run(url, "model", "import", folder)
    assert done.exit_code == 0, done.output
    assert "own@1 is registered. Promote it with `aparella model promote own@1`." in done.output
    out = tmp_path / "out"
    done = run(url, "model", "export", "own", out)
    assert done.exit_code == 0, done.output
    assert {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file()
    } == files()
    assert sorted(path.name for path in tmp_path.iterdir() if "part" in path.name) == []
    assert "is there already" in run(url, "model", "export", "own", out).stderr
    assert "# A card" in run(url, "model", "card", "own@1").output
    shown = run(url, "model", "show", "own").output
    assert "somebody/small" in shown
    assert "candidate" in shown
    with Client(url) as client:
        assert client.import_model(folder, "own").version == 2
        assert str(client.model("own")) == "own@2"
        with pytest.raises(InputError, match=r"'own' has no version: write which one"):
            client.delete_model("own")


def test_a_refused_import_says_why(url: str, folder: Path, tmp_path: Path) -> None:
    assert "has no modules.json" in run(url, "model", "import", tmp_path).stderr
    (folder / "pytorch_model.bin").write_bytes(b"x")
    done = run(url, "model", "import", folder)
    assert done.exit_code == 2
    assert "pickles (.bin, .pt, .pkl) and Python files run code" in done.stderr


def test_an_export_that_fails_leaves_nothing(url: str, tmp_path: Path) -> None:
    done = run(url, "model", "export", "other@1", tmp_path / "out")
    assert done.exit_code == 2
    assert "There is no model 'other@1'" in done.stderr
    assert list(tmp_path.glob("out")) == []
    assert list(tmp_path.glob(".aparella*")) == []


def test_back_and_to_the_end(url: str, db: sa.Engine, folder: Path) -> None:
    run(url, "model", "import", folder)
    with transaction(db) as connection:
        model = models.find_model(connection, "own")
        registry.set_metrics(connection, model.id, {"known": {"acc@1": [0.875, 0.8, 0.9]}})
        registry.switch(
            connection,
            model.id,
            kind="promote",
            reason=None,
            verdict={},
            job_id=None,
            by="ana",
            cleaner_version=CLEANER_VERSION,
        )
    listed = run(url, "models").output
    (line,) = [line for line in listed.splitlines() if "own@1" in line]
    assert line.lstrip().startswith("*")
    assert "0.875" in line
    assert "is promoted and cannot be deleted" in run(url, "model", "delete", "own@1").stderr
    assert "all-MiniLM-L6-v2@1 is the default again." in run(url, "model", "rollback").output
    assert "own@1 is retired" in run(url, "model", "retire", "own@1").output
    assert "own@1 is deleted." in run(url, "model", "delete", "own@1").output
    done = run(url, "model", "show", "own@1")
    assert (done.exit_code, "own@1 was deleted." in done.stderr) == (2, True)
