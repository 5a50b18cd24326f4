"""What the API imports: it must start quickly, in little memory, and install without torch."""

import subprocess
import sys

import pytest

from aparella.api.imports import check_given_once
from aparella.errors import InputError

HEAVY = {
    *("torch", "celery", "kombu", "sentence_transformers", "transformers", "sklearn"),
    *("datasets", "pandas"),
}


def test_the_api_imports_nothing_heavy() -> None:
    program = "import sys, aparella.api.app; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "fastapi" in loaded
    assert not loaded & HEAVY


def test_a_parameter_of_one_value_is_given_once() -> None:
    check_given_once(["key", "text", "text", "attribute", "attribute"])
    with pytest.raises(InputError, match="key is given 2 times") as raised:
        check_given_once(["key", "text", "key"])
    assert raised.value.field == "key"
