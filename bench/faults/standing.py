"""A stack that stands: servers, API, two reconcilers and workers, for as long as a block lasts."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.faults.processes import Stack


@contextmanager
def stack(
    processes: Mapping[str, int], *, off: str = "", chunk: int = 4, keep: Path | None = None
) -> Iterator[Stack]:
    """A stack with workers of so many processes each; the second one's clock is an hour wrong.

    Args:
        processes: of each worker, by name.
        off: the safeguard that all processes do without.
        chunk: items of a chunk.
        keep: where the logs go afterwards.
    """
    from bench.faults import entry

    with tempfile.TemporaryDirectory(prefix="aparella-faults-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # as root, PostgreSQL runs as a user of its own
        on = Stack(folder)
        try:
            on.start_servers()
            on.environment |= {
                "APARELLA_EMBED_CHUNK": str(chunk),
                "APARELLA_MATCH_CHUNK": str(chunk),
            }
            on.environment[entry.OWNER] = str(os.getpid())
            if off:
                on.environment[entry.OFF] = off
            on.start_api()
            # Two, as operators are told to have: one stands by.
            on.start("reconciler", "workers.reconciler", **{entry.CLOCK: "-3600"})
            on.start("reconciler-2", "workers.reconciler")
            for number, (worker, count) in enumerate(processes.items()):
                clock = {entry.CLOCK: "3600"} if number else {}
                on.start(worker, "workers", *_words(worker, count), **clock)
            yield on
        finally:
            on.stop()
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                for log in (folder / "logs").glob("*.log*"):
                    (keep / log.name).write_bytes(log.read_bytes())


def _words(name: str, count: int) -> tuple[str, ...]:
    return ("--queues", "import,embed,match", "--concurrency", str(count), "--name", name)
