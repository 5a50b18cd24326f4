from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aparella.client import units


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0.0 s"),
        (0.44, "0.4 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7620, "2 h 07 min"),
        (86_399, "1 d 00 h"),
        (273_600, "3 d 04 h"),
    ],
)
def test_durations_read_naturally(seconds: float, text: str) -> None:
    assert units.duration(seconds) == text


@given(st.floats(0, 1e9))
def test_a_duration_never_shows_sixty_of_anything(seconds: float) -> None:
    assert not any(word == "60" for word in units.duration(seconds).split()[2:])


@pytest.mark.parametrize(
    ("per_second", "text"),
    [
        (None, ""),
        (0, ""),
        (0.4, "24.0/min"),
        (3.14, "3.1/s"),
        (9.97, "10/s"),
        (162.4, "162/s"),
        (53_000, "53,000/s"),
    ],
)
def test_rates_choose_their_unit(per_second: float | None, text: str) -> None:
    assert units.rate(per_second) == text


@given(st.integers(1, 10**12), st.data())
def test_only_a_complete_count_is_a_hundred_percent(total: int, data: st.DataObject) -> None:
    done = data.draw(st.integers(0, total))
    assert (units.percent(done, total) == 100) == (done == total)


def test_nothing_to_count_has_no_percentage() -> None:
    assert units.percent(0, 0) is None


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (1, "1 byte"),
        (999, "999 bytes"),
        (1_400_000, "1.4 MB"),
        (999_960, "1.0 MB"),
        (10**15, "1,000.0 TB"),
    ],
)
def test_sizes_choose_their_unit(octets: int, text: str) -> None:
    assert units.size(octets) == text


def test_what_has_not_begun_took_nothing_and_what_goes_on_is_timed_until_now() -> None:
    started = datetime.now(UTC) - timedelta(seconds=30)
    assert units.took(None, None) == ""
    assert units.took(started, started + timedelta(seconds=12)) == "12 s"
    assert units.took(started, None) == "30 s"


def test_text_cannot_command_the_terminal() -> None:
    assert units.printable("ESTÈRIL\x1b[31m\r\nred\x07") == "ESTÈRIL [31m  red "
