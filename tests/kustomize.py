"""What `kustomize build` makes of our folders: as much of it as they use, and an error for more.

Where the real one is installed, a test compares the two.
"""

import copy
import re
from pathlib import Path
from typing import Any

import yaml

Resource = dict[str, Any]

_KNOWN = {
    *("apiVersion", "kind", "namespace", "labels", "resources", "components", "images"),
    "patches",
}
_CLUSTER_WIDE = ("Namespace",)


def build(folder: Path) -> list[Resource]:
    """All resources of a kustomization, patched."""
    return _build(folder, [])


def _build(folder: Path, before: list[Resource]) -> list[Resource]:
    content = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    if unknown := set(content) - _KNOWN:
        raise ValueError(f"{folder}: {', '.join(sorted(unknown))} is beyond this test's kustomize")
    found = list(before)
    for name in content.get("resources", ()):
        found += _load(folder / name)
    for name in content.get("components", ()):
        found = _build(folder / name, found)
    found = copy.deepcopy(found)
    for patch in content.get("patches", ()):
        _patch(found, patch)
    for resource in found:
        _mark(resource, content)
    return found


def _load(path: Path) -> list[Resource]:
    if path.is_dir():
        return build(path)
    return [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one]


def _mark(resource: Resource, content: Resource) -> None:
    """Put in the namespace, the labels, and the images' names."""
    metadata = resource["metadata"]
    if "namespace" in content and resource["kind"] not in _CLUSTER_WIDE:
        metadata["namespace"] = content["namespace"]
    for rule in content.get("labels", ()):
        if set(rule) != {"pairs"}:
            raise ValueError("labels on more than metadata are beyond this test's kustomize")
        metadata.setdefault("labels", {}).update(rule["pairs"])
    for container in containers(resource):
        for image in content.get("images", ()):
            name, _, tag = container["image"].rpartition(":")
            if name == image["name"]:
                container["image"] = f"{image.get('newName', name)}:{image.get('newTag', tag)}"


def pod(resource: Resource) -> Resource | None:
    """The pod's specification in a Deployment, StatefulSet or Job; None of others."""
    if resource["kind"] in ("Deployment", "StatefulSet", "Job"):
        found: Resource = resource["spec"]["template"]["spec"]
        return found
    return None


def containers(resource: Resource) -> list[Resource]:
    """The containers of a resource that has pods."""
    return list((pod(resource) or {}).get("containers", ()))


def _patch(resources: list[Resource], patch: Resource) -> None:
    target = patch["target"]
    chosen = [
        resource
        for resource in resources
        if resource["kind"] == target["kind"]
        and re.fullmatch(target["name"], resource["metadata"]["name"])
    ]
    if not chosen:
        raise ValueError(f"a patch finds nothing: {target}")
    for resource in chosen:
        for operation in yaml.safe_load(patch["patch"]):
            _apply(resource, operation)


def _apply(resource: Resource, operation: Resource) -> None:
    """RFC 6902, `add` and `replace`."""
    keys = [key.replace("~1", "/").replace("~0", "~") for key in operation["path"][1:].split("/")]
    place: Any = resource
    for key in keys[:-1]:
        place = place[int(key)] if isinstance(place, list) else place[key]
    last: Any = int(keys[-1]) if isinstance(place, list) else keys[-1]
    if operation["op"] == "replace":
        place[last]  # must be there
    elif operation["op"] != "add" or isinstance(place, list):
        raise ValueError(f"{operation} is beyond this test's kustomize")
    place[last] = operation["value"]
