"""One row of an upload, accepted or refused, and the checks that every format shares."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aparella.api.uploads.columns import Columns
from aparella.api.uploads.wording import listed, quoted

Scalar = str | int | float | bool | None
"""What an attribute's value can be: all of JSON but lists, objects and numbers out of range."""

LONGEST_KEY = 512
"""Characters of a key. PostgreSQL indexes it: a B-tree entry holds 2,704 bytes at most."""

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Limits:
    """What an upload may hold.

    Attributes:
        max_bytes: bytes of the file, once unpacked.
        max_cell: characters of one cell.
        max_columns: columns of the header.
        max_key: characters of a key.
        max_rows: rows, refused ones too.
    """

    max_bytes: int
    max_cell: int = 65_536
    max_columns: int = 1_000
    max_key: int = LONGEST_KEY
    max_rows: int = 10_000_000


@dataclass(frozen=True, slots=True)
class Row:
    """One accepted row.

    Attributes:
        number: where the user finds it: the line on which it begins (CSV, NDJSON; the first line
            of a file is 1, so a header makes the first row 2) or the row, from 1 (Parquet).
        key: as it stands in the file.
        text: the text columns that are not blank, joined by one space; not cleaned.
        attributes: by column; blank cells are None.
    """

    number: int
    key: str
    text: str
    attributes: dict[str, Scalar]


@dataclass(frozen=True, slots=True)
class BadRow:
    """One refused row. All its strings are printable or at least storable as UTF-8 text.

    Attributes:
        number: as in `Row`.
        key: the row's key, where it has one that can be stored.
        field: the column that is wrong, if one is.
        code: the reason's stable name.
        message: the reason, and what to do, for the user.
    """

    number: int
    key: str | None
    field: str | None
    code: str
    message: str


def encodable(text: str) -> bool:
    """Tell whether `text` is free of surrogates, which no UTF-8 can hold."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def storable_key(key: str | None) -> str | None:
    """Return `key`, or None where it is blank, too long or cannot be stored."""
    if key is None or not key.strip() or len(key) > LONGEST_KEY:
        return None
    return key if "\0" not in key and encodable(key) else None


class RowBuilder:
    """Makes rows from values that a format's reader has taken apart, or says why it cannot.

    Args:
        columns: the columns that the values come from.
        limits: see `Limits`.
        encoding: what the file's bytes were decoded from with the `surrogateescape` handler, so
            that a lone low surrogate stands for an undecodable byte; None where it does not.
    """

    def __init__(self, columns: Columns, limits: Limits, encoding: str | None) -> None:
        self._columns = columns
        self._max_cell = limits.max_cell
        self._max_key = limits.max_key
        self._encoding = encoding

    def build(
        self,
        number: int,
        key: str,
        texts: Sequence[str],
        attributes: dict[str, Scalar],
        *,
        suspect: bool = True,
    ) -> Row | BadRow:
        """Make one row.

        Args:
            number: see `Row`.
            key: the key's cell.
            texts: the cells of `Columns.texts`, in their order.
            attributes: values by column.
            suspect: False where the reader knows already that no cell is too long or holds a NUL
                or a surrogate; looking once at a whole line is cheaper than at each cell.
        """
        if suspect:
            for field, value in self._cells(key, texts, attributes):
                if fault := self._fault(field, value):
                    return BadRow(number, storable_key(key), field, *fault)
        if not key or key.isspace():
            field = self._columns.key
            reason = f"the key column {quoted(field)} is blank: every row needs a key"
            return BadRow(number, None, field, "empty_key", reason)
        if len(key) > self._max_key:
            field = self._columns.key
            most = f"{self._max_key:,} are the most"
            reason = f"the key {quoted(key)} has {len(key):,} characters, and {most}"
            return BadRow(number, None, field, "key_too_long", reason)
        text = " ".join([cell for cell in texts if cell and not cell.isspace()])
        if not text:
            return BadRow(number, key, self._columns.texts[0], "empty_text", self._blank_text())
        return Row(number, key, text, attributes)

    def _cells(
        self, key: str, texts: Sequence[str], attributes: dict[str, Scalar]
    ) -> Iterator[tuple[str, str]]:
        yield self._columns.key, key
        yield from zip(self._columns.texts, texts, strict=True)
        for field, value in attributes.items():
            if isinstance(value, str):
                yield field, value

    def _fault(self, field: str, value: str) -> tuple[str, str] | None:
        if "\0" in value:
            return "nul_character", (
                f"column {quoted(field)} holds a NUL character, which no text should: remove it"
            )
        if len(value) > self._max_cell:
            return "cell_too_long", (
                f"column {quoted(field)} has {len(value):,} characters, "
                f"and {self._max_cell:,} are the most: shorten it"
            )
        if not encodable(value):
            return "undecodable", self._undecodable(field, value)
        return None

    def _undecodable(self, field: str, value: str) -> str:
        code = ord(_SURROGATE.findall(value)[0])
        if self._encoding is None or not 0xDC80 <= code <= 0xDCFF:
            return (
                f"column {quoted(field)} holds half a character (the lone surrogate U+{code:04X}): "
                "write the whole character, or remove it"
            )
        where = f"byte 0x{code - 0xDC00:02X} at column {quoted(field)} is not"
        if self._encoding == "utf-8":
            return f"{where} UTF-8: save the file as UTF-8 or pass --encoding latin-1"
        return f"{where} {self._encoding}: pass the --encoding that the file was saved in"

    def _blank_text(self) -> str:
        texts = self._columns.texts
        if len(texts) == 1:
            return f"the text column {quoted(texts[0])} is blank: fill it in or remove the row"
        return f"the text columns {listed(texts)} are all blank: fill one in or remove the row"
