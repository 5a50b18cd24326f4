"""Reading NDJSON: one JSON object a line."""

import json
from collections.abc import Iterator
from typing import Any, NoReturn

from aparella.api.uploads.columns import Columns, unknown_column
from aparella.api.uploads.lines import Lines
from aparella.api.uploads.rows import BadRow, Limits, Row, RowBuilder, encodable, storable_key
from aparella.api.uploads.values import as_attribute, as_text, is_nested
from aparella.api.uploads.wording import quoted
from aparella.errors import InputError


def read_ndjson(
    lines: Lines, *, columns: Columns, encoding: str, limits: Limits, label: str
) -> Iterator[Row | BadRow]:
    """Yield the rows of an NDJSON file.

    An object may leave out attributes and all text fields but one; a field that no object of the
    whole file has is taken for a misspelt name.

    Args:
        lines: the file.
        columns: the fields of an object that make a record.
        encoding: as `choose_encoding` returned it.
        limits: see `Limits`.
        label: how messages call the file.

    Raises:
        InputError: `empty_file`, `not_ndjson` (the first line is no object) and, once all lines
            are read, `unknown_column`; and as `Lines` does.
    """
    objects = _Objects(columns, limits, encoding)
    first = True
    for _ in lines:
        number, line = lines.take()
        if not line or line.isspace():
            continue
        if first and not _opens_object(line):
            raise InputError(
                f"{label}: line {number:,} is not a JSON object. NDJSON holds one object a line, "
                f'such as {{"{columns.key}": "1", ...}}; pass --format if the file is another.',
                code="not_ndjson",
            )
        first = False
        yield objects.read(number, line)
    if first:
        raise InputError(
            f"{label}: the file is empty. Upload one with an object a line.", code="empty_file"
        )
    for parameter, column in columns.named():
        if column in objects.unseen:
            lack = "no line has a field"
            raise unknown_column(
                parameter, column, objects.names, file=label, lack=lack, columns=columns
            )


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


# The format has no NaN and no Infinity, though the decoder would take them.
_DECODER = json.JSONDecoder(parse_constant=_refuse)


class _Objects:
    """Turns lines into rows, and keeps count of the fields that no object has had yet."""

    def __init__(self, columns: Columns, limits: Limits, encoding: str) -> None:
        self._columns = columns
        self._max_cell = limits.max_cell
        self._decoded = RowBuilder(columns, limits, encoding)
        self._escaped = RowBuilder(columns, limits, None)
        self._named = list(columns.named())
        self.unseen = {column for _, column in self._named if column not in columns.optional}
        self.names: list[str] = []

    def read(self, number: int, line: str) -> Row | BadRow:
        try:
            found = _DECODER.decode(line)
        except (ValueError, RecursionError) as error:
            return BadRow(number, None, None, "bad_json", _why(error))
        if not isinstance(found, dict):
            reason = "the line is JSON but not an object: write one object a line"
            return BadRow(number, None, None, "bad_json", reason)
        if self.unseen:
            self.unseen.difference_update(found)
            self.names = self.names or list(found)
        return self._check(number, found) or self._build(number, found, line)

    def _check(self, number: int, found: dict[str, Any]) -> BadRow | None:
        """Refuse an object that lacks its key or its text, or nests one of its fields."""
        columns = self._columns
        if columns.key not in found:
            reason = f"the object has no field {quoted(columns.key)}, the key"
            return BadRow(number, None, columns.key, "missing_field", reason)
        for parameter, column in self._named:
            if is_nested(found.get(column)):
                kind = "a list or an object"
                code = "not_scalar" if parameter == columns.parameters[2] else "not_text"
                reason = f"field {quoted(column)} is {kind}: give a text or a number"
                return BadRow(number, _key(found[columns.key]), column, code, reason)
        if not any(column in found for column in columns.texts):
            column = columns.texts[0]
            reason = f"the object has no field {quoted(column)}, the text"
            return BadRow(number, _key(found[columns.key]), column, "missing_field", reason)
        return None

    def _build(self, number: int, found: dict[str, Any], line: str) -> Row | BadRow:
        columns = self._columns
        # A surrogate in a line that has none itself was written as an escape: no byte is wrong.
        clean = encodable(line)
        builder = self._escaped if clean else self._decoded
        # One look at the line spares a look at each value. A raw NUL is no JSON.
        suspect = not clean or "\\u" in line or len(line) > self._max_cell
        return builder.build(
            number,
            as_text(found[columns.key]),
            [as_text(found.get(column)) for column in columns.texts],
            {column: as_attribute(found.get(column)) for column in columns.attributes},
            suspect=suspect,
        )


def _key(value: Any) -> str | None:
    return None if is_nested(value) else storable_key(as_text(value))


def _opens_object(line: str) -> bool:
    """Tell whether a file's first line is an object, be it a faulty one.

    An opening brace alone is the beginning of one object spread over many lines.
    """
    line = line.strip()
    return line.startswith("{") and len(line) > 1


def _why(error: ValueError | RecursionError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"the line is not JSON: {error.msg} at character {error.pos + 1:,}"
    if isinstance(error, RecursionError):
        return "the line is not JSON that can be read: it is nested too deeply"
    return "the line is not JSON: it holds NaN, an infinity or a number of too many digits"
