"""The repository's shape: links, sizes of modules, and what importing the light parts costs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("api", "client", "db", "deploy", "workers")
LONGEST = 350
IMPORTS_IT = re.compile(r"^\s*(from|import) opentelemetry", re.MULTILINE)


def modules(folder: Path) -> list[Path]:
    # A migration is a script that is written once and never changed.
    return [path for path in sorted(folder.rglob("*.py")) if "versions" not in path.parts]


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_is_linked_under_the_import_name(package: str) -> None:
    link = ROOT / "src" / "aparella" / package
    assert link.is_symlink()
    assert not link.readlink().is_absolute()
    assert link.resolve() == ROOT / package
    assert (link / "__init__.py").is_file()


def test_nothing_else_is_linked() -> None:
    links = {path.name for path in (ROOT / "src" / "aparella").iterdir() if path.is_symlink()}
    assert links == set(PACKAGES)


@pytest.mark.parametrize("package", [*PACKAGES, "bench", "examples"])
def test_no_module_is_long(package: str) -> None:
    found = modules(ROOT / package)
    assert found
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in found}
    assert {name: n for name, n in lengths.items() if n > LONGEST} == {}


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("aparella.api.app", ["celery", "kombu", "sentence_transformers", "torch"]),
        (
            "aparella.client",
            ["celery", "fastapi", "numpy", "psycopg2", "pydantic_settings", "sqlalchemy", "torch"],
        ),
        ("aparella.workers.decisions", ["celery", "fastapi", "psycopg2", "sqlalchemy", "torch"]),
        (
            "aparella.workers.evaluation.gate",
            ["celery", "psycopg2", "scipy", "sklearn", "sqlalchemy", "torch"],
        ),
        ("aparella.workers.evaluation.split", ["celery", "numpy", "sqlalchemy", "torch"]),
        (
            "aparella.workers.features.abbreviations",
            ["celery", "fastapi", "psycopg2", "sqlalchemy", "torch"],
        ),
        (
            "aparella.workers.features.agreement",
            ["celery", "fastapi", "numpy", "psycopg2", "sqlalchemy", "torch"],
        ),
        ("aparella.workers.pulse", ["celery", "numpy", "pydantic", "sqlalchemy"]),
        ("aparella.workers.reconciler", ["fastapi", "sentence_transformers", "torch"]),
        # A process that replaces a killed one takes up its chunk in a second, not in four.
        ("aparella.workers.tasks", ["fastapi", "sentence_transformers", "sklearn", "torch"]),
    ],
)
def test_light_parts_stay_light(module: str, forbidden: list[str]) -> None:
    # Another process: this one has imported everything already.
    code = f"import sys, {module}; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    imported = done.stdout.split()
    assert module in imported
    assert [name for name in forbidden if name in imported] == []


def test_one_module_knows_opentelemetry() -> None:
    """FastAPI's own telemetry is there to be switched off: docs/decisions/0019."""
    base = [path for path in (ROOT / "src" / "aparella").glob("*.py") if path.is_file()]
    found = [path for package in PACKAGES for path in modules(ROOT / package)]
    knowing = [path.name for path in base + found if IMPORTS_IT.search(path.read_text())]
    assert knowing == ["traces.py"]
