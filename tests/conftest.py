"""What holds for all tests."""

import os
import shutil
import tempfile
from pathlib import Path

import psutil
from hypothesis import HealthCheck, settings

# For `make fuzz`: so many inputs for each property, none of them kept.
settings.register_profile(
    "fuzz",
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "130000")),
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)

# As in a worker (`workers/__main__.py`), and before any test imports torch: tests run in several
# processes at once, whose threads must neither spin while they wait nor wait for others' cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Each test has a database of its own, which is some three hundred files: in memory they cost a
# tenth of what they do on many a disk. Before anything asks for a temporary folder.
MEMORY, ROOM = Path("/dev/shm"), 6 << 30
if (
    "TMPDIR" not in os.environ
    and os.access(MEMORY, os.W_OK)
    and shutil.disk_usage(MEMORY).free > ROOM
    and psutil.virtual_memory().available > 2 * ROOM
):
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)
