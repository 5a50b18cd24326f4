"""What holds for all tests."""

import os

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
