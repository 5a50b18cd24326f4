"""How a user's own words are shown in messages: short, printable, and storable anywhere."""

from collections.abc import Sequence

_LONGEST_WORD = 60
_MOST_WORDS = 20
_LONGEST_NAME = 200


def quoted(text: str) -> str:
    """Return `text` in quotes, shortened, with all that is not printable escaped."""
    return repr(text if len(text) <= _LONGEST_WORD else text[:_LONGEST_WORD] + "…")


def listed(names: Sequence[str]) -> str:
    """Return the first names of a header in quotes, and how many more there are."""
    shown = ", ".join(quoted(name) for name in names[:_MOST_WORDS])
    more = len(names) - _MOST_WORDS
    return f"{shown} and {more:,} more" if more > 0 else shown or "no column at all"


def file_label(filename: str) -> str:
    """Return how messages call the file: its name, or "the file" when it came without one."""
    label = "".join(char if char.isprintable() else "?" for char in filename[:_LONGEST_NAME])
    return label.strip() or "the file"


def delimiter_label(delimiter: str) -> str:
    """Return how a delimiter is shown, in the form that `--delimiter` takes."""
    return "tab" if delimiter == "\t" else repr(delimiter)
