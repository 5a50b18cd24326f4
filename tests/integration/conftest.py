"""Real services for the integration tests: those of the environment, or our own local ones."""

import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa
from fastapi.testclient import TestClient

from aparella.api.app import create_app
from aparella.db import engine, migrate
from aparella.deploy.local import services
from aparella.settings import Settings
from aparella.workers.context import Context


@pytest.fixture(scope="session")
def urls() -> Iterator[tuple[str, str]]:
    """URLs of a PostgreSQL with pgvector and of a Redis."""
    given = os.environ.get("DATABASE_URL"), os.environ.get("REDIS_URL")
    if given[0] and given[1]:
        # Tests empty the Redis database that they use: each pytest process has one of its own.
        number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
        yield given[0], f"{given[1].rsplit('/', 1)[0]}/{number + 1}"
        return
    # Not below pytest's own folder, which only its owner may enter: as root, PostgreSQL runs as a
    # user of its own.
    with tempfile.TemporaryDirectory(prefix="aparella-test-") as folder:
        Path(folder).chmod(0o755)
        with services(Path(folder), durable=False) as running:
            yield running.database_url, running.redis_url


@pytest.fixture(scope="session")
def template(urls: tuple[str, str]) -> Iterator[tuple[sa.Engine, sa.URL, str]]:
    """A migrated database, which each test gets a copy of."""
    url = sa.make_url(Settings(DATABASE_URL=urls[0]).sqlalchemy_url)
    server = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    name = f"aparella_template_{uuid.uuid4().hex[:8]}"
    with server.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    own = sa.create_engine(url.set(database=name))
    with own.connect() as connection:
        migrate.upgrade(connection)
    own.dispose()
    yield server, url, name
    with server.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


@pytest.fixture
def settings(
    template: tuple[sa.Engine, sa.URL, str], urls: tuple[str, str], tmp_path: Path
) -> Iterator[Settings]:
    """Settings of an empty, migrated database of the test's own, and an emptied Redis."""
    server, url, origin = template
    name = f"aparella_test_{uuid.uuid4().hex[:12]}"
    with server.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE {origin}"))
    with redis.Redis.from_url(urls[1]) as broker:
        broker.flushdb()
    yield Settings(
        DATABASE_URL=url.set(database=name).render_as_string(hide_password=False),
        REDIS_URL=urls[1],
        artifacts=f"file://{tmp_path}/artifacts",
        catalogue_folder=f"{tmp_path}/catalogues",
        encoder="hash",
        anonymous=True,
        lease_seconds=5.0,
        heartbeat_seconds=1.0,
        reconcile_seconds=0.2,
        embed_chunk=7,
        match_chunk=9,
        import_chunk=11,
    )
    with server.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def db(settings: Settings) -> Iterator[sa.Engine]:
    """An engine on the test's own database."""
    own = engine.create(settings, name="test")
    yield own
    own.dispose()


@pytest.fixture
def context(db: sa.Engine, settings: Settings) -> Context:
    """What a worker process has, with the stand-in encoder."""
    return Context(db, settings)


@pytest.fixture
def api(settings: Settings) -> Iterator[TestClient]:
    """The API on the test's own database and Redis."""
    with TestClient(create_app(settings)) as client:
        yield client


@pytest.fixture
def encoding(settings: Settings) -> Iterator[Context]:
    """A worker with the real model: only such a one weighs all evidence."""
    real = settings.model_copy(update={"encoder": "sentence-transformers", "match_chunk": 20})
    db = engine.create(real, name="encoding")
    yield Context(db, real)
    db.dispose()
