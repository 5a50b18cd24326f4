"""How many connections to the database each kind of process opens at most.

docs/operations.md adds them up. A process that wants more waits for one of its own to be free: the
server, or a pooler before it, is never asked for more than what it was set up for.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Pool:
    """Connections of a process: `kept` stay open, and there are never more than `most`."""

    kept: int
    most: int


API = Pool(kept=10, most=20)
"""An API process. Requests beyond that wait, for ten seconds at most."""

PROCESS = Pool(kept=2, most=4)
"""A process of a worker: its work, its heartbeat, its report, and a look at how far a long
statement is."""

WORKER = Pool(kept=1, most=2)
"""The worker itself, the parent of those: its report, and its last word at the end."""

RECONCILER = Pool(kept=2, most=2)
"""Its passes and its report."""

LISTENER = Pool(kept=1, most=1)
"""What the reconciler listens with, beside its other two."""

COMMAND = Pool(kept=2, most=4)
"""A command that runs for a moment, such as a migration."""
