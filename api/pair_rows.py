"""A row of an uploaded file as a pair to be: two keys or two texts, a label and a weight."""

import math

from aparella.api.uploads import BadRow, Columns, Row
from aparella.api.uploads.rows import Scalar
from aparella.api.uploads.wording import quoted
from aparella.db.records import UploadRow
from aparella.errors import InputError

LABEL, WEIGHT = "label", "weight"
LEAST_WEIGHT, MOST_WEIGHT = 1e-6, 1e6
"""Beyond them a weight says nothing that a missing pair or the others' weights do not."""

_LABELS = {"1": True, "true": True, "0": False, "false": False}
_BLANK = {"empty_key", "empty_text", "missing_field"}


def columns_of(source: str, target: str) -> Columns:
    """What of a file makes a pair.

    Raises:
        InputError: both sides are to be read from one column.
    """
    if source == target:
        raise InputError(
            f"{quoted(source)} is named as the column of both sides of a pair. Pass another "
            "--source-column or --target-column.",
            field="target_column",
            code="same_column",
        )
    return Columns(
        source,
        (target,),
        (LABEL, WEIGHT),
        optional=(LABEL, WEIGHT),
        parameters=("source_column", "target_column", "column"),
    )


def upload_row(row: Row | BadRow, *, texts: bool) -> UploadRow:
    """Turn a row that was read into one to store.

    Args:
        row: its key is the source's key or text, its text the target's.
        texts: whether they are texts, which are kept apart from where keys stand.
    """
    key = None if texts else row.key
    if isinstance(row, BadRow):
        return _refused(row, key, texts=texts)
    found = row.attributes
    try:
        label = read_label(found.get(LABEL))
        weight = read_weight(found.get(WEIGHT))
    except InputError as error:
        return UploadRow(row.number, key, code=error.code, field=error.field, message=str(error))
    pair = {LABEL: label, WEIGHT: weight}
    return UploadRow(row.number, key, row.text, {"source": row.key, **pair} if texts else pair)


def read_label(value: Scalar) -> bool:
    """Whether a pair belongs together; blank means that it does.

    Raises:
        InputError: the label is none.
    """
    if isinstance(value, bool):
        return value
    word = "" if value is None else str(value).strip().lower()
    if not word:
        return True
    # A column of whole numbers with a blank among them arrives as 1.0 and 0.0.
    label = _LABELS.get(word.removesuffix(".0"))
    if label is None:
        raise InputError(
            f"the label is {quoted(str(value))}: give 1 or true where the two belong together, "
            "0 or false where they are known not to",
            field=LABEL,
            code="bad_label",
        )
    return label


def read_weight(value: Scalar) -> float:
    """A pair's weight; blank means 1.

    Raises:
        InputError: the weight is no number, or out of range.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return 1.0
    try:
        # Not `bool`, which is a number to Python, and no underscores, which it allows in one.
        weight = float("" if isinstance(value, bool) or "_" in str(value) else value)
    except (ValueError, OverflowError):
        weight = math.nan
    if not LEAST_WEIGHT <= weight <= MOST_WEIGHT:
        raise InputError(
            f"the weight is {quoted(str(value))}: give a number above 0, such as 0.5, and at most "
            f"{MOST_WEIGHT:,.0f}; 1 counts like any other pair",
            field=WEIGHT,
            code="bad_weight",
        )
    return weight


def _refused(row: BadRow, key: str | None, *, texts: bool) -> UploadRow:
    code, message = row.code, row.message
    if code in _BLANK:
        code = "empty_text" if texts else "empty_key"
        message = f"column {quoted(row.field or '')} is blank: fill it in, or leave the row out"
    return UploadRow(row.number, key, code=code, field=row.field, message=message)
