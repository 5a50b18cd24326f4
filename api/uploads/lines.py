"""The characters of an upload, line by line, with a bound on what one row may take."""

import codecs
import io
from collections.abc import Iterator
from functools import partial
from itertools import islice

from aparella.api.uploads.wording import quoted
from aparella.errors import InputError

LONGEST_ROW = 1 << 24
"""Characters of one row, 16 Mi: more is an unclosed quote, or no text file at all."""

_MARKS = [
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark begins it
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
]
_NOT_FOR_FILES = {"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape"}


def choose_encoding(encoding: str | None, head: bytes) -> str:
    """Return the name of the codec to decode with: the user's, the byte order mark's, or UTF-8.

    Raises:
        InputError: `unknown_encoding`, or `undecodable` where the bytes are plainly UTF-16
            without its mark.
    """
    if encoding is None:
        marked = next((name for mark, name in _MARKS if head.startswith(mark)), None)
        if marked is None:
            _check_bytes(head)
        return marked or "utf-8"
    try:
        name = codecs.lookup(encoding).name.replace("_", "-")
        io.TextIOWrapper(io.BytesIO(), encoding=name)
    except (LookupError, ValueError):
        name = "undefined"
    if name.replace("-", "_") in _NOT_FOR_FILES:
        raise InputError(
            f"The encoding {quoted(encoding)} is not known. "
            "Pass --encoding utf-8, latin-1, cp1252 or utf-16, or leave it out for UTF-8.",
            field="encoding",
            code="unknown_encoding",
        )
    return "utf-8" if name == "utf-8-sig" else name


def _check_bytes(head: bytes) -> None:
    """Refuse UTF-16 without a mark: western text shows it by a NUL in every other byte."""
    for start, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        half = head[start::2]
        if half.count(0) * 2 > len(half):
            raise InputError(
                f"The file is not UTF-8 but looks like UTF-16. Pass --encoding {name}, or save it "
                "as UTF-8.",
                field="encoding",
                code="undecodable",
            )


class Lines:
    """The physical lines of a file. Iterate over it once, and `take` each row's lines off it.

    Args:
        source: the file's bytes.
        encoding: as `choose_encoding` returned it.
        label: how messages call the file.

    Attributes:
        number: of the first line that has not been taken, counted from 1.
        pending: the lines handed out but not taken yet: those of the row being read.
        ended: whether the file has been read to its end.

    Raises:
        InputError: while iterating: `unclosed_quote` where the pending lines exceed `LONGEST_ROW`,
            `undecodable` where an encoding that is not made of single bytes fails, and all that
            the source raises.
    """

    def __init__(self, source: io.BufferedReader, *, encoding: str, label: str) -> None:
        # An undecodable byte becomes a surrogate, so that only its own row need be refused. The
        # handler cannot do that for UTF-16 and UTF-32; a lone surrogate there passes as itself.
        errors = "surrogatepass" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
        self._stream = io.TextIOWrapper(source, encoding=encoding, errors=errors, newline="")
        self._encoding = encoding
        self._label = label
        self.number = 1
        self.pending: list[str] = []
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        size = 0
        for line in self._decoded():
            if not self.pending:
                size = 0
            self.pending.append(line)
            size += len(line)
            if size > LONGEST_ROW:
                raise self._too_long()
            yield line
        self.ended = True

    def take(self) -> tuple[int, str]:
        """Return the number of the first pending line and all of them together, and clear them."""
        pending, number = self.pending, self.number
        text = pending[0] if len(pending) == 1 else "".join(pending)
        self.number += len(pending)
        pending.clear()
        return number, text

    def unclosed_quote(self) -> InputError:
        """Make the error for a quoted cell that begins in the pending lines and never ends."""
        return InputError(
            f"{self._label}: a quote opens in the row that begins on line {self.number:,} and is "
            "not closed. Close it there, or double it if it belongs to the text.",
            code="unclosed_quote",
        )

    def _decoded(self) -> Iterator[str]:
        # A line is read up to a bound, as a file may be one line without an end.
        lines = iter(partial(self._stream.readline, LONGEST_ROW + 1), "")
        try:
            yield from (line.removeprefix("\ufeff") for line in islice(lines, 1))
            yield from lines
        except UnicodeError as error:
            raise InputError(
                f"{self._label}: after line {self.number:,} the file is not {self._encoding}. "
                "Pass the --encoding that it was saved in.",
                field="encoding",
                code="undecodable",
            ) from error

    def _too_long(self) -> InputError:
        if len(self.pending) > 1:
            return self.unclosed_quote()
        return InputError(
            f"{self._label}: line {self.number:,} is over {LONGEST_ROW:,} characters long: a quote "
            "is not closed there, or the file is not text made of lines. Check its format.",
            code="unclosed_quote",
        )
