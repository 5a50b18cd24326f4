"""Limits of containers, from made-up /proc and /sys/fs/cgroup of both versions."""

import os
from pathlib import Path

import pytest

from aparella import machine
from aparella.workers import sizing

GIB = 1 << 30
MIB = 1 << 20


def make(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n", encoding="ascii")
    return root


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host of 64 cores, none of which this process is kept from."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)), raising=False)


HOST = {"proc/meminfo": "MemTotal:       67108864 kB\nMemFree: 1 kB\nMemAvailable:   33554432 kB"}


@pytest.mark.usefixtures("many")
def test_a_container_of_version_2(tmp_path: Path) -> None:
    root = make(
        tmp_path,
        {
            **HOST,
            "proc/self/cgroup": "0::/",
            "sys/fs/cgroup/cpu.max": "250000 100000",
            "sys/fs/cgroup/memory.max": str(4 * GIB),
            "sys/fs/cgroup/memory.current": str(3 * GIB),
            "sys/fs/cgroup/memory.stat": f"anon {GIB}\ninactive_file {2 * GIB}\nfile 7",
        },
    )
    assert machine.cores(root) == 2
    assert machine.memory_limit(root) == 4 * GIB
    assert machine.memory_free(root) == 3 * GIB  # 2 of the 3 are files that give way


@pytest.mark.usefixtures("many")
def test_the_tightest_of_nested_groups_counts(tmp_path: Path) -> None:
    root = make(
        tmp_path,
        {
            **HOST,
            "proc/self/cgroup": "0::/kubepods/pod1/worker",
            "sys/fs/cgroup/kubepods/cpu.max": "800000 100000",
            "sys/fs/cgroup/kubepods/pod1/cpu.max": "300000 100000",
            "sys/fs/cgroup/kubepods/pod1/worker/cpu.max": "max 100000",
            "sys/fs/cgroup/kubepods/memory.max": "max",
            "sys/fs/cgroup/kubepods/pod1/memory.max": str(2 * GIB),
            "sys/fs/cgroup/kubepods/pod1/memory.current": str(GIB),
            "sys/fs/cgroup/kubepods/pod1/worker/memory.max": str(3 * GIB),
            "sys/fs/cgroup/kubepods/pod1/worker/memory.current": str(GIB // 2),
        },
    )
    assert machine.cores(root) == 3
    assert machine.memory_limit(root) == 2 * GIB
    assert machine.memory_free(root) == GIB


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("path", ["/docker/abc", "/"])
def test_a_container_of_version_1(tmp_path: Path, path: str) -> None:
    # The path is the host's: within the container its group is the mount itself.
    root = make(
        tmp_path,
        {
            **HOST,
            "proc/self/cgroup": f"11:memory:{path}\n4:cpu,cpuacct:{path}\n0::/",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "400000",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": str(8 * GIB),
            "sys/fs/cgroup/memory/memory.usage_in_bytes": str(5 * GIB),
            "sys/fs/cgroup/memory/memory.stat": f"inactive_file 9\ntotal_inactive_file {GIB}",
        },
    )
    assert machine.cores(root) == 4
    assert machine.memory_limit(root) == 8 * GIB
    assert machine.memory_free(root) == 4 * GIB


@pytest.mark.usefixtures("many")
def test_no_limits_are_the_hosts(tmp_path: Path) -> None:
    root = make(
        tmp_path,
        {
            **HOST,
            "proc/self/cgroup": "4:cpu,cpuacct:/\n11:memory:/\n0::/",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "123",
            "sys/fs/cgroup/cpu.max": "max 100000",
        },
    )
    assert machine.cores(root) == 64
    assert machine.memory_limit(root) == 64 * GIB
    assert machine.memory_free(root) == 32 * GIB


@pytest.mark.usefixtures("many")
def test_less_than_a_core_is_one_process(tmp_path: Path) -> None:
    root = make(tmp_path, {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "50000 100000"})
    assert machine.cores(root) == 1


@pytest.mark.usefixtures("many")
def test_a_system_without_groups(tmp_path: Path) -> None:
    assert machine.cores(tmp_path) == 64
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert machine.memory_limit(tmp_path) == total
    assert machine.memory_free(tmp_path) == total // 2


def test_this_process() -> None:
    free, limit = machine.memory_free(), machine.memory_limit()
    assert free is not None
    assert limit is not None
    assert 0 < machine.memory_used() < limit
    assert 0 < free < limit
    assert machine.cores() >= 1


@pytest.mark.parametrize(
    ("cores", "memory", "processes"),
    [(4, None, 4), (4, 64 * GIB, 4), (4, 2 * GIB, 2), (4, 100 * MIB, 1), (1, GIB, 1)],
)
def test_processes_fit_the_memory(cores: int, memory: int | None, processes: int) -> None:
    assert sizing.processes(cores, memory) == processes


@pytest.mark.parametrize(
    ("memory", "processes", "matrix"),
    [(None, 2, 1_024), (64 * GIB, 2, 1_024), (2 * GIB, 2, 274), (600 * MIB, 1, 64)],
)
def test_a_process_holds_its_part_of_what_is_left(
    memory: int | None, processes: int, matrix: int
) -> None:
    assert sizing.match_memory_mb(memory, processes) == matrix


@pytest.mark.parametrize(
    ("memory", "processes", "matrix"),
    [(None, 2, 1_024), (64 * GIB, 2, 1_024), (2 * GIB, 2, 548), (600 * MIB, 1, 64)],
)
def test_the_shared_matrix_counts_once(memory: int | None, processes: int, matrix: int) -> None:
    assert sizing.catalogue_memory_mb(memory, processes) == matrix
