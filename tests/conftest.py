"""What holds for all tests."""

import os

# As in a worker (`workers/__main__.py`), and before any test imports torch: tests run in several
# processes at once, whose threads must not spin while they wait.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
