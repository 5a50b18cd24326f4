"""What operators look at and act on: workers, queues, and the doctor."""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from time import time
from typing import Annotated
from urllib.parse import urlsplit

import sqlalchemy as sa
from fastapi import APIRouter
from fastapi import Path as PathParameter

from aparella.api import broker, doctor
from aparella.api import operation_schemas as schemas
from aparella.api.dependencies import Database, ServerSettings
from aparella.db import condition, migrate, pauses, queues, workers
from aparella.db.engine import transaction
from aparella.errors import AparellaError, NotFoundError
from aparella.settings import Settings
from aparella.workers.contracts import QUEUES

IDLE_SECONDS = 300.0

log = logging.getLogger(__name__)
router = APIRouter(tags=["operation"])

Name = Annotated[str, PathParameter(min_length=1, max_length=300)]


@router.get("/workers")
def list_workers(db: Database) -> schemas.Workers:
    """Workers and reconcilers: where they run, on what, how fast, and since when."""
    with transaction(db) as connection:
        found = workers.present(connection)
    return schemas.Workers(items=[schemas.Worker.of(worker) for worker in found])


@router.post("/workers/{name}/drain", status_code=202)
def drain_worker(name: Name, db: Database) -> schemas.Workers:
    """Let a worker finish the chunks in hand and take no more; it runs on, idle."""
    return _drain(db, name, draining=True)


@router.post("/workers/{name}/resume", status_code=202)
def resume_worker(name: Name, db: Database) -> schemas.Workers:
    """Let a drained worker take chunks again."""
    return _drain(db, name, draining=False)


@router.get("/queues")
def list_queues(db: Database) -> schemas.Queues:
    """The queues, with what waits in them."""
    with transaction(db) as connection:
        return schemas.Queues(items=[*_queues(connection)])


@router.post("/queues/{name}/pause", status_code=202)
def pause_queue(name: Name, db: Database) -> schemas.Queue:
    """Let a queue rest: chunks in hand finish, and no other is taken up until it is resumed."""
    _known(name)
    with transaction(db) as connection:
        pauses.pause_queue(connection, name)
        return _queue(connection, name)


@router.post("/queues/{name}/resume", status_code=202)
def resume_queue(name: Name, db: Database) -> schemas.Queue:
    """Let a paused queue go on."""
    _known(name)
    with transaction(db) as connection:
        pauses.resume_queue(connection, name)
        return _queue(connection, name)


@router.get("/doctor")
def examine(db: Database, settings: ServerSettings) -> schemas.Findings:
    """Look at everything that an operator may have to mend; each finding says what to do."""
    found = [*_database(db, settings)]
    worst = next((s for s in ("failed", "warning") if any(f.status == s for f in found)), "ok")
    items = [schemas.Finding.model_validate(finding) for finding in found]
    return schemas.Findings.model_validate({"status": worst, "items": items})


def _drain(db: sa.Engine, name: str, *, draining: bool) -> schemas.Workers:
    with transaction(db) as connection:
        ids = {worker.id for worker in workers.drain(connection, name, draining=draining)}
        found = [worker for worker in workers.present(connection) if worker.id in ids]
    return schemas.Workers(items=[schemas.Worker.of(worker) for worker in found])


def _known(name: str) -> None:
    if name not in QUEUES:
        raise NotFoundError(f"There is no queue {name!r}: there are {', '.join(QUEUES)}.")


def _queue(connection: sa.Connection, name: str) -> schemas.Queue:
    return next(queue for queue in _queues(connection) if queue.name == name)


def _queues(connection: sa.Connection) -> Iterator[schemas.Queue]:
    depths, oldest = queues.depths(connection), queues.oldest_seconds(connection)
    resting, there = queues.paused(connection), workers.alive(workers.present(connection))
    for name in QUEUES:
        own = [depth for depth in depths if depth.queue == name]
        yield schemas.Queue(
            name=name,
            state="paused" if name in resting else "open",
            paused_at=resting.get(name),
            waiting=sum(depth.waiting for depth in own),
            paused=sum(depth.paused for depth in own),
            leased=sum(depth.leased for depth in own),
            workers=sum(name in worker.queues and not worker.draining for worker in there),
            oldest_seconds=oldest.get(name),
        )


def _database(db: sa.Engine, settings: Settings) -> Iterator[doctor.Finding]:
    redis = broker.look(settings.redis_url, QUEUES)
    try:
        with transaction(db) as connection:
            before = time()
            server = condition.server(connection)
            skew = (before + time()) / 2 - server.clock
            current, head = migrate.revisions(connection)
    except AparellaError as error:
        log.warning("doctor: %s", error)
        yield doctor.no_database("does not answer")
        yield doctor.broker(redis)
        return
    yield from doctor.database(server)
    yield doctor.extensions(server)
    yield doctor.migrations(current, head)
    yield doctor.broker(redis)
    if current != head:
        return  # what else there is to see lies in tables that may not be there
    with transaction(db) as connection:
        there = workers.present(connection)
        work = condition.work(
            connection,
            patience_seconds=doctor.LEASE_PATIENCE,
            idle_seconds=IDLE_SECONDS,
            within_seconds=doctor.RECENT,
        )
        depths, oldest = queues.depths(connection), queues.oldest_seconds(connection)
        resting = [*queues.paused(connection)]
    yield doctor.clocks(skew, [worker for worker in there if worker.alive])
    yield doctor.reconciler(there, work)
    yield doctor.fleet([worker for worker in there if worker.kind == "worker"])
    yield from doctor.queues(QUEUES, depths, oldest, resting, redis.lengths, there)
    yield doctor.leases(work)
    yield doctor.dead(work)
    yield doctor.disk(_free(settings, there))


def _free(settings: Settings, there: list[workers.Worker]) -> dict[str, int]:
    """Bytes free by place: the artifact store's, where it is a folder here, and the workers'."""
    free = {
        f"the cache of {worker.name}": worker.disk_free_bytes
        for worker in there
        if worker.alive and worker.disk_free_bytes is not None
    }
    store = urlsplit(settings.artifacts)
    if store.scheme in {"", "file"}:
        folder = Path(store.path)
        existing = next((p for p in (folder, *folder.parents) if p.is_dir()), None)
        if existing is not None:
            free[f"the artifact store {folder}"] = shutil.disk_usage(existing).free
    return free
