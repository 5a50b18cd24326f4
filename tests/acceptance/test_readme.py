"""Every command that the README shows works as shown, and what it promises of files holds."""

import csv
import os
import re
import shlex
import subprocess
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.acceptance.conftest import BIN, ROOT, Stack

COMMANDS = re.findall(r"^\$ (.*)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_commands_of_the_readme(tmp_path: Path) -> None:
    assert COMMANDS[0] == "aparella up --detach"
    assert COMMANDS[-1] == "aparella down"
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    with tempfile.TemporaryDirectory(prefix="aparella-readme-") as folder:
        environment = {
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "APARELLA_DATA": folder,
            "APARELLA_ENCODER": "hash",  # the words are tried here, not the model
        }
        for name in ("DATABASE_URL", "REDIS_URL"):
            environment.pop(name, None)
        for command in COMMANDS:
            done = subprocess.run(
                shlex.split(command),
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert done.returncode == 0, command + "\n" + done.stdout + done.stderr
    with (tmp_path / "matches.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        *("source_key", "source_text", "rank", "target_key", "target_text"),
        *("score", "confidence", "accepted", "why"),
    ]
    assert len(rows) == 1_000 * 10
    # A stand-in encodes: there is no evidence to weigh, and no confidence.
    assert {(row["confidence"], row["accepted"], row["why"]) for row in rows} == {("", "", "")}


@pytest.fixture(scope="module")
def job(stack: Stack) -> str:
    sample = ROOT / "examples" / "hospital" / "list.csv"
    stack.run("import", "sample", str(sample), "--key", "line", "--text", "description")
    return str(stack.json("match", "sample", "sample", "-k", "2", "--wait")["id"])


def test_out_knows_three_formats(stack: Stack, job: str, tmp_path: Path) -> None:
    for suffix in (".csv", ".ndjson", ".parquet"):
        stack.run("job", "matches", job, "--out", str(tmp_path / f"out{suffix}"))
    lines = (tmp_path / "out.ndjson").read_text(encoding="utf-8").splitlines()
    table = pq.read_table(tmp_path / "out.parquet")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(lines) == table.num_rows == 1_000 * 2
    assert [row["target_key"] for row in rows] == table["target_key"].to_pylist()


def test_importing_again_counts_and_encodes_only_changes(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "edition.csv"
    rows = [f"{i},TUB OROFARINGI N {i}" for i in range(40)]
    path.write_text("\n".join(["id,name", *rows]) + "\n")
    words = ("import", "edition", str(path), "--key", "id", "--text", "name")
    assert "40 new" in stack.run(*words).stdout
    stack.run("embed", "edition", "--wait")
    path.write_text("\n".join(["id,name", "0,TUB DE MAYO", *rows[1:30], "99,TUB NOU"]) + "\n")
    assert "1 new, 1 changed, 29 unchanged, 10 removed" in stack.run(*words).stdout
    job = stack.json("embed", "edition", "--wait")
    assert job["progress"]["done"] == 2
    assert job["summary"]["skipped_embeddings"] == 29


def test_a_match_takes_over_and_assigns(stack: Stack, job: str) -> None:
    words = ("match", "sample", "sample", "-k", "2", "--wait")
    said = stack.run(*words, "--since", job).stdout
    assert f"Since job {job}: 1,000 answers taken over, 0 lines matched." in said
    assert "First candidates: 1,000 the same, 0 others" in said
    found = stack.json(*words, "--one-to-one")
    assigned = found["summary"]["one_to_one"]
    assert assigned["assigned"] + assigned["without"] == 1_000
    shown = stack.run("job", "show", str(found["id"])).stdout
    assert f"One to one: {assigned['assigned']:,} lines assigned" in shown
    assert "did not match" in stack.run(*words, "--since", "1", code=2).stderr


@pytest.mark.usefixtures("job")
def test_an_idempotency_key_names_one_job(stack: Stack) -> None:
    words = ("match", "sample", "sample", "--idempotency-key", "once")
    first = stack.json(*words, "-k", "1")
    assert stack.json(*words, "-k", "1")["id"] == first["id"]
    assert "belongs to job" in stack.run(*words, "-k", "2", code=2).stderr


def test_a_job_can_be_cancelled(stack: Stack) -> None:
    catalogue = ROOT / "examples" / "hospital" / "catalogue.csv"
    stack.run("import", "long", str(catalogue), "--key", "code", "--text", "description")
    job = stack.json("embed", "long")
    stack.run("job", "cancel", str(job["id"]))
    stack.run("job", "watch", str(job["id"]), code=4)
    assert stack.json("job", "show", str(job["id"]))["state"] == "cancelled"
    stack.run("embed", "long", "--wait")
