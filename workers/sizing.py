"""How many processes a worker gets, and how much of a catalogue each may hold: pure arithmetic."""

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
    """MiB that each process may use for a catalogue's matrix; larger catalogues go through HNSW.

    What its share of the memory leaves beside the process itself, within bounds.
    """
    if memory_bytes is None:
        return MOST_MATRIX_MB
    left = (memory_bytes - PARENT_BYTES) // processes - PROCESS_BYTES
    return max(LEAST_MATRIX_MB, min(MOST_MATRIX_MB, left // MIB))
