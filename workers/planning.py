"""The choice between exact search and an index."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class SearchPlan:
    """How a job searches its catalogue.

    Attributes:
        search: `exact` in the workers' memory, or `hnsw` through the database's index.
        reason: why, in a sentence for the user.
        matrix_bytes: size of the catalogue's float32 matrix.
    """

    search: Literal["exact", "hnsw"]
    reason: str
    matrix_bytes: int


_ALWAYS_EXACT_ROWS = 100_000
# Measured on 2 cores, 100,000 rows of 384 dimensions; the index on a halfvec cast, ef_search 40:
_EXACT_QUERIES_PER_S = 1_098.0
_HNSW_QUERIES_PER_S = 816.0
_HNSW_BUILD_S = 51.0


def choose_search(
    rows: int,
    dim: int,
    memory_bytes: int,
    sources: int,
    *,
    indexed: bool = False,
    shared: bool = True,
) -> SearchPlan:
    """Choose between exact search and an HNSW index.

    Exact search takes time in proportion to the catalogue, an index's search hardly; but the
    index must be built first. In seconds on the machine of the measurement, whose ratio is what
    counts::

        exact = sources / 1,098 x (rows x dim) / (100,000 x 384)
        hnsw  = sources / 816   +  51 x rows / 100,000  (no build if `indexed`)

    Args:
        rows: records of the catalogue.
        dim: dimension of the vectors.
        memory_bytes: what may be used for the matrix.
        sources: how many queries there will be.
        indexed: whether the catalogue's index exists already.
        shared: whether that is for all processes of a machine, which map one matrix; otherwise for
            each of them, which holds its own.
    """
    matrix_bytes = rows * dim * 4  # float32
    matrix, memory = f"{matrix_bytes / 2**20:,.1f} MB", f"{memory_bytes / 2**20:,.0f} MB"
    if matrix_bytes > memory_bytes:
        who = (
            "the worker processes of a machine may share (APARELLA_CATALOGUE_MEMORY_MB)"
            if shared
            else "a worker process may use for a copy of its own (APARELLA_MATCH_MEMORY_MB)"
        )
        reason = f"The catalogue's {rows:,} records take {matrix}, more than the {memory} {who}."
        return SearchPlan("hnsw", reason, matrix_bytes)
    if rows <= _ALWAYS_EXACT_ROWS:
        whose = (
            "a machine's memory, where its worker processes share them"
            if shared
            else "a worker process's memory, each holding a copy of its own"
        )
        reason = (
            f"The catalogue's {rows:,} records ({matrix}) fit {whose}, and up to "
            f"{_ALWAYS_EXACT_ROWS:,} an exact search is cheaper than an index."
        )
        return SearchPlan("exact", reason, matrix_bytes)
    exact = sources / _EXACT_QUERIES_PER_S * (rows * dim) / (100_000 * 384)
    build = 0.0 if indexed else _HNSW_BUILD_S * rows / 100_000
    hnsw = build + sources / _HNSW_QUERIES_PER_S
    search: Literal["exact", "hnsw"] = "exact" if exact <= hnsw else "hnsw"
    building = "" if indexed else ", its building included"
    reason = (
        f"Searching {rows:,} records for {sources:,} others is estimated at {exact:,.0f} s "
        f"exactly and at {hnsw:,.0f} s through an index{building}."
    )
    return SearchPlan(search, reason, matrix_bytes)
