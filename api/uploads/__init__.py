"""Reading an uploaded file into rows: CSV, NDJSON or Parquet, each also compressed with gzip.

A file that is wrong as a whole raises `aparella.errors.InputError`; a row that is wrong by itself
is yielded as a `BadRow` with its reason, and reading goes on. Nothing here knows HTTP or SQL.
"""

from aparella.api.uploads.columns import Columns
from aparella.api.uploads.reader import read_rows
from aparella.api.uploads.rows import BadRow, Limits, Row

__all__ = ["BadRow", "Columns", "Limits", "Row", "read_rows"]
