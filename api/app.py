"""The HTTP interface: a FastAPI application over the database. docs/architecture.md has its routes.

It writes and reads rows and knows nothing of brokers or models, so it answers while Redis is down.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import CapacityLimiter
from fastapi import APIRouter, FastAPI, Security
from fastapi.security import HTTPBearer
from fastapi.telemetry import TelemetryConfig

from aparella import __version__, traces
from aparella.api import auth, problems
from aparella.api.limits import BodyLimit
from aparella.api.routes import (
    collections,
    decisions,
    health,
    jobs,
    matches,
    metrics,
    models,
    operation,
    pairs,
    review,
    tokens,
)
from aparella.api.throttle import Throttle
from aparella.api.tracing import Tracing
from aparella.db import budget, engine
from aparella.settings import Settings

OWN_TRACES: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
"""FastAPI's own would hold paths and query strings: names and texts. Ours are in `tracing`."""


def create_app(settings: Settings) -> FastAPI:
    """Make the application; it connects to the database when first asked something.

    Args:
        settings: the URL of the database, the token, and the largest upload.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        traces.start("aparella-api")
        app.state.settings = settings
        app.state.uploads = CapacityLimiter(collections.UPLOADS_AT_ONCE)
        app.state.engine = engine.create(settings, name="api", pool=budget.API)
        yield
        app.state.engine.dispose()
        # Here and not after the server's run: that ends by the signal that it was sent.
        traces.shut_down()

    app = FastAPI(
        title="Aparella",
        summary="Pairs short item descriptions with a long official catalogue, in batches.",
        version=__version__,
        lifespan=lifespan,
        redirect_slashes=False,
        responses=problems.RESPONSES,
        swagger_ui_oauth2_redirect_url=None,
        telemetry=OWN_TRACES,
    )
    v1 = APIRouter(prefix="/v1", dependencies=[Security(HTTPBearer(auto_error=False))])
    for routes in (
        collections,
        decisions,
        jobs,
        matches,
        models,
        operation,
        pairs,
        review,
        tokens,
    ):
        v1.include_router(routes.router)
    app.include_router(v1)
    app.include_router(health.router)
    app.include_router(metrics.router)
    problems.install(app)
    # The last one added is the outermost.
    app.add_middleware(BodyLimit, largest_file=settings.max_upload_mb * 1_000_000)
    app.add_middleware(Throttle, settings=settings)
    app.add_middleware(auth.TokenAuth, own=auth.token(settings), anonymous=settings.anonymous)
    app.add_middleware(problems.LastResort)
    app.add_middleware(Tracing)
    return app
