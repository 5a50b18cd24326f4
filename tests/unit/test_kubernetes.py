"""The Kubernetes manifests: valid by their schemas, and what they promise of safety holds."""

import json
import shutil
import subprocess
from functools import cache
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from aparella.workers.__main__ import DRAIN_SECONDS
from tests import composefile, kustomize
from tests.composefile import ROOT
from tests.kustomize import Resource

FOLDER = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("kind", "production", "gpu")
VERSION = "1.34"
GIVEN = dict.fromkeys(
    ("POSTGRES_PASSWORD", "VALKEY_PASSWORD", "APARELLA_TOKEN", "GRAFANA_PASSWORD"), "x"
)


@cache
def built(overlay: str) -> list[Resource]:
    return kustomize.build(FOLDER / "overlays" / overlay)


def ours(overlay: str) -> list[Resource]:
    """Resources with pods of our own images."""
    return [
        resource
        for resource in built(overlay)
        if any("aparella" in container["image"] for container in kustomize.containers(resource))
    ]


def named(resource: Resource) -> str:
    return f"{resource['kind']}/{resource['metadata']['name']}"


@cache
def keda_schema(kind: str) -> dict[str, Any]:
    """The schema of a KEDA resource, in which a word that it does not know is an error."""
    from cloudcoil.models.keda import v1alpha1

    schema: dict[str, Any] = getattr(v1alpha1, kind).model_json_schema(by_alias=True)

    def close(node: Any) -> None:
        if isinstance(node, dict):
            if "properties" in node and "additionalProperties" not in node:
                node["additionalProperties"] = False
            for value in node.values():
                close(value)
        elif isinstance(node, list):
            for value in node:
                close(value)

    close(schema)
    return schema


def check(resource: Resource) -> None:
    if resource["apiVersion"].startswith("keda.sh/"):
        jsonschema.validate(resource, keda_schema(resource["kind"]))
    else:
        kubernetes_validate.validate(resource, VERSION, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_resource_is_valid(overlay: str) -> None:
    found = built(overlay)
    assert len(found) > 15
    for resource in found:
        try:
            check(resource)
        except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
            pytest.fail(f"{named(resource)}: {error.message} at {list(error.path)}")


@pytest.mark.parametrize(
    ("kind", "path", "word"),
    [
        ("Deployment", ("spec", "template", "spec"), "readOnlyRootFilesystem"),
        ("ScaledObject", ("spec",), "minReplicas"),
    ],
)
def test_the_schemas_are_strict(kind: str, path: tuple[str, ...], word: str) -> None:
    """So that the test above would see a misplaced word."""
    (first, *_) = (r for r in built("production") if r["kind"] == kind)
    spoilt: Any = json.loads(json.dumps(first))
    place = spoilt
    for key in path:
        place = place[key]
    place[word] = 1
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        check(spoilt)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_two_have_one_name(overlay: str) -> None:
    names = [named(resource) for resource in built(overlay)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_keep_to_the_restricted_standard(overlay: str) -> None:
    with_pods = [r for r in built(overlay) if kustomize.pod(r)]
    assert with_pods
    for resource in with_pods:
        pod = kustomize.pod(resource)
        assert pod is not None
        assert pod["securityContext"]["runAsNonRoot"] is True, named(resource)
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert "requests" in container["resources"]
            assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_workers_have_longer_to_stop_than_they_drain(overlay: str) -> None:
    workers = [r for r in ours(overlay) if "worker" in r["metadata"]["name"]]
    assert len(workers) == 3
    for resource in workers:
        pod = kustomize.pod(resource)
        assert pod is not None
        assert pod["terminationGracePeriodSeconds"] > DRAIN_SECONDS + 30


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_named_is_there(overlay: str) -> None:
    """Selectors find their pods, budgets and scalers their Deployments, volumes their mounts."""
    found = built(overlay)
    pods = [r["spec"]["template"]["metadata"]["labels"] for r in found if kustomize.pod(r)]
    deployments = {r["metadata"]["name"] for r in found if r["kind"] == "Deployment"}
    for resource in found:
        selector = resource.get("spec", {}).get("selector")
        if resource["kind"] == "Service":
            selector = {"matchLabels": selector}
        if resource["kind"] in ("Deployment", "PodDisruptionBudget", "Service"):
            wanted = selector["matchLabels"].items()
            assert any(wanted <= labels.items() for labels in pods), named(resource)
        if resource["kind"] == "ScaledObject":
            assert resource["spec"]["scaleTargetRef"]["name"] in deployments
        pod = kustomize.pod(resource)
        if pod:
            volumes = {volume["name"] for volume in pod.get("volumes", ())}
            volumes |= {
                claim["metadata"]["name"]
                for claim in resource["spec"].get("volumeClaimTemplates", ())
            }
            mounted = {m["name"] for c in pod["containers"] for m in c.get("volumeMounts", ())}
            assert mounted == volumes, named(resource)


def test_scaled_workers_name_no_number_of_replicas() -> None:
    """Each apply would set it back."""
    scaled = {
        r["spec"]["scaleTargetRef"]["name"]
        for r in built("production")
        if r["kind"] == "ScaledObject"
    }
    assert len(scaled) == 3
    for resource in built("production"):
        if resource["kind"] == "Deployment" and resource["metadata"]["name"] in scaled:
            assert "replicas" not in resource["spec"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_commands_are_those_that_compose_starts(overlay: str) -> None:
    """Which a test of its own starts: no flag here is another one than there."""
    services = composefile.load(GIVEN)["services"]
    for resource in ours(overlay):
        (container,) = kustomize.containers(resource)
        service = services[resource["metadata"]["name"].removeprefix("aparella-")]
        here, there = container["command"], [str(word) for word in service["command"]]
        assert [w for w in here if not w.isdigit()] == [w for w in there if not w.isdigit()]
        names = {variable["name"] for variable in container.get("env", ())}
        names |= {"APARELLA_ARTIFACTS"}  # by envFrom
        given = set(service["environment"]) - {"APARELLA_PULSE", "APARELLA_ENCODER", "TMPDIR"}
        assert names == given, named(resource)


def test_gpu_workers_get_a_gpu() -> None:
    (worker,) = (r for r in built("gpu") if r["metadata"]["name"] == "aparella-worker-embed"
                 and r["kind"] == "Deployment")  # fmt: skip
    (container,) = kustomize.containers(worker)
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container["image"].endswith("-cuda")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_real_kustomize_makes_the_same(overlay: str) -> None:
    path = FOLDER / "overlays" / overlay
    if shutil.which("kustomize"):
        command = ["kustomize", "build", str(path)]
    elif shutil.which("kubectl"):
        command = ["kubectl", "kustomize", str(path)]
    else:
        pytest.skip("neither kustomize nor kubectl is installed")
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    real = {named(r): r for r in yaml.safe_load_all(done.stdout)}
    assert real == {named(resource): resource for resource in built(overlay)}
