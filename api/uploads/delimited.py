"""Reading CSV and its kin, cut by any one character."""

import csv
from collections.abc import Iterator, Sequence

from aparella.api.uploads.columns import Columns, check_header
from aparella.api.uploads.lines import LONGEST_ROW, Lines
from aparella.api.uploads.rows import (
    BadRow,
    Limits,
    Row,
    RowBuilder,
    Scalar,
    encodable,
    storable_key,
)
from aparella.api.uploads.wording import delimiter_label, quoted
from aparella.errors import InputError

_COMMON = ",;|\t#%"
_NAMES = {"tab": "\t", r"\t": "\t"}

# The module's own limit, global to the process, is 128 Ki: `Lines` bounds whole rows instead.
csv.field_size_limit(LONGEST_ROW)


def choose_delimiter(delimiter: str | None, *, tabbed: bool) -> str:
    r"""Return the delimiter to cut by: the user's, else a tab for `.tsv` and a comma for others.

    Args:
        delimiter: one character; `tab` and `\t` are understood, as a tab is hard to type.
        tabbed: whether the file's name ends in `.tsv`.

    Raises:
        InputError: `bad_delimiter`.
    """
    if delimiter is None:
        return "\t" if tabbed else ","
    delimiter = _NAMES.get(delimiter, delimiter)
    if len(delimiter) != 1 or delimiter in '"\r\n\0' or not encodable(delimiter):
        raise InputError(
            f"{quoted(delimiter)} cannot be a delimiter. Pass one character other than a quote or "
            "a line end, such as --delimiter ';'; a tab is --delimiter tab.",
            field="delimiter",
            code="bad_delimiter",
        )
    return delimiter


def read_delimited(
    lines: Lines, *, columns: Columns, delimiter: str, encoding: str, limits: Limits, label: str
) -> Iterator[Row | BadRow]:
    """Yield the rows of a CSV file with a header.

    Args:
        lines: the file.
        columns: what of it makes a record.
        delimiter: as `choose_delimiter` returned it.
        encoding: as `choose_encoding` returned it.
        limits: see `Limits`.
        label: how messages call the file.

    Raises:
        InputError: `empty_file`, `unclosed_quote`, `wrong_delimiter`, and as `check_header` and
            `Lines` do.
    """
    table = _cut(lines, delimiter)
    header = _header(table, columns, delimiter=delimiter, limits=limits, label=label)
    width = len(header)
    key_at = header.index(columns.key)
    texts_at = [header.index(column) for column in columns.texts]
    attributes_at = [(column, header.index(column)) for column in columns.kept_of(header)]
    builder = RowBuilder(columns, limits, encoding)
    max_cell = limits.max_cell
    number = 0
    for number, line, cells in table:
        if isinstance(cells, BadRow):
            yield cells
        elif len(cells) != width:
            key = storable_key(cells[key_at]) if key_at < len(cells) else None
            count = "1 cell" if len(cells) == 1 else f"{len(cells):,} cells"
            cut = f"the row has {count} where the header has {width:,}"
            advice = "quote the cells that hold the delimiter or a line end"
            yield BadRow(number, key, None, "ragged_row", f"{cut}: {advice}")
        else:
            attributes: dict[str, Scalar] = {
                column: cell if (cell := cells[at]) and not cell.isspace() else None
                for column, at in attributes_at
            }
            # One look at the line spares a look at each cell.
            suspect = len(line) > max_cell or "\0" in line or not encodable(line)
            texts = [cells[at] for at in texts_at]
            yield builder.build(number, cells[key_at], texts, attributes, suspect=suspect)
    if not number:
        raise InputError(
            f"{label}: the file holds a header and no row. Upload one that has rows.",
            code="empty_file",
        )


_Table = Iterator[tuple[int, str, list[str] | BadRow]]


def _cut(lines: Lines, delimiter: str) -> _Table:
    """Yield each row that is not blank: its number, its lines as they stand, and its cells."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while not lines.ended:
        # The reader goes on behind a row that it refused.
        try:
            for cells in reader:
                number, line = lines.take()
                if len(cells) > 1 or (cells and cells[0] and not cells[0].isspace()):
                    yield number, line, cells
        except csv.Error as error:
            if lines.ended:
                raise lines.unclosed_quote() from error
            count = len(lines.pending)
            number, line = lines.take()
            yield number, line, _misquoted(number, count, line, delimiter)


def _misquoted(number: int, count: int, line: str, delimiter: str) -> list[str] | BadRow:
    """Cut a row in which text follows a closing quote, as in `7,"TUB" 20CM`.

    Within one line it is read as every spreadsheet reads it. Over several lines it is almost
    always a quote that was left open on the first and has swallowed the others: refused.
    """
    if count == 1:
        cells: list[str] = next(csv.reader([line.rstrip("\r\n") + "\n"], delimiter=delimiter))
        if not cells[-1].endswith("\n"):
            return cells
    last = number + count - 1
    reach = f"line {number:,}" if count == 1 else f"lines {number:,} to {last:,}"
    return BadRow(
        number,
        None,
        None,
        "misplaced_quote",
        f"a quote opens on line {number:,} and text follows where it closes on line {last:,}, so "
        f"{reach} cannot be told apart: close the quote, or double it if it belongs to the text",
    )


def _header(
    table: _Table, columns: Columns, *, delimiter: str, limits: Limits, label: str
) -> list[str]:
    _, line, cells = next(table, (0, "", []))
    if isinstance(cells, BadRow):
        raise InputError(f"{label}: in the header, {cells.message}.", code=cells.code)
    header = _names(cells)
    if not any(header):
        raise InputError(
            f"{label}: the file is empty. Upload one with a header and rows.", code="empty_file"
        )
    if missing := columns.missing_from(header):
        _check_delimiter(line, columns, missing[0], delimiter=delimiter, label=label)
    check_header(header, columns, file=label, limit=limits.max_columns)
    return header


def _names(cells: Sequence[str]) -> list[str]:
    return [cell.strip() for cell in cells]


def _check_delimiter(
    line: str, columns: Columns, missing: tuple[str, str], *, delimiter: str, label: str
) -> None:
    """Raise `wrong_delimiter` if another common delimiter would make the header hold them all."""
    for other in _COMMON.replace(delimiter, ""):
        cells = next(csv.reader(line.splitlines(keepends=True), delimiter=other))
        if not columns.missing_from(_names(cells)):
            cut, looks = delimiter_label(delimiter), delimiter_label(other)
            raise InputError(
                f"{label}: the header has no column {quoted(missing[1])} when cut by {cut}: "
                f"it looks cut by {looks}. Pass --delimiter {looks}.",
                field="delimiter",
                code="wrong_delimiter",
            )
