"""A Celery application of one task that does nothing, with the settings of Aparella's own."""

import os

from aparella.settings import load
from aparella.workers.app import make_app

app = make_app(load())
app.conf.imports = ()
QUEUE = "bare"


@app.task(name="bare.nothing")  # type: ignore[untyped-decorator]
def nothing(_number: int) -> None:
    """Do nothing."""


def main() -> None:
    """Run a worker of BENCH_PROCESSES processes."""
    app.worker_main(
        [
            *("worker", f"--queues={QUEUE}", f"--concurrency={os.environ['BENCH_PROCESSES']}"),
            *("--hostname=bare@%h", "--loglevel=WARNING", "--without-gossip", "--without-mingle"),
        ]
    )


if __name__ == "__main__":
    main()
