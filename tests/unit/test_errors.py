import inspect

import pytest

from aparella import errors
from aparella.errors import AparellaError, InputError, PermanentError, TransientError

CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, AparellaError)
]
LEAVES = [kind for kind in CLASSES if kind not in (AparellaError, TransientError, PermanentError)]


def test_the_module_holds_one_tree_of_errors() -> None:
    assert len(LEAVES) >= 9
    assert [kind for _, kind in inspect.getmembers(errors, inspect.isclass)] == sorted(
        CLASSES, key=lambda kind: kind.__name__
    )


@pytest.mark.parametrize("kind", LEAVES)
def test_each_error_is_either_transient_or_permanent(kind: type[AparellaError]) -> None:
    assert issubclass(kind, TransientError) != issubclass(kind, PermanentError)


def test_codes_are_unique_and_names() -> None:
    codes = [kind.code for kind in CLASSES]
    assert len(set(codes)) == len(codes)
    assert all(code.isidentifier() and code == code.lower() for code in codes)


@pytest.mark.parametrize("kind", CLASSES)
def test_each_error_is_its_sentence(kind: type[AparellaError]) -> None:
    assert kind.__doc__
    assert str(kind("Say what to do.")) == "Say what to do."


def test_an_input_error_names_its_field_and_may_have_a_code_of_its_own() -> None:
    error = InputError("There is no column 'ref'.", field="key", code="unknown_column")
    assert (error.field, error.code) == ("key", "unknown_column")
    assert (InputError("No.").field, InputError("No.").code) == (None, InputError.code)
