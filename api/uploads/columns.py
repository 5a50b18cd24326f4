"""Which columns of a file make a record, and where a header holds them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from aparella.api.uploads.wording import listed, quoted
from aparella.errors import InputError


@dataclass(frozen=True)
class Columns:
    """The columns that the user named.

    Attributes:
        key: the column that tells the records of a collection apart.
        texts: the columns whose values, joined by one space, are the record's text.
        attributes: the columns that are kept beside the text.
        optional: those of the attributes that a file need not have.
        parameters: how the request calls the key, the texts and the attributes.
    """

    key: str
    texts: tuple[str, ...]
    attributes: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    parameters: tuple[str, str, str] = ("key", "text", "attribute")

    def named(self) -> Iterator[tuple[str, str]]:
        """Yield (parameter, column), the parameter being one of `parameters`."""
        key, text, attribute = self.parameters
        yield key, self.key
        for column in self.texts:
            yield text, column
        for column in self.attributes:
            yield attribute, column

    def missing_from(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """Return the (parameter, column) pairs that a header of `names` ought to hold."""
        return [
            (parameter, column)
            for parameter, column in self.named()
            if column not in names and column not in self.optional
        ]

    def kept_of(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the attributes that a header of `names` holds."""
        return tuple(column for column in self.attributes if column in names)


def check_columns(columns: Columns) -> None:
    """Refuse a request that names no key or no text column.

    Raises:
        InputError: `missing_column`.
    """
    if not columns.key:
        raise InputError(
            "No key column is named. Pass --key with the column that tells the rows apart.",
            field="key",
            code="missing_column",
        )
    if not any(columns.texts):
        raise InputError(
            "No text column is named. Pass --text with the column that describes the item.",
            field="text",
            code="missing_column",
        )


def check_header(names: Sequence[str], columns: Columns, *, file: str, limit: int) -> None:
    """Check that a header holds each of the named columns exactly once.

    Args:
        names: the header's columns, in order.
        columns: what the user asked for.
        file: the file's name, for the message.
        limit: the most columns that a file may have.

    Raises:
        InputError: `too_many_columns`, `unknown_column` or `duplicate_column`.
    """
    if len(names) > limit:
        raise InputError(
            f"{file}: the header has {len(names):,} columns, and {limit:,} are the most that can "
            "be read. Keep only the columns that are needed.",
            code="too_many_columns",
        )
    for parameter, column in columns.missing_from(names):
        raise unknown_column(
            parameter, column, names, file=file, lack="the header has no column", columns=columns
        )
    for parameter, column in columns.named():
        if names.count(column) > 1:
            raise InputError(
                f"{file}: the header has {names.count(column)} columns named {quoted(column)}, "
                "and which of them is meant cannot be told. Rename all but one.",
                field=parameter,
                code="duplicate_column",
            )


def unknown_column(
    parameter: str, column: str, names: Sequence[str], *, file: str, lack: str, columns: Columns
) -> InputError:
    """Make the error for a column that a file does not hold; it names those that it does hold."""
    # The key is not what was meant by a text, nor a text by the key; an attribute may be either.
    taken = {columns.key, *columns.texts} if parameter in columns.parameters[:2] else set()
    folded = {name.casefold(): name for name in names if name and name not in taken}
    close = get_close_matches(column.casefold()[:100], folded, n=1)
    hint = (
        f"Did you mean {quoted(folded[close[0]])}?"
        if close
        else f"Pass another --{parameter.replace('_', '-')}."
    )
    return InputError(
        f"{file}: {lack} {quoted(column)}. It has {listed(names)}. {hint}",
        field=parameter,
        code="unknown_column",
    )
