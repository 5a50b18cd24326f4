"""The command `python -m aparella.workers`: a Celery worker for some of the queues."""

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
from typing import Any

import billiard.util
import sqlalchemy as sa
from celery.signals import (
    celeryd_after_setup,
    worker_init,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)

from aparella import logs, machine, traces
from aparella.db import budget, engine, workers
from aparella.errors import AparellaError, ServiceUnavailableError
from aparella.settings import Settings, load
from aparella.workers import sizing
from aparella.workers.broker import Broker
from aparella.workers.contracts import QUEUES
from aparella.workers.draining import Draining
from aparella.workers.presence import VARIABLE, Identity, Presence

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


@celeryd_after_setup.connect  # type: ignore[untyped-decorator]
def _hush(**_: object) -> None:
    """The pool's own library tells of each process that it starts, in lines of its own form."""
    billiard.util.get_logger().setLevel(logging.WARNING)


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


def _be_present(settings: Settings, identity: Identity) -> None:
    """Report this worker from when it is ready to its end, and let it be drained."""
    db = engine.create(settings, name="worker", pool=budget.WORKER)

    def start(**_: object) -> None:
        draining = Draining(_worker, identity.queues)

        def report(connection: sa.Connection) -> None:
            draining.heed(workers.report(connection, identity.report()))

        presence = Presence(db, report, identity.seconds)
        presence.start()

        def stop(**_: object) -> None:
            presence.stop(lambda connection: workers.stopped(connection, identity.id))

        worker_shutdown.connect(stop, weak=False)

    worker_ready.connect(start, weak=False)


def _fit(arguments: argparse.Namespace) -> None:
    """Settle what the user left open by the cores and the memory of this container."""
    memory = machine.memory_limit()
    if arguments.concurrency is None:
        arguments.concurrency = sizing.processes(machine.cores(), memory)
    if "APARELLA_MATCH_MEMORY_MB" not in os.environ:  # which bounds the other too
        own = sizing.match_memory_mb(memory, arguments.concurrency)
        together = sizing.catalogue_memory_mb(memory, arguments.concurrency)
        os.environ["APARELLA_MATCH_MEMORY_MB"] = str(own)
        os.environ.setdefault("APARELLA_CATALOGUE_MEMORY_MB", str(together))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m aparella.workers", description=__doc__)
    parser.add_argument("--queues", default=",".join(QUEUES), help="some of %(default)s")
    parser.add_argument(
        "--concurrency",
        type=int,
        help="processes, one thread each (default: one per core, if memory suffices)",
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
    if min(arguments.concurrency or 1, arguments.threads) < 1 or arguments.concurrency == 0:
        parser.error("--concurrency and --threads must be at least 1")
    _fit(arguments)
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
    try:
        settings = load()
        logs.set_up(settings.log)
        # Here it is a sentence; in the pool's processes, which trace, it would be their end.
        traces.check()
        identity = Identity.make(
            "worker",
            arguments.name,
            queues=tuple(queues),
            processes=arguments.concurrency,
            threads=arguments.threads,
            seconds=settings.report_seconds,
        )
        os.environ[VARIABLE] = str(identity.id)
        _be_present(settings, identity)
        from aparella.workers.app import app

        try:
            Broker(settings, app).check()
        except ServiceUnavailableError as error:
            log.warning("%s: waiting for it", error)  # Celery itself goes on trying
        app.worker_main(
            [
                # Its banner is no JSON.
                *(["--quiet"] if settings.log == "json" else []),
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
