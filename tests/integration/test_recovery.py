"""What the fault campaign found: frozen transactions, expired chunks one by one, honest counts."""

from collections.abc import Iterator
from time import sleep

import pytest
import redis
import sqlalchemy as sa

from aparella.db import leases
from aparella.db.engine import FRESH, create, statements, transaction, translate
from aparella.errors import PermanentError, ServiceUnavailableError, TransientError
from aparella.settings import Settings
from aparella.workers import engine
from aparella.workers.app import make_app
from aparella.workers.broker import Broker
from aparella.workers.context import Context
from aparella.workers.decisions import MAX_LOST, Cause
from aparella.workers.reconciler import Reconciler
from aparella.workers.runner import run_chunk
from tests.integration import drive, toy


@pytest.fixture
def reconciler(context: Context, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reconciler]:
    toy.install(context, monkeypatch, toy.ToyStage())
    app = make_app(context.settings)
    yield Reconciler(context.db, context.settings, Broker(context.settings, app))
    app.close()


def planned(context: Context, *, items: int, size: int) -> list[int]:
    job_id = toy.enqueue(context.db, items=items, size=size)
    run_chunk(context, toy.chunk_ids(context.db, job_id)[0], worker="test")
    return toy.chunk_ids(context.db, job_id, "ready")


def state(context: Context, chunk_id: int) -> str:
    return str(toy.execute(context.db, "SELECT state FROM chunk WHERE id = :i", i=chunk_id)[0][0])


def test_a_silent_transaction_gives_its_locks_up(context: Context, reconciler: Reconciler) -> None:
    """A worker that is frozen, or cut off, between its results and their COMMIT holds its chunk."""
    (chunk_id,) = planned(context, items=2, size=2)
    frozen = create(context.settings, name="frozen", silence=0.2)
    chunk = engine.claim(frozen, context.settings, chunk_id, worker="frozen")
    assert chunk is not None
    with frozen.connect() as connection:
        assert leases.fence(connection, chunk)
        # Waits for the row, which the server takes away from the silent transaction.
        toy.expire(context.db, [chunk_id])
        reconciler.reconcile()
        assert state(context, chunk_id) == "split"
        with pytest.raises(sa.exc.DBAPIError) as lost:
            connection.execute(sa.text("SELECT 1"))
        assert isinstance(translate(lost.value), TransientError)
    frozen.dispose()


def test_a_worker_s_connection_that_rested_is_tried_and_replaced(context: Context) -> None:
    """One that was just used is not: then its caller sees that it broke, once."""
    db = create(context.settings, name="worker", silence=5.0)
    end(context, pid(db))
    with pytest.raises(ServiceUnavailableError):
        pid(db)
    before = pid(db)
    end(context, before)
    sleep(FRESH + 0.1)
    assert pid(db) != before
    db.dispose()


def pid(db: sa.Engine) -> int:
    with statements(db) as connection:
        return int(connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one())


def end(context: Context, backend: int) -> None:
    toy.execute(context.db, "SELECT pg_terminate_backend(:i, 5000)", i=backend)


def test_a_chunk_that_cannot_be_settled_holds_up_no_other(
    context: Context, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = planned(context, items=4, size=2)
    for chunk_id in (first, second):
        assert drive.claim(context, chunk_id) is not None
    toy.expire(context.db, [first, second])
    settle = engine.settle

    def fail(connection: sa.Connection, chunk_id: int, *more: object) -> None:
        if chunk_id == first:
            raise PermanentError("there is something about this one")
        settle(connection, chunk_id, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(engine, "settle", fail)
    reconciler.reconcile()
    assert (state(context, first), state(context, second)) == ("leased", "split")


def test_a_chunk_whose_worker_came_back_is_not_settled(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.install(context, monkeypatch, toy.ToyStage())
    (chunk_id,) = planned(context, items=2, size=2)
    chunk = drive.claim(context, chunk_id)
    assert chunk is not None
    toy.expire(context.db, [chunk_id])
    with transaction(context.db) as connection:
        ((_, token),) = leases.expired(connection, progress_seconds=600.0)
        gone = leases.still_expired(connection, chunk_id, token, progress_seconds=600.0)
        assert gone is False
        leases.heartbeat(connection, chunk, lease_seconds=60.0, idle_seconds=0.0)
        gone = leases.still_expired(connection, chunk_id, token, progress_seconds=600.0)
        assert gone is None


def test_outages_are_not_counted_as_lost_workers(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.install(context, monkeypatch, toy.ToyStage())
    (chunk_id,) = planned(context, items=1, size=1)
    causes = [*[Cause.TRANSIENT] * MAX_LOST, *[Cause.LOST] * MAX_LOST]
    for cause in causes:
        assert state(context, chunk_id) == "ready"
        chunk = drive.claim(context, chunk_id)
        assert chunk is not None
        with transaction(context.db) as connection:
            engine.settle(connection, chunk.id, chunk.lease_token, cause, "gone")
        toy.pass_time(context.db)
    query = "SELECT state, error, lost FROM chunk WHERE id = :i"
    ((ended, error, _),) = toy.execute(context.db, query, i=chunk_id)
    assert ended == "dead"
    assert f"every one of {MAX_LOST} attempts" in error


@pytest.mark.parametrize(
    "garbage",
    [b"\x00\xff not JSON", b"[]", b"{}", b'{"body": "e30=', b'{"body": "!!!", "properties": {}}'],
)
def test_what_is_no_message_does_not_end_the_worker(settings: Settings, garbage: bytes) -> None:
    app = make_app(settings)
    with redis.Redis.from_url(settings.redis_url) as server:
        Broker(settings, app).send("match", 7)
        server.rpush("match", garbage)  # taken first
    taken: list[object] = []
    with app.connection() as connection, connection.channel() as channel:
        consumer = app.amqp.TaskConsumer(channel, queues=[app.amqp.queues["match"]])
        consumer.on_message = taken.append
        with consumer:
            while not taken:
                connection.drain_events(timeout=10)
    app.close()
    (message,) = taken
    assert message.payload[0] == [7]  # type: ignore[attr-defined]
