"""A row of a file as a pair to be: labels, weights, and what its blanks are called."""

import math
from typing import Any

import pytest

from aparella.api import pair_rows
from aparella.api.uploads import BadRow, Row
from aparella.db.records import UploadRow
from aparella.errors import InputError


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (None, True),
        (" ", True),
        (True, True),
        (1, True),
        (1.0, True),
        ("1", True),
        (" TRUE ", True),
        (False, False),
        (0, False),
        (0.0, False),
        ("0", False),
        ("False", False),
    ],
)
def test_labels(value: Any, label: bool) -> None:
    assert pair_rows.read_label(value) is label


@pytest.mark.parametrize("value", ["yes", "2", -1, 0.5, "10", "00", ".0"])
def test_what_is_no_label(value: Any) -> None:
    with pytest.raises(InputError, match="give 1 or true") as raised:
        pair_rows.read_label(value)
    assert (raised.value.code, raised.value.field) == ("bad_label", "label")


@pytest.mark.parametrize(
    ("value", "weight"), [(None, 1.0), ("", 1.0), ("0.5", 0.5), (3, 3.0), (" 2 ", 2.0)]
)
def test_weights(value: Any, weight: float) -> None:
    assert pair_rows.read_weight(value) == weight


@pytest.mark.parametrize(
    "value", ["0", 0, -1, "nan", "inf", math.inf, "1e-50", "1e50", "0,5", "1_0", True, "x", 10**400]
)
def test_what_is_no_weight(value: Any) -> None:
    with pytest.raises(InputError, match="give a number above 0") as raised:
        pair_rows.read_weight(value)
    assert (raised.value.code, raised.value.field) == ("bad_weight", "weight")


def test_keys_stand_where_keys_do_and_texts_beside() -> None:
    row = Row(2, "L1", "C1", {"label": "0", "weight": "2"})
    assert pair_rows.upload_row(row, texts=False) == UploadRow(
        2, "L1", "C1", {"label": False, "weight": 2.0}
    )
    assert pair_rows.upload_row(row, texts=True) == UploadRow(
        2, None, "C1", {"source": "L1", "label": False, "weight": 2.0}
    )


@pytest.mark.parametrize("code", ["empty_key", "empty_text", "missing_field"])
def test_blanks_have_one_name_for_both_sides(code: str) -> None:
    row = BadRow(2, "L1", "target_key", code, "in words about records")
    assert pair_rows.upload_row(row, texts=False) == UploadRow(
        2,
        "L1",
        code="empty_key",
        field="target_key",
        message="column 'target_key' is blank: fill it in, or leave the row out",
    )
    assert pair_rows.upload_row(row, texts=True).code == "empty_text"


def test_one_column_cannot_be_both_sides() -> None:
    with pytest.raises(InputError, match="both sides"):
        pair_rows.columns_of("id", "id")
