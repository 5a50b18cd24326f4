"""Several hosts on one machine: network namespaces, each with a name and an address of its own.

All of them hang on a bridge in the namespace of the servers; nothing of it is seen from outside.
"""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

NETWORK = "10.77.0"
SERVERS = f"{NETWORK}.1"


def reason_against() -> str | None:
    """Why this machine cannot have such hosts; None if it can."""
    if not shutil.which("ip"):
        return "there is no `ip` here (Debian: iproute2)"
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"aparella-{os.getpid()}-try"
    tried = subprocess.run(
        ["ip", "netns", "add", name], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        return f"this machine forbids network namespaces: {tried.stderr.strip()}"
    ip("netns", "del", name)
    return None


def ip(*words: str) -> None:
    """Run `ip`; its words go into the error."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


@dataclass
class Host:
    """A host, and the programs that were started on it."""

    name: str
    address: str
    programs: list[subprocess.Popen[bytes]] = field(default_factory=list)
    stop_signals: dict[int, signal.Signals] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        """The name of its network namespace."""
        return f"aparella-{os.getpid()}-{self.name}"

    def command(self, words: list[str], user: tuple[int, int] | None = None) -> list[str]:
        """The command line that runs words there, under the host's own name."""
        drop = (
            ["setpriv", f"--reuid={user[0]}", f"--regid={user[1]}", "--clear-groups"]
            if user
            else []
        )
        script = 'hostname "$1" && shift && exec "$@"'
        named = ["unshare", "--uts", "sh", "-c", script, "sh", self.name]
        return ["ip", "netns", "exec", self.namespace, *named, *drop, *words]

    def start(
        self,
        words: list[str],
        environment: dict[str, str],
        log: Path,
        *,
        user: tuple[int, int] | None = None,
        cwd: Path | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> subprocess.Popen[bytes]:
        """Start a program there. Each step before it ends in an exec: the pid is the program's."""
        with log.open("wb") as out:
            program = subprocess.Popen(
                self.command(words, user),
                env=environment,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.programs.append(program)
        self.stop_signals[program.pid] = stop_signal
        return program

    def run(self, words: list[str], environment: dict[str, str]) -> str:
        """Run a command there to its end; what it says."""
        done = subprocess.run(
            self.command(words),
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def cable(self, state: str) -> None:
        """`down` cuts the host off, `up` connects it again."""
        ip("-n", SERVER_HOST.namespace, "link", "set", f"to-{self.name}", state)

    def stop(self) -> None:
        """End its programs: asked first, in the reverse order, then killed."""
        for program in reversed(self.programs):
            if program.poll() is None:
                program.send_signal(self.stop_signals[program.pid])
                with contextlib.suppress(subprocess.TimeoutExpired):
                    program.wait(timeout=15)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
            program.wait()


SERVER_HOST = Host("servers", SERVERS)


@contextlib.contextmanager
def network(*names: str) -> Iterator[list[Host]]:
    """Hosts of these names, beside that of the servers, connected."""
    hosts = [Host(name, f"{NETWORK}.{number}") for number, name in enumerate(names, 10)]
    try:
        ip("netns", "add", SERVER_HOST.namespace)
        inside = ("-n", SERVER_HOST.namespace)
        ip(*inside, "link", "set", "lo", "up")
        ip(*inside, "link", "add", "bridge", "type", "bridge")
        ip(*inside, "address", "add", f"{SERVERS}/24", "dev", "bridge")
        ip(*inside, "link", "set", "bridge", "up")
        for host in hosts:
            ip("netns", "add", host.namespace)
            there = ("-n", host.namespace)
            peer = ("peer", "name", "eth0", "netns", host.namespace)
            ip(*inside, "link", "add", f"to-{host.name}", "type", "veth", *peer)
            ip(*inside, "link", "set", f"to-{host.name}", "master", "bridge")
            host.cable("up")
            ip(*there, "address", "add", f"{host.address}/24", "dev", "eth0")
            ip(*there, "link", "set", "lo", "up")
            ip(*there, "link", "set", "eth0", "up")
        yield hosts
    finally:
        for host in (*hosts, SERVER_HOST):
            host.stop()
        for host in (*hosts, SERVER_HOST):
            subprocess.run(["ip", "netns", "del", host.namespace], capture_output=True, check=False)
        SERVER_HOST.programs.clear()
