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
from tests.acceptance.conftest import BIN, ROOT, Stack

SAMPLE = ROOT / "examples" / "hospital"


def demo(tmp_path: Path, encoder: str) -> str:
    out = tmp_path / "matches.csv"
    done = subprocess.run(
        [BIN / "aparella", "demo", "--sample", str(SAMPLE), "--out", str(out)],
        env={**os.environ, "APARELLA_ENCODER": encoder},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with out.open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 1_000 * 10
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


def test_the_demo_runs_to_its_end(tmp_path: Path) -> None:
    assert "have a counterpart" in demo(tmp_path, "hash")


@pytest.mark.slow
def test_the_demo_finds_matches(tmp_path: Path) -> None:
    story = demo(tmp_path, "sentence-transformers")
    share = int(story.split("is right for ")[1].split("(")[1].split("%")[0])
    assert 30 <= share <= 80  # hard on purpose, and far from chance


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
