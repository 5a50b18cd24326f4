"""Starts a process of Aparella with the harness's points in it: `python -m bench.faults.entry`.

The pool's processes are spawned, and import the main module of their parent: this one. Production
code knows nothing of it.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

CLOCK = "APARELLA_FAULTS_CLOCK"
"""Seconds by which this process's clock is wrong."""
OFF = "APARELLA_FAULTS_OFF"
"""The safeguard that a negative control does without."""
OWNER = "APARELLA_FAULTS_OWNER"
"""The harness's process id."""
ROLE = "APARELLA_FAULTS_ROLE"

Function = Callable[..., Any]


def _shift_clock() -> None:
    shift, now = float(os.environ.get(CLOCK, "0")), time.time
    if shift:
        time.time = lambda: now() + shift


def _patch(owner: Any, name: str, make: Callable[[Function], Function]) -> None:
    setattr(owner, name, make(getattr(owner, name)))


def _point(name: str, *, before: bool = False) -> Callable[[Function], Function]:
    """A function of which the beginning or the end is a point; finds chunk and connection."""
    import sqlalchemy as sa

    from aparella.db.leases import Claimed
    from bench.faults import points

    def make(function: Function) -> Function:
        def here(values: list[Any]) -> None:
            chunk = next((v.id for v in values if isinstance(v, Claimed)), 0)
            connection = next((v for v in values if isinstance(v, sa.Connection)), None)
            points.reach(name, chunk, connection)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            if before:
                here([*arguments, *named.values()])
            answer = function(*arguments, **named)
            if not before and answer is not None:
                here([answer, *arguments, *named.values()])
            elif not before and name != "claimed":
                here([*arguments, *named.values()])
            return answer

        return wrapped

    return make


def _install_in_worker() -> None:
    from aparella.db import leases, stages
    from aparella.workers import context, engine, runner
    from bench.faults import points
    from bench.faults.poison import Poisoned

    _patch(engine, "claim", _point("claimed"))
    _patch(leases, "fence", _point("fenced"))
    _patch(leases, "finish", _point("written"))
    _patch(engine, "commit", _point("worked", before=True))
    _patch(engine, "commit", _point("committed"))
    _patch(stages, "start_next", _point("fanned-in"))

    def paced(work: Function) -> Function:
        def wrapped(ctx: Any, chunk: Any, tick: Any) -> Any:
            if chunk.kind == "work":
                points.dawdle(tick)
            return work(ctx, chunk, tick)

        return wrapped

    _patch(runner, "_work", paced)
    folder = points._folder()
    _patch(context, "load_encoder", lambda load: lambda *a: Poisoned(load(*a), folder))


def _install_in_reconciler() -> None:
    from aparella.workers import engine
    from aparella.workers.broker import Broker

    _patch(engine, "settle", _point("settled"))
    _patch(Broker, "send", _point("marked", before=True))
    _patch(Broker, "send", _point("sent"))


def _install_in_api() -> None:
    from aparella.db import jobs

    _patch(jobs, "create", _point("created"))


def _switch_off(safeguard: str) -> None:
    """Do without one of the engine's safeguards, as the negative controls want it."""
    from aparella.db import chunks, leases
    from aparella.db.engine import transaction
    from aparella.workers import engine
    from aparella.workers.reconciler import Reconciler

    if safeguard == "fencing":
        _patch(leases, "fence", lambda _: lambda *_a: True)
    elif safeguard == "reconciler":
        _patch(Reconciler, "reconcile", lambda _: lambda _self: None)
    elif safeguard == "transaction":

        def commit(db: Any, chunk: leases.Claimed, write: Any, **_go_on: Any) -> Any:
            from bench.faults import points

            with transaction(db) as connection:
                if not leases.fence(connection, chunk):
                    return engine.Committed()
                outcome = write(connection)
            points.reach("between", chunk.id)
            with transaction(db) as connection:
                leases.finish(connection, chunk, size=outcome.size, failed=outcome.failed)
                chunks.notify(connection)
            return engine.Committed()

        engine.commit = commit


def _install(role: str) -> None:
    _shift_clock()
    if safeguard := os.environ.get(OFF):
        _switch_off(safeguard)
    {
        "workers": _install_in_worker,
        "workers.reconciler": _install_in_reconciler,
        "api": _install_in_api,
    }[role]()


def _outlive_no(owner: int) -> None:
    """End with the harness, were it killed: this process's group, its pool among it."""
    while True:
        time.sleep(2)
        try:
            os.kill(owner, 0)
        except ProcessLookupError:
            os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Run the command whose module is named first."""
    role = sys.argv.pop(1)
    os.environ[ROLE] = role
    if owner := os.environ.get(OWNER):
        threading.Thread(target=_outlive_no, args=(int(owner),), daemon=True).start()
    _install(role)
    if role == "workers":
        from aparella.workers.__main__ import main as run
    elif role == "workers.reconciler":
        from aparella.workers.reconciler import main as run
    else:
        from aparella.api.__main__ import main as run
    run()


if __name__ == "__main__":
    main()
elif __name__ == "__mp_main__" and ROLE in os.environ:
    _install(os.environ[ROLE])
