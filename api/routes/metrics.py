"""Figures for Prometheus, read from PostgreSQL and Redis when they are asked for."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from aparella.api import broker, metrics
from aparella.api.dependencies import Database, ServerSettings
from aparella.db import queues, workers
from aparella.db.engine import transaction
from aparella.workers.contracts import QUEUES

router = APIRouter(tags=["health"])


@router.get("/metrics", response_class=Response)
def scrape(db: Database, settings: ServerSettings) -> Response:
    """All figures, the workers' too: docs/operations.md lists them."""
    with transaction(db) as connection:
        facts = metrics.Facts(
            queues=QUEUES,
            depths=queues.depths(connection),
            oldest=queues.oldest_seconds(connection),
            jobs=queues.jobs_by_state(connection),
            workers=workers.present(connection),
            figures=workers.figures(connection),
            broker=broker.look(settings.redis_url, QUEUES),
        )
    registry = CollectorRegistry(auto_describe=False)
    registry.register(metrics.Collector(facts))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
