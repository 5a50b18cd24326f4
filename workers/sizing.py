"""How many processes a worker gets, how much each may hold, how large a chunk is: arithmetic."""

from math import ceil

MIB = 1 << 20
PROCESS_BYTES = 600 * MIB
"""Memory that a process is counted with: 361 MiB were its peak with the model and a catalogue of
20,000 (docs/benchmarks.md), and an import's or a larger chunk's rows come on top."""
PARENT_BYTES = 300 * MIB
"""What the worker itself holds beside its processes, as `aparella workers` shows it."""
LEAST_MATRIX_MB, MOST_MATRIX_MB = 64, 1_024


def processes(cores: int, memory_bytes: int | None) -> int:
    """Processes of a worker that shares its container with nobody: one a core, if they fit.

    Args:
        cores: that it may use.
        memory_bytes: that it may use; None: unknown, taken to be enough.
    """
    if memory_bytes is None:
        return cores
    return max(1, min(cores, (memory_bytes - PARENT_BYTES) // PROCESS_BYTES))


def match_memory_mb(memory_bytes: int | None, processes: int) -> int:
    """MiB that each process may use for what it holds alone, beside the process itself.

    An assignment, or a catalogue's matrix where it cannot be shared.
    """
    return _matrix_mb(memory_bytes, processes, processes)


def catalogue_memory_mb(memory_bytes: int | None, processes: int) -> int:
    """MiB that all processes together may use for a catalogue's matrix; larger ones go by HNSW.

    The matrix counts once for all: they map the same pages. Those are pages of a file, which the
    kernel drops and reads again when memory is short; so what `match_memory_mb` gives to each
    process may be the same memory.
    """
    return _matrix_mb(memory_bytes, processes, 1)


def _matrix_mb(memory_bytes: int | None, processes: int, copies: int) -> int:
    """What the processes themselves leave, for each copy, within bounds."""
    if memory_bytes is None:
        return MOST_MATRIX_MB
    left = (memory_bytes - PARENT_BYTES - processes * PROCESS_BYTES) // copies
    return max(LEAST_MATRIX_MB, min(MOST_MATRIX_MB, left // MIB))


CHUNK_SECONDS = 10.0
"""What a chunk should take: so much is done again when a worker is lost, and it is long enough for
the claim and the commit not to count."""
ROUNDS = 4
"""Chunks that each process should get of a job at least, so that they end at about one time. With
eight, two cores did no better: what ends earlier is spent on twice the claims and commits."""
LEAST_CHUNK = 32


def chunk_size(items: int, rate: float | None, processes: int, *, first: int, most: int) -> int:
    """Items of a chunk: what one process does in `CHUNK_SECONDS`.

    Args:
        items: of the stage, at most.
        rate: items a second of one process, as measured; None: nothing is known yet.
        processes: that will share the work.
        first: the size where nothing is known.
        most: never more, for a chunk is held in memory.
    """
    size = first if rate is None else round(rate * CHUNK_SECONDS)
    share = ceil(items / (ROUNDS * max(1, processes)))
    return min(most, max(LEAST_CHUNK, min(size, share)))
