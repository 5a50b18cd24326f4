import pytest

from aparella.client import exits
from aparella.client.models import FINISHED, Job
from aparella.errors import (
    AparellaError,
    ConfigurationError,
    ConflictError,
    InputError,
    NotFoundError,
    ResourceExhaustedError,
    ServiceUnavailableError,
)


@pytest.mark.parametrize(
    ("state", "code"),
    [("succeeded", 0), ("failed", 1), ("succeeded_with_errors", 3), ("cancelled", 4)],
)
def test_each_end_of_a_job_has_its_code(state: str, code: int) -> None:
    job = Job(7, "match", state)
    assert job.finished
    assert exits.of_job(job) == code


def test_every_end_of_a_job_has_a_code() -> None:
    codes = {exits.of_job(Job(7, "match", state)) for state in FINISHED}
    assert len(codes) == len(FINISHED)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("bad"), 2),
        (NotFoundError("none"), 2),
        (ConflictError("other body"), 2),
        (ServiceUnavailableError("away"), 1),
        (ResourceExhaustedError("full"), 1),
        (ConfigurationError("wrong server"), 1),
    ],
)
def test_each_error_has_its_code(error: AparellaError, code: int) -> None:
    assert exits.of_error(error) == code


def test_the_help_names_every_code() -> None:
    lines = exits.EPILOG.splitlines()[1:]
    assert [int(line.split()[0]) for line in lines] == [int(code) for code in exits.ExitCode]


def test_a_complaint_is_a_sentence_and_a_line_for_each_field(
    capsys: pytest.CaptureFixture[str],
) -> None:
    exits.complain("The columns do not fit.", ["key: there is no column 'id'"])
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "aparella: The columns do not fit.\n  key: there is no column 'id'\n"
