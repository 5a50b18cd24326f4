"""The command `python -m aparella.workers`: a Celery worker for some of the queues."""

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
from typing import Any

from celery.signals import worker_init, worker_shutting_down

from aparella.errors import AparellaError, ServiceUnavailableError
from aparella.settings import load
from aparella.workers.broker import Broker
from aparella.workers.contracts import QUEUES

DRAIN_SECONDS = 20.0
"""After SIGTERM a chunk may go on for so long; then it is handed back."""

LONGEST = {"train": 7 * 24 * 3600, "other": 6 * 3600}
"""Seconds of a chunk: the last resort behind the heartbeat's own watch of progress."""

log = logging.getLogger(__name__)
_worker: Any = None


@worker_init.connect  # type: ignore[untyped-decorator]
def _remember(sender: Any = None, **_: object) -> None:
    global _worker
    _worker = sender


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _hand_back_later(**_: object) -> None:
    timer = threading.Timer(DRAIN_SECONDS, _hand_back)
    timer.daemon = True
    timer.start()


def _hand_back() -> None:
    """Tell the pool's processes to hand their chunks back at the next sign of life."""
    from aparella.workers.tasks import DRAIN_SIGNAL

    for process in _worker.pool._pool._pool if _worker is not None else ():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, DRAIN_SIGNAL)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m aparella.workers", description=__doc__)
    parser.add_argument("--queues", default=",".join(QUEUES), help="some of %(default)s")
    parser.add_argument(
        "--concurrency",
        type=int,
        default=os.cpu_count(),
        help="processes, one thread each (default: one per core)",
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        help="threads of each process (default: %(default)s); a training wants all cores",
    )
    parser.add_argument("--name", default="worker", help="its name in logs")
    arguments = parser.parse_args()
    queues = arguments.queues.split(",")
    if unknown := set(queues) - set(QUEUES):
        parser.error(f"unknown queue {', '.join(unknown)}: there are {', '.join(QUEUES)}")
    if min(arguments.concurrency, arguments.threads) < 1:
        parser.error("--concurrency and --threads must be at least 1")
    # Before any library reads them.
    os.environ.update(
        OMP_NUM_THREADS=str(arguments.threads),
        MKL_NUM_THREADS=str(arguments.threads),
        # Threads that spin while they wait for each other take the cores from those they wait for
        # when the machine has other work: seen to make a training three times slower.
        OMP_WAIT_POLICY="PASSIVE",
        APARELLA_THREADS=str(arguments.threads),
        TOKENIZERS_PARALLELISM="false",
        TQDM_DISABLE="1",  # no progress bars in a log
    )
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        settings = load()
        from aparella.workers.app import app

        try:
            Broker(settings, app).check()
        except ServiceUnavailableError as error:
            log.warning("%s: waiting for it", error)  # Celery itself goes on trying
        app.worker_main(
            [
                "worker",
                f"--queues={arguments.queues}",
                f"--concurrency={arguments.concurrency}",
                f"--hostname={arguments.name}@%h",
                f"--time-limit={LONGEST['train' if 'train' in queues else 'other']}",
                "--loglevel=INFO",
                "--without-gossip",
                "--without-mingle",
            ]
        )
    except AparellaError as error:
        sys.exit(f"aparella: {error}")


if __name__ == "__main__":
    main()
