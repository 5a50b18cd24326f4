"""docker-compose.yml: a valid file, with no secret in it and none that can be forgotten."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from tests import composefile
from tests.composefile import ROOT

SECRETS = ("POSTGRES_PASSWORD", "VALKEY_PASSWORD", "APARELLA_TOKEN", "GRAFANA_PASSWORD")
GIVEN = dict.fromkeys(SECRETS, "s3cret-of-this-test")
OURS = (
    *("migrate", "api", "worker-embed", "worker-match", "worker-train", "worker-embed-gpu"),
    "reconciler",
)


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = composefile.load(GIVEN)["services"]
    return found


def test_compose_knows_every_word_of_it() -> None:
    parsed = PyCompose.from_yaml(yaml.safe_dump(composefile.load(GIVEN)))
    assert set(OURS) < set(parsed.service_names())


def test_the_schema_is_strict() -> None:
    """So that the test above would see a misspelt word."""
    content = composefile.load(GIVEN)
    content["services"]["api"]["read_onlyy"] = True
    with pytest.raises(ValueError, match="read_onlyy"):
        PyCompose.from_yaml(yaml.safe_dump(content))


@pytest.mark.parametrize("name", SECRETS)
def test_no_secret_has_a_default(name: str) -> None:
    with pytest.raises(composefile.Unset, match=f"{name} is not set"):
        composefile.load({**GIVEN, name: ""})


def test_every_port_is_on_loopback(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


@pytest.mark.parametrize("name", OURS)
def test_our_services_are_hardened(services: dict[str, Any], name: str) -> None:
    service = services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "healthcheck" in service


def test_the_gpu_worker_differs_in_its_name_alone(services: dict[str, Any]) -> None:
    gpu, cpu = services["worker-embed-gpu"], services["worker-embed"]
    named = " ".join(cpu["command"]).replace("--name embed", "--name embed-gpu").split()
    assert gpu["command"] == named
    assert gpu["environment"] == cpu["environment"]


def test_workers_have_longer_to_stop_than_they_drain(services: dict[str, Any]) -> None:
    from aparella.workers.__main__ import DRAIN_SECONDS

    for name in OURS:
        if name.startswith("worker"):
            assert int(services[name]["stop_grace_period"].removesuffix("s")) > DRAIN_SECONDS + 10


def test_what_it_mounts_is_there(services: dict[str, Any]) -> None:
    mounted = [
        volume.split(":")[0]
        for service in services.values()
        for volume in service.get("volumes", ())
        if volume.startswith("./")
    ]
    assert mounted
    assert [path for path in mounted if not (ROOT / path).exists()] == []


def test_make_env_fills_in_every_secret(tmp_path: Path) -> None:
    for name in ("Makefile", ".env.example"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(["make", ".env"], cwd=tmp_path, check=True, capture_output=True, timeout=30)
    written = (tmp_path / ".env").read_text(encoding="utf-8")
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    values = dict(re.findall(r"^([A-Z_]+)=(.*)$", written, re.MULTILINE))
    assert set(values) == set(SECRETS)
    assert all(re.fullmatch(r"[0-9a-f]{48}", value) for value in values.values())
    assert len(set(values.values())) == len(SECRETS)
    composefile.load(values)
