"""Whether the server lives and can work; asked by supervisors, without a token."""

import logging

import redis
import sqlalchemy as sa
from fastapi import APIRouter, Response
from redis.backoff import NoBackoff
from redis.retry import Retry

from aparella.api import schemas
from aparella.api.dependencies import Database, ServerSettings
from aparella.db import migrate
from aparella.db.engine import transaction
from aparella.errors import AparellaError, TransientError

REDIS_TIMEOUT = 1.0

log = logging.getLogger(__name__)
router = APIRouter(tags=["health"])


@router.get("/livez")
async def livez() -> schemas.Health:
    """The process answers; it looks at nothing else."""
    return schemas.Health(status="ok")


@router.get("/readyz", responses={503: {"model": schemas.Readiness}})
def readyz(db: Database, settings: ServerSettings, response: Response) -> schemas.Readiness:
    """200 if requests can be served: the database answers and has this version's schema.

    Redis does not count: jobs are taken without it and start when it is back.
    """
    checks = {**_database(db), "redis": _redis(settings.redis_url)}
    if checks["database"] != "ok" or checks["migrations"] != "ok":
        response.status_code = 503
        return schemas.Readiness(status="unavailable", checks=checks)
    status = "ready" if checks["redis"] == "ok" else "degraded"
    return schemas.Readiness(status=status, checks=checks)


def _database(db: sa.Engine) -> dict[str, str]:
    try:
        with transaction(db) as connection:
            current = migrate.is_current(connection)
    except TransientError as error:
        # The words of drivers name hosts and ports, and anybody may ask here.
        log.warning("readyz: %s", error)
        return {"database": "no answer", "migrations": "unknown"}
    except AparellaError as error:
        log.warning("readyz: %s", error)
        return {"database": "refuses to answer", "migrations": "unknown"}
    wanted = "not at this version: run python -m aparella.db.migrate"
    return {"database": "ok", "migrations": "ok" if current else wanted}


def _redis(url: str) -> str:
    if not url:
        return "not configured"
    try:
        with redis.Redis.from_url(
            url,
            socket_timeout=REDIS_TIMEOUT,
            socket_connect_timeout=REDIS_TIMEOUT,
            retry=Retry(NoBackoff(), 0),
        ) as broker:
            broker.ping()
    except redis.AuthenticationError:
        return "refuses the password"
    except redis.RedisError as error:
        log.warning("readyz: redis: %s", error)
        return "no answer"
    return "ok"
