"""What builds the images: it says what is missing, and the recipes keep their promises."""

import re
from pathlib import Path

import pytest

from aparella.deploy import images
from aparella.errors import ConfigurationError
from tests.composefile import ROOT

RECIPES = sorted((ROOT / "deploy" / "docker").glob("*.Dockerfile"))


def test_what_is_missing_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError) as caught:
        images.check(images.PROGRAMS)
    assert str(caught.value) == (
        "Images cannot be built here without podman and bubblewrap and mmdebstrap. On Debian: "
        "apt-get install podman bubblewrap mmdebstrap"
    )


def test_the_command_ends_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["images"])
    assert images.main() == 1
    assert capsys.readouterr().err.startswith("aparella: Images cannot be built here without")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: str(path.stem))
def test_a_recipe_keeps_its_promises(recipe: Path) -> None:
    text = recipe.read_text(encoding="utf-8")
    assert len(re.findall(r"^FROM \$\{BASE\}", text, re.MULTILINE)) == 2
    assert "ARG BASE=docker.io/library/python:3.13-slim" in text
    assert "USER 10001:10001" in text
    assert "HEALTHCHECK" in text
    assert text.count("pip --python") == text.count("--constraint constraints.txt")
    for label in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in text


def test_the_api_brings_nothing_of_the_workers() -> None:
    text = (ROOT / "deploy" / "docker" / "api.Dockerfile").read_text(encoding="utf-8")
    assert "'.[api]'" in text
    assert "[workers]" not in text
