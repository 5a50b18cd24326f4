"""Cells of a CSV file that a spreadsheet shows and does not run (docs/decisions/0017).

A spreadsheet takes a cell that begins with `=`, and some other characters, for a formula: one in a
description that somebody else wrote could read other cells, fetch URLs or start programs.
"""

import re

_SUSPECT = tuple("=+-@\t\r\n＝＋－＠")
"""Beginnings of formulas: ASCII, what is skipped before it, and the full-width forms."""
_NUMBER = re.compile(r"[+-]?[0-9]+([.,][0-9]+)*([eE][+-]?[0-9]+)?")


def safe(text: str) -> str:
    """The text with an apostrophe before it if a spreadsheet could take it for a formula.

    A number with a sign stays as it is: it computes nothing, and may be a key.
    """
    if text.startswith(_SUSPECT) and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text
