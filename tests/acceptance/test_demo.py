"""The demo tells its story to the end and leaves nothing behind; the real model finds matches."""

import csv
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from aparella.deploy import ports
from aparella.workers.features.agreement import agreement
from aparella.workers.features.measures import measures
from tests.acceptance.conftest import BIN, ROOT, Stack

SAMPLE = ROOT / "examples" / "hospital"


def demo(tmp_path: Path, sample: Path, encoder: str) -> str:
    out = tmp_path / "matches.csv"
    done = subprocess.run(
        [BIN / "aparella", "demo", "--sample", str(sample), "--out", str(out)],
        env={**os.environ, "APARELLA_ENCODER": encoder},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with (sample / "list.csv").open(encoding="utf-8", newline="") as file:
        lines = len(list(csv.DictReader(file)))
    with out.open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == lines * 10
    assert "SELECT" in done.stdout
    assert "Everything is stopped." in done.stdout
    left = [p for p in psutil.process_iter() if "aparella-demo-" in " ".join(_command(p))]
    assert not left
    return done.stdout


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def shortened(folder: Path) -> Path:
    """The sample with a part of its lines and of their texts: so much less to train on."""
    folder.mkdir()
    with (SAMPLE / "pairs.csv").open(encoding="utf-8", newline="") as file:
        pairs = list(csv.DictReader(file))[:330]
    for number, pair in enumerate(pairs):
        pair["known"] = "true" if number < 260 else "false"
    kept = {"line": {p["line"] for p in pairs}, "code": {p["code"] for p in pairs}}
    for name, key in (("list", "line"), ("catalogue", "code")):
        with (SAMPLE / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row[key] in kept[key]]
        for row in rows:
            # Few words, so that a training takes seconds: it is the story that is tested.
            row["description"] = row["description"][-15:]
        _write(folder / f"{name}.csv", rows)
    _write(folder / "pairs.csv", pairs)
    return folder


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.DictWriter(file, list(rows[0]))
        out.writeheader()
        out.writerows(rows)


@pytest.mark.timeout(900)
def test_the_demo_runs_to_its_end(tmp_path: Path) -> None:
    story = demo(tmp_path, shortened(tmp_path / "sample"), "hash")
    assert "have a counterpart" in story
    assert "lines that no training has seen" in story
    assert "First result after" in story


@pytest.mark.slow
@pytest.mark.timeout(1_000)
def test_the_demo_learns(tmp_path: Path) -> None:
    story = demo(tmp_path, SAMPLE, "sentence-transformers")
    before = int(story.split("is right for ")[1].split("(")[1].split("%")[0])
    assert before >= 80  # all evidence, weighed without any pairs
    unseen = [line for line in story.splitlines() if "no training has seen" in line]
    fused, by_vectors = (
        [int(part.split("%")[0]) for part in line.split("(")[1:]] for line in unseen
    )
    assert fused[1] >= fused[0]
    assert by_vectors[1] >= by_vectors[0] + 20


@pytest.fixture
def real() -> Iterator[Stack]:
    """A stack with the real model."""
    with tempfile.TemporaryDirectory(prefix="aparella-real-") as folder:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("APARELLA_")}
        environment["APARELLA_DATA"] = folder
        for name in ("DATABASE_URL", "REDIS_URL"):
            environment.pop(name, None)
        stack = Stack(Path(folder), environment)
        try:
            stack.run("up", "--workers", "1", "--port", str(ports.choose()), "--detach")
            yield stack
        finally:
            stack.run("down")


def test_the_real_model_finds_the_right_record(real: Stack, tmp_path: Path) -> None:
    with (SAMPLE / "pairs.csv").open(encoding="utf-8", newline="") as file:
        truth = {row["line"]: row["code"] for row in list(csv.DictReader(file))[:80]}
    for name, column, keys in (
        ("list", "line", set(truth)),
        ("catalogue", "code", set(truth.values())),
    ):
        with (
            (SAMPLE / f"{name}.csv").open(encoding="utf-8", newline="") as source,
            (tmp_path / f"{name}.csv").open("w", encoding="utf-8", newline="") as target,
        ):
            rows = csv.DictReader(source)
            out = csv.DictWriter(target, rows.fieldnames or [])
            out.writeheader()
            out.writerows(row for row in rows if row[column] in keys)
        path = str(tmp_path / f"{name}.csv")
        real.run("import", name, path, "--key", column, "--text", "description")
    real.run("match", "list", "catalogue", "--out", str(tmp_path / "out.csv"))
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        first = {r["source_key"]: r["target_key"] for r in csv.DictReader(file) if r["rank"] == "1"}
    right = sum(first[line] == code for line, code in truth.items())
    assert right >= 0.6 * len(truth), right


@pytest.mark.slow
@pytest.mark.timeout(2_400)
def test_what_is_accepted_unseen_is_right(real: Stack, tmp_path: Path) -> None:
    with (SAMPLE / "pairs.csv").open(encoding="utf-8", newline="") as file:
        pairs = list(csv.DictReader(file))
    truth = {(pair["line"], pair["code"]) for pair in pairs}
    known = [pair for pair in pairs if pair["known"] == "true"]
    _write(
        tmp_path / "known.csv",
        [{"source_key": one["line"], "target_key": one["code"]} for one in known],
    )
    for name, key in (("list", "line"), ("catalogue", "code")):
        path = str(SAMPLE / f"{name}.csv")
        real.run("import", name, path, "--key", key, "--text", "description")
    real.run(
        *("pairs", "import", "known", str(tmp_path / "known.csv")),
        *("--source", "list", "--target", "catalogue"),
    )
    real.run("train", "hospital", "--pairs", "known", "--no-refit", "--wait", timeout=2_000)
    out = tmp_path / "out.csv"
    real.run(
        *("match", "list", "catalogue", "--model", "hospital", "--auto-accept", "0.95"),
        *("--out", str(out), "--raw"),
        timeout=600,
    )
    with out.open(encoding="utf-8", newline="") as file:
        accepted = [row for row in csv.DictReader(file) if row["accepted"] == "yes"]
    # The hundred lines without a counterpart are among the thousand; those that it learnt from
    # would flatter it.
    taught = {pair["line"] for pair in known}
    unseen = [row for row in accepted if row["source_key"] not in taught]
    assert len(unseen) >= 50
    right = sum((row["source_key"], row["target_key"]) in truth for row in unseen)
    assert right >= 0.95 * len(unseen), (right, len(unseen))
    for row in accepted:
        line, record = measures(row["source_text"]), measures(row["target_text"])
        assert not agreement(line, record).contradicting, row
