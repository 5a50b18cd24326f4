"""Logs of the server's processes: lines for people, or JSON for machines, with what they are about.

`about` names the job, stage, chunk and attempt that a thread works on; everything logged meanwhile
carries them, whoever logs it.
"""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

TEXT = "%(asctime)s %(levelname)s %(message)s"

CHATTY = ("celery.worker.strategy", "celery.app.trace")
"""Tell of every message that comes and goes; of a chunk that is done we tell ourselves."""

_about: ContextVar[dict[str, str | int]] = ContextVar("about", default={})  # noqa: B039 (never changed in place)


@contextmanager
def about(**facts: str | int) -> Iterator[None]:
    """Add facts to everything that is logged within the block."""
    token = _about.set({**_about.get(), **facts})
    try:
        yield
    finally:
        _about.reset(token)


def set_up(kind: Literal["text", "json"], *, level: int = logging.INFO) -> None:
    """Let this process log to standard error; a second call changes the form.

    Args:
        kind: of the lines.
        level: from which on.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(Json() if kind == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


class Json(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, pid, what it is about, error."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, str | int] = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process or os.getpid(),
            **_about.get(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)
