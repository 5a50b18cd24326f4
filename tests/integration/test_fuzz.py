"""Schemathesis asks a real API process whatever its OpenAPI document allows, and what it does not.

`make fuzz` does the same for ten minutes, with another seed each time.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from aparella.settings import Settings
from aparella.workers.context import Context
from tests.integration import drive
from tests.integration.test_api_process import serving

ROOT = Path(__file__).parents[2]
SECONDS = os.environ.get("FUZZ_SECONDS")

needs_schemathesis = pytest.mark.skipif(
    importlib.util.find_spec("schemathesis") is None and "CI" not in os.environ,
    reason="schemathesis is not installed: run make install",
)


@needs_schemathesis
def test_the_whole_interface(context: Context, settings: Settings) -> None:
    drive.imported(context, "list", [("1", "AGULLA 20G"), ("2", "SONDA FOLEY")])
    drive.imported(context, "catalogue", [(f"C{i}", f"AGULLES, AGULLA {i}G") for i in range(9)])
    drive.match(context.db, "list", "catalogue")
    drive.run(context)
    settings.token = SecretStr("token-of-the-test")
    words = ["--max-time", SECONDS or "12", "--no-color", "--max-failures", "20"]
    if not SECONDS:
        words += ["--seed", "8"]  # the same input each time
    with serving(settings) as (url, lines):
        done = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", *words],
            cwd=ROOT,
            env={**os.environ, "FUZZ_TOKEN": "token-of-the-test"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]
    report = " ".join(done.stdout.split())
    assert "Operations:" in report
    assert "Fuzzing" in report
    assert not any("Traceback" in line or "ERROR" in line for line in lines), lines
