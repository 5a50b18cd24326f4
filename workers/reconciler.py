"""The command `python -m aparella.workers.reconciler`: sees to it that every job ends.

It sends hints for ready chunks, settles expired leases, finishes stages whose fan-in was missed,
and carries out cancels. Several may run: an advisory lock lets one at a time do a pass. Workers
and the API wake it through NOTIFY when there is a stage or a job to begin. While one runs it looks
by itself (`supply`), and where no notification reaches it at all, four times a second.
"""

import argparse
import logging
import math
import select
import signal
import sys
from collections import defaultdict
from time import monotonic, sleep
from types import FrameType
from typing import Any

import sqlalchemy as sa

from aparella import logs, traces
from aparella.db import (
    budget,
    dispatch,
    jobs,
    leases,
    retention,
    sessions,
    stages,
    statistics,
    texts,
    workers,
)
from aparella.db.dispatch import Load
from aparella.db.engine import create, transaction
from aparella.errors import AparellaError, ServiceUnavailableError, TransientError
from aparella.settings import Settings, load
from aparella.workers import engine, pipelines
from aparella.workers.app import make_app
from aparella.workers.broker import Broker
from aparella.workers.presence import Identity, Presence, report_process, tidy
from aparella.workers.pulse import Pulse
from aparella.workers.supply import LATEST, Supply, pause

log = logging.getLogger(__name__)

MOST_TEXTS = 1_000
"""Texts of reports in one job."""
LOOK_FOR_OLD = 3_600.0
"""Seconds between two looks for jobs that are older than they are kept."""
UNTOLD = 0.25
"""Seconds between two looks for ready chunks where no notification comes."""
IDLE = 1.0
"""Seconds between two looks while no stage runs."""
LISTEN_AGAIN = 10.0
"""Seconds until the next try where listening has failed: one to a host that is silent takes five,
in which nothing else is done."""
PATIENCE = 5.0
"""Seconds after which a message that left the queue without a claim counts as lost."""


class Reconciler:
    """The reconciler's passes; each may be repeated at any time, by anyone."""

    def __init__(self, db: sa.Engine, settings: Settings, broker: Broker) -> None:
        self._db = db
        self._settings = settings
        self._broker = broker
        self._look_for_old = 0.0
        self._supplies: defaultdict[str, Supply] = defaultdict(Supply)
        self._pause = LATEST
        self._round = 0
        self._served: dict[int, int] = {}

    def reconcile(self) -> None:
        """Settle what others left behind."""
        hang = engine.hang_seconds(self._settings)
        with transaction(self._db) as connection:
            if not _is_first(connection):
                return
            expired = leases.expired(connection, progress_seconds=hang)
        for chunk_id, token in expired:
            # Each in a transaction of its own: one that cannot be settled holds up no other.
            try:
                engine.settle_expired(self._db, self._settings, chunk_id, token)
            except ServiceUnavailableError:
                raise
            except AparellaError as error:
                log.exception("chunk %d has expired and is not settled", chunk_id, exc_info=error)
        with transaction(self._db) as connection:
            running = stages.running(connection)
        self._served = {i: self._served[i] for i in running if i in self._served}
        for stage_id in running:
            engine.advance(self._db, stage_id, after_failure=True)
        engine.carry_out_cancels(self._db)
        with transaction(self._db) as connection:
            texts.give_up(connection)
        with transaction(self._db) as connection:
            if _is_first(connection):
                statistics.refresh(connection)
                tidy(connection)
        self._prune()

    def _prune(self) -> None:
        """Remove jobs that are older than is wished: a part at each pass, and a look now and then.

        Looking is not free where there are many old jobs that stay.
        """
        if monotonic() < self._look_for_old:
            return
        with transaction(self._db) as connection:
            if not _is_first(connection):
                return
            pruned = retention.prune(connection, days=self._settings.keep_jobs_days)
        if pruned.gone:
            log.info("removed %d old jobs: %s", len(pruned.gone), pruned.gone)
        self._look_for_old = monotonic() + (0.0 if pruned.more else LOOK_FOR_OLD)

    def dispatch(self) -> float:
        """Top the queues up.

        Redis's own count of waiting messages is the truth about them: a queue that was lost is
        shorter than what was sent, and is filled again.

        Returns:
            Seconds to the next look. Claims and commits do not wake us: that would be a lock of
            the whole server's for each of them, and a look at each.

        Raises:
            ServiceUnavailableError: Redis or PostgreSQL does not answer.
        """
        hints: list[tuple[str, int]] = []
        with transaction(self._db) as connection:
            if not _is_first(connection):
                return IDLE
            answer_reports(connection)
            loads = dispatch.load(connection)
            self._round += 1
            for load in loads:
                ids = self._due(connection, load)
                dispatch.mark_sent(connection, ids)
                hints += ((load.queue, chunk_id) for chunk_id in ids)
        # After the commit: a worker that is quicker than it would find the rows locked.
        for queue, chunk_id in hints:
            self._broker.send(queue, chunk_id)
        self._pause = pause(self._pause, sent=bool(hints))
        return self._pause if loads else IDLE

    def _due(self, connection: sa.Connection, load: Load) -> list[int]:
        """The chunks to send a message for now: new ones as far as there is room, and lost ones.

        Of the messages sent, those that neither wait in Redis nor led to a claim are lost.
        """
        ids: list[int] = []
        waiting = self._broker.length(load.queue)
        supply = self._supplies[load.queue].after(sent=load.sent, waiting=waiting)
        self._supplies[load.queue] = supply
        if (lost := load.sent - waiting) > 0:
            ids = dispatch.untaken(connection, load.queue, most=lost, patience_seconds=PATIENCE)
        if (room := load.leased + supply.spare - load.sent) > 0:
            new = dispatch.unsent(connection, load.queue, room=room, served=self._served)
            ids += new
            self._served.update(dict.fromkeys(new.values(), self._round))
        return ids


def answer_reports(connection: sa.Connection) -> None:
    """Make a job, for each model, of the texts whose vectors reports have asked for."""
    for model_id, ids in texts.waiting(connection, most=MOST_TEXTS).items():
        with traces.span("answer reports", texts=len(ids)):
            job_id, _ = jobs.create(
                connection,
                kind="texts",
                params={"texts": len(ids)},
                plan=pipelines.texts_stages(model_id),
                model_id=model_id,
            )
        texts.assign(connection, ids, job_id)


def _is_first(connection: sa.Connection) -> bool:
    lock = sa.text("SELECT pg_try_advisory_xact_lock(hashtext('aparella reconciler'))")
    return bool(connection.execute(lock).scalar_one())


class Bell:
    """Waits for `NOTIFY aparella_work`, or for the time to look anyway.

    Args:
        db: an engine for this alone. Where its connections lead to a pooler, nobody listens: it is
            a session that does, and a pooler would give it to others.
    """

    def __init__(self, db: sa.Engine) -> None:
        self._db = db
        self._connection: sa.Connection | None = None
        self._driver: Any = None
        self._listen_again = 0.0

    def wait(self, seconds: float) -> None:
        """Return at the next notification, at the latest after so many seconds."""
        try:
            if self._driver is None and monotonic() >= self._listen_again:
                self._listen()
            if self._driver is None:
                sleep(min(seconds, UNTOLD))
            elif select.select([self._driver], [], [], seconds)[0]:
                self._driver.poll()
                self._driver.notifies.clear()
        except (sa.exc.DBAPIError, self._db.dialect.loaded_dbapi.Error, OSError) as error:
            log.warning("listening for work failed: %s", str(error).split("\n")[0])
            self.close()
            self._listen_again = monotonic() + LISTEN_AGAIN
            sleep(min(seconds, 1.0))

    def close(self) -> None:
        """Listen no more."""
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
        self._connection = self._driver = None

    def _listen(self) -> None:
        connection = self._db.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._connection = connection
        driver = connection.connection.driver_connection
        if sessions.is_direct(driver):
            connection.exec_driver_sql("LISTEN aparella_work")
            self._driver = driver
        else:
            log.info("the database is behind a pooler: no notifications, more looks for work")
            self.close()
            self._listen_again = math.inf


def run(settings: Settings) -> None:
    """Reconcile until SIGTERM or SIGINT."""
    silence = max(settings.lease_seconds, 30.0)
    db = create(settings, name="reconciler", pool=budget.RECONCILER, silence=silence)
    own = create(settings, name="reconciler", pool=budget.LISTENER, session=True)
    broker = Broker(settings, make_app(settings))
    reconciler, bell = Reconciler(db, settings, broker), Bell(own)
    identity = Identity.make("reconciler", "reconciler", seconds=settings.report_seconds)
    stopped = False

    def report(connection: sa.Connection) -> None:
        workers.report(connection, identity.report())
        report_process(connection, identity.id, memory_bytes=0)  # it is that process itself

    presence = Presence(db, report, identity.seconds)
    presence.start()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    checked, due, pulse = False, 0.0, Pulse(settings.pulse)
    while not stopped:
        pulse.beat()
        wait = IDLE
        try:
            if not checked:
                broker.check()
                checked = True
            if monotonic() >= due:
                reconciler.reconcile()
                due = monotonic() + settings.reconcile_seconds
            wait = reconciler.dispatch()
        except ServiceUnavailableError as error:
            checked = False  # a Redis that comes back may be another one
            log.warning("%s", error)
            sleep(min(settings.reconcile_seconds, IDLE))
        except TransientError as error:
            log.warning("%s", error)
        bell.wait(min(settings.reconcile_seconds, wait))
    bell.close()
    presence.stop(lambda connection: workers.stopped(connection, identity.id))
    db.dispose()


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m aparella.workers.reconciler", description=__doc__
    )
    parser.parse_args()
    try:
        settings = load()
        logs.set_up(settings.log)
        traces.start("aparella-reconciler")
        run(settings)
    except AparellaError as error:
        sys.exit(f"aparella: {error}")
    finally:
        traces.shut_down()


if __name__ == "__main__":
    main()
