"""What this process may use of its machine: the container's limits where there are any.

A container's processes see the host's cores and memory everywhere but in their control group
(cgroup, version 1 or 2). A group's limit holds for all groups below it, so each of a process's
groups is looked at, up to the root. `root` is where the file system begins; tests make their own.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path

_HERE = Path("/")
_NO_LIMIT = 1 << 60
"""Version 1 writes a number near 2^63 for "no limit"."""


def cores(root: Path = _HERE) -> int:
    """Cores that this process may keep busy, at least 1; of a share of a core nothing is counted.

    A quota of 2.5 cores feeds two threads without a stop, and would throttle three.
    """
    if hasattr(os, "sched_getaffinity"):
        found = len(os.sched_getaffinity(0))
    else:
        found = os.cpu_count() or 1
    return max(1, math.floor(min([float(found), *_quotas(root)])))


def memory_limit(root: Path = _HERE) -> int | None:
    """Bytes that this process's container, or else its machine, has; None: unknown."""
    limits = [limit for limit, _ in _memory(root)]
    total = _meminfo(root, "MemTotal:") or _from_sysconf()
    return min([*limits, *([total] if total else [])], default=None)


def memory_free(root: Path = _HERE) -> int | None:
    """Bytes that this process may still take; None: unknown.

    What a group holds of files that nobody reads at the moment gives way, so it counts as free.
    """
    found = [limit - used for limit, used in _memory(root)]
    available = _meminfo(root, "MemAvailable:")
    if available is None and (total := _from_sysconf()) is not None:
        available = total // 2
    if available is not None:
        found.append(available)
    return max(0, min(found)) if found else None


def memory_used(root: Path = _HERE) -> int:
    """Bytes that this process holds (its resident set); its peak where that is all that is told."""
    try:
        pages = int((root / "proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        import resource  # not on Windows, which no server of ours runs on

        # macOS counts in bytes, and is the only system without /proc that we know.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _quotas(root: Path) -> Iterator[float]:
    """Cores that each of the process's groups may use, where it has a limit."""
    for folder in _groups(root, ""):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if quota.isdecimal() and period.isdecimal() and int(period):
            yield int(quota) / int(period)
    for folder in _groups(root, "cpu"):
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(period):  # -1: no limit
            yield int(quota) / int(period)


def _memory(root: Path) -> Iterator[tuple[int, int]]:
    """Limit and use of memory of each of the process's groups that has a limit, in bytes."""
    names = (
        ("", "memory.max", "memory.current", "inactive_file"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    )
    for controller, limit_file, used_file, idle in names:
        for folder in _groups(root, controller):
            limit, used = _read(folder / limit_file), _read(folder / used_file)
            if limit.isdecimal() and int(limit) < _NO_LIMIT:
                held = int(used) if used.isdecimal() else 0
                yield int(limit), held - min(held, _stat(folder / "memory.stat", idle))


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of the process's group and those above it; no controller is version 2."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller not in controllers.split(","):
            continue
        mounts = [root / "sys/fs/cgroup"]
        if controller:
            mounts = [mounts[0] / controllers, mounts[0] / controller]
        mount = next((folder for folder in mounts if folder.is_dir()), None)
        if mount is None:
            continue
        # Within a container the path may be the host's, which does not exist here: its group is
        # the mount itself then.
        group = mount / path.strip("/")
        while group != mount and mount in group.parents:
            if group.is_dir():
                yield group
            group = group.parent
        yield mount


def _stat(file: Path, name: str) -> int:
    for line in _read(file).splitlines():
        if line.startswith(f"{name} "):
            return int(line.split()[1])
    return 0


def _meminfo(root: Path, name: str) -> int | None:
    for line in _read(root / "proc/meminfo").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return None


def _from_sysconf() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
