"""The tables, as SQLAlchemy declares them; `migrations/` creates exactly these (a test holds it).

Large and hot tables (record, embedding, chunk, match) are written by COPY or set-based SQL only.
"""

from aparella.db.tables import (
    access,
    data,
    jobs,
    models,
    operation,
    pairs,
    reports,
    results,
)
from aparella.db.tables.base import DIMENSIONS, metadata

__all__ = [
    "DIMENSIONS",
    "access",
    "data",
    "jobs",
    "metadata",
    "models",
    "operation",
    "pairs",
    "reports",
    "results",
]
