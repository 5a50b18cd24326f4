"""Programs of an image, run from its unpacked layers: what an engine would do, without one."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aparella.client import Client
from aparella.deploy import ports
from aparella.deploy.local import services
from aparella.deploy.shell import answer
from aparella.errors import ConfigurationError

TMP = "/tmp"  # noqa: S108 (the container's own)
SHM = "/dev/shm"  # noqa: S108 (likewise: locks between processes are there)
ARTIFACTS = "/var/lib/aparella/artifacts"
PATIENCE = 120.0
GRACE = 60.0
ROWS = 40


@dataclass
class Container:
    """An image's file system and its configuration, with a /tmp of its own."""

    image: str
    root: Path
    config: dict[str, Any]
    health: list[str]
    tmp: Path
    artifacts: Path

    def command(self, words: list[str], environment: dict[str, str]) -> list[str]:
        """The command line that runs words in it, as its user, read-only, without capabilities."""
        own = dict(entry.split("=", 1) for entry in self.config["Env"])
        user, _, group = self.config["User"].partition(":")
        if user in ("", "0", "root"):
            raise ConfigurationError(f"{self.image} would run as root.")
        variables = {**own, **environment}
        return [
            *("bwrap", "--die-with-parent", "--unshare-pid", "--unshare-ipc", "--clearenv"),
            *("--ro-bind", str(self.root), "/", "--proc", "/proc", "--dev", "/dev"),
            *("--bind", str(self.tmp), TMP, "--bind", str(self.artifacts), ARTIFACTS),
            *("--ro-bind", "/etc/hosts", "/etc/hosts", "--perms", "1777", "--tmpfs", SHM),
            *(word for item in variables.items() for word in ("--setenv", *item)),
            *("--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"),
            *("--cap-add", "CAP_SETPCAP", "--", "setpriv", f"--reuid={user}", f"--regid={group}"),
            *("--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--"),
            *words,
        ]

    def healthy(self, environment: dict[str, str]) -> bool:
        """Run the image's health check beside its program."""
        asked = subprocess.run(
            self.command(self.health, environment), capture_output=True, check=False, timeout=60
        )
        return asked.returncode == 0


@contextmanager
def unpacked(image: str, folder: Path) -> Iterator[Container]:
    """Mount an image's layers."""
    (found,) = json.loads(answer("podman", "image", "inspect", image))
    root = Path(answer("podman", "image", "mount", image))
    tmp, artifacts = folder / "tmp", folder / "artifacts"
    for one in (tmp, artifacts):
        one.mkdir(parents=True)
        one.chmod(0o1777)
    try:
        _, *health = found["Healthcheck"]["Test"]
        yield Container(image, root, found["Config"], health, tmp, artifacts)
    finally:
        answer("podman", "image", "unmount", image)


@contextmanager
def running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program for as long as the context lasts; then SIGTERM, and it must end in its grace."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield process
    except BaseException:
        process.kill()
        process.wait()
        raise
    # To the program itself: bwrap passes no signals on. It is the child of bwrap's child.
    for pid in _leaves(process.pid):
        os.kill(pid, 15)
    try:
        process.wait(timeout=GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        raise ConfigurationError(f"{log.stem} did not stop in {GRACE:.0f} s.") from None


def _leaves(pid: int) -> list[int]:
    """The program under bwrap's two processes: the first descendant that is not bwrap."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    found: list[int] = []
    for child in map(int, children):
        name = Path(f"/proc/{child}/comm").read_text(encoding="ascii").strip()
        found += _leaves(child) if name == "bwrap" else [child]
    return found


def try_out(api_image: str, worker_image: str) -> None:
    """Run the migration, the API, a worker and the reconciler from the layers, and do a small job.

    Raises:
        ConfigurationError: something does not come up, or the job does not succeed.
    """
    with tempfile.TemporaryDirectory(prefix="aparella-images-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        found = stack.enter_context(services(folder / "servers", durable=False, environ={}))
        api = stack.enter_context(unpacked(api_image, folder / "api"))
        worker = stack.enter_context(unpacked(worker_image, folder / "worker"))
        environment = {
            "DATABASE_URL": found.database_url,
            "REDIS_URL": found.redis_url,
            "APARELLA_TOKEN": "for-this-trial",
            "APARELLA_ARTIFACTS": f"file://{ARTIFACTS}",
        }
        python = ["python", "-m"]
        subprocess.run(api.command([*python, "aparella.db.migrate"], environment), check=True)
        port = ports.choose()
        serve = [*python, "aparella.api", "--host", "127.0.0.1", "--port", str(port)]
        work = [*python, "aparella.workers", "--queues", "import,embed,match"]
        work += ["--concurrency", "1"]
        processes: dict[str, subprocess.Popen[bytes]] = {}
        for container, words, log in (
            (api, serve, "api"),
            (worker, work, "worker"),
            (worker, [*python, "aparella.workers.reconciler"], "reconciler"),
        ):
            more = {} if log != "reconciler" else {"APARELLA_PULSE": f"{TMP}/reconciler.pulse"}
            command = container.command(words, {**environment, **more})
            processes[log] = stack.enter_context(running(command, folder / f"{log}.log"))
        with Client(f"http://127.0.0.1:{port}", "for-this-trial") as client:
            _await(lambda: worker.healthy(environment), processes["worker"], folder / "worker.log")
            rows = folder / "rows.csv"
            lines = [f"{i},XERINGA {i} ML LUER LOCK" for i in range(ROWS)]
            rows.write_text("\n".join(["id,text", *lines]) + "\n", encoding="utf-8")
            imported = client.import_file("trial", rows, key="id", text=["text"])
            jobs = [client.wait(imported.id), client.wait(client.match("trial", "trial", k=1).id)]
            for job in jobs:
                if job.state != "succeeded":
                    raise ConfigurationError(f"Job {job.id} ended as {job.state}: {job.error}")
            out = folder / "matches.csv"
            client.export(jobs[-1].id, out)
            if len(out.read_text(encoding="utf-8").splitlines()) != ROWS + 1:
                raise ConfigurationError("The job did not match every row once.")
        print(f"API and worker ran from their layers; {ROWS} rows were matched.")  # noqa: T201


def _await(look: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not look():
        if time.monotonic() > deadline or process.poll() is not None:
            error = ConfigurationError(f"The {log.stem} did not come up. Its last lines:")
            for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:]:
                error.add_note(f"| {line}")
            raise error
        time.sleep(0.5)
