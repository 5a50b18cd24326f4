"""Typed values, as JSON and Parquet hold them, turned into texts and attributes."""

import math
from datetime import date, datetime, time
from typing import Any

from aparella.api.uploads.rows import Scalar


def is_nested(value: Any) -> bool:
    """Tell whether a value is a list or an object, which neither a text nor an attribute can be."""
    return isinstance(value, list | dict | tuple)


def as_text(value: Any) -> str:
    """Return the text form of a scalar: 5 is "5", true is "true", null and NaN are blank."""
    if isinstance(value, str):
        return value
    scalar = as_attribute(value)
    if scalar is None:
        return ""
    return str(scalar).lower() if isinstance(scalar, bool) else str(scalar)


def as_attribute(value: Any) -> Scalar:
    """Return a scalar as JSON can hold it.

    Dates and times become ISO 8601, decimals and all other types their text form, bytes are read
    as UTF-8 (what is not becomes surrogates), and NaN and the infinities, which JSON lacks, None.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return str(value)
