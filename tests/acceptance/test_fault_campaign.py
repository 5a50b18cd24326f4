"""The short form of `make faults`: nothing is lost or doubled, and without fencing it shows."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import ROOT


@pytest.mark.timeout(900)
def test_the_short_fault_campaign(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.faults", "--short", "--out", str(tmp_path)]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=880, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["kills"] >= 6, report["by_kind"]
    assert report["faults"] >= 5, report["by_kind"]
    assert report["findings"] == []
    assert [one["wrong"] for one in report["ledger"]] == [{}] * len(report["ledger"])
    assert report["controls"]["fencing"]["failed"]
    assert "PASSED" in (tmp_path / "report.txt").read_text(encoding="utf-8")
