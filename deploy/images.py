"""`make images`: builds both images with podman and tries them: a small job, run from their layers.

No engine, no registry and no network but a package index are needed: the base is Debian's, made by
mmdebstrap unless another one is named, and programs run in a sandbox (bwrap) over the unpacked
layers: read-only, with a /tmp of their own, as the image's user and without any capability.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from aparella import __version__
from aparella.client.exits import complain
from aparella.deploy import layers
from aparella.deploy.shell import answer
from aparella.errors import AparellaError, ConfigurationError

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ("api", "worker")
PROGRAMS = {"podman": "podman", "bwrap": "bubblewrap", "mmdebstrap": "mmdebstrap"}
"""What is needed, and Debian's package with it."""
PACKAGES = "python3,python3-venv,ca-certificates"
MB = 1_000_000


@dataclass(frozen=True)
class Image:
    """A built image.

    Attributes:
        name: with its tag.
        size: bytes on a node's disk.
        packed: bytes that a registry keeps and a node fetches.
    """

    name: str
    size: int
    packed: int


def check(programs: dict[str, str]) -> None:
    """See whether images can be built here.

    Raises:
        ConfigurationError: they cannot; the sentence says what to install.
    """
    missing = [package for program, package in programs.items() if not shutil.which(program)]
    if missing:
        raise ConfigurationError(
            f"Images cannot be built here without {' and '.join(missing)}. On Debian: "
            f"apt-get install {' '.join(missing)}"
        )
    if os.geteuid() != 0:
        raise ConfigurationError(
            "Images are unpacked and tried as root here. Run it as root, or build them yourself: "
            "the commands stand at the top of deploy/docker/*.Dockerfile."
        )


def make_base(suite: str) -> str:
    """A base image of Debian with its Python; made once. Returns its name."""
    name = f"localhost/aparella-base:{suite}"
    if subprocess.run(["podman", "image", "exists", name], check=False).returncode != 0:
        # A tar to standard output, which podman takes as the one layer of an image.
        make = ["mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", "--format=tar"]
        make += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "locale", "man")]
        with subprocess.Popen([*make, suite, "-"], stdout=subprocess.PIPE) as made:
            done = subprocess.run(["podman", "import", "-", name], stdin=made.stdout, check=False)
        if made.returncode or done.returncode:
            raise ConfigurationError("The base image could not be made; the reason stands above.")
    return name


def build(part: str, base: str, options: list[str], mounts: list[Path]) -> Image:
    """Build one image.

    Args:
        part: `api` or `worker`.
        base: image with a python3.
        options: of pip, so that packages come from where this machine gets them.
        mounts: folders and files that those options name.
    """
    name = f"localhost/aparella-{part}:{__version__}"
    volumes = [word for path in mounts for word in ("--volume", f"{path}:{path}:ro")]
    arguments = {
        "BASE": base,
        "VERSION": __version__,
        "REVISION": answer("git", "-C", str(ROOT), "rev-parse", "HEAD", default="unknown"),
        "PIP_OPTIONS": " ".join(options),
    }
    if part == "worker" and any(any(path.glob("torch-*+cpu*.whl")) for path in mounts):
        arguments["TORCH_INDEX"] = ""  # it lies on this machine's disk
    subprocess.run(
        [
            *("podman", "build", "--isolation=chroot", "--format=docker", "--tag", name),
            *("--file", str(ROOT / f"deploy/docker/{part}.Dockerfile")),
            *(
                word
                for key, value in arguments.items()
                for word in ("--build-arg", f"{key}={value}")
            ),
            *volumes,
            str(ROOT),
        ],
        check=True,
    )
    (found,) = json.loads(answer("podman", "image", "inspect", name))
    with tempfile.TemporaryDirectory(prefix="aparella-image-") as folder:
        answer("podman", "push", "--quiet", "--compress", name, f"dir:{folder}")
        packed = sum(path.stat().st_size for path in Path(folder).iterdir())
    return Image(name, int(found["Size"]), packed)


def pip_options() -> tuple[list[str], list[Path]]:
    """How this machine's pip is told to find packages, and the local paths in that."""
    options: list[str] = []
    mounts: dict[Path, None] = {}
    listed = answer(sys.executable, "-m", "pip", "config", "list")
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        option = name.rpartition(".")[2]
        if option not in ("cert", "index-url", "extra-index-url", "find-links"):
            continue
        for word in value.strip("'\"").replace("\\n", " ").split():
            path = Path(word.removeprefix("file://"))
            if path.is_absolute() and path.exists():
                # The pages of an index on this disk point to files beside them.
                mounts[path.parent if path.name == "simple" else path] = None
            if [f"--{option}", word] not in _pairs(options):
                options += [f"--{option}", word]
    return options, list(mounts)


def _pairs(words: list[str]) -> list[list[str]]:
    return [words[i : i + 2] for i in range(0, len(words), 2)]


def main() -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m aparella.deploy.images", description=__doc__)
    parser.add_argument("--base", help="an image with python3 and venv (default: made of Debian)")
    parser.add_argument("--suite", default=_suite(), help="Debian's release (default: %(default)s)")
    parser.add_argument("--only", choices=IMAGES, help="build this one, and try nothing")
    arguments = parser.parse_args()
    try:
        needed = dict(PROGRAMS)
        if arguments.base:
            del needed["mmdebstrap"]
        check(needed)
        base = arguments.base or make_base(arguments.suite)
        options, mounts = pip_options()
        built = [
            build(part, base, options, mounts) for part in IMAGES if arguments.only in (None, part)
        ]
        for image in built:
            print(  # noqa: T201
                f"{image.name}: {image.packed / MB:.0f} MB in a registry, "
                f"{image.size / MB:.0f} MB unpacked"
            )
        if not arguments.only:
            layers.try_out(*(image.name for image in built))
    except subprocess.CalledProcessError as error:
        complain(f"{' '.join(error.cmd[:2])} failed; the reason stands above.")
        return 1
    except AparellaError as error:
        complain(str(error), getattr(error, "__notes__", ()))
        return 1
    return 0


def _suite() -> str:
    """This machine's release where it is Debian, so that its Python packages fit as well."""
    try:
        words = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    except OSError:
        words = []
    known = dict(line.partition("=")[::2] for line in words if "=" in line)
    return known.get("VERSION_CODENAME", "trixie") if known.get("ID") == "debian" else "trixie"


if __name__ == "__main__":
    sys.exit(main())
