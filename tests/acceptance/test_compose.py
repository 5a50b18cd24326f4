"""What docker-compose.yml says works: each of its commands, with its environment, as a process."""

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa

from aparella.client import Client
from aparella.deploy import ports, valkey
from aparella.deploy.local import services as local_services
from aparella.settings import Settings
from tests import composefile
from tests.acceptance.conftest import database, eventually
from tests.acceptance.services import Service

VARIABLES = {
    "POSTGRES_PASSWORD": "of-postgres",
    "VALKEY_PASSWORD": "of-valkey",
    "APARELLA_TOKEN": "of-aparella",
    "GRAFANA_PASSWORD": "of-grafana",
    "APARELLA_ENCODER": "hash",
    "EMBED_PROCESSES": "1",
}
LASTING = ("api", "worker-embed", "worker-match", "worker-train", "reconciler")


@contextmanager
def postgres(folder: Path, broker_url: str) -> Iterator[str]:
    """A database of the test's own: on the server of DATABASE_URL, or on one started here."""
    with database() as given:
        if given:
            yield given["DATABASE_URL"]
            return
        folder.chmod(0o755)
        environ = {"REDIS_URL": broker_url}
        with local_services(folder, durable=False, environ=environ) as running:
            yield running.database_url


def programs(folder: Path, port: int) -> str:
    """A folder with a `valkey-server` in it that listens on this port of loopback alone."""
    folder.mkdir()
    script = folder / "valkey-server"
    script.write_text(f'#!/bin/sh\nexec {valkey.binary()} "$@" --port {port} --bind 127.0.0.1\n')
    script.chmod(0o755)
    return str(folder)


def password_works(url: str, password: str) -> bool:
    try:
        with redis.Redis.from_url(url, password=password, socket_timeout=2) as broker:
            return bool(broker.ping())
    except redis.ConnectionError:
        return False


def write(path: Path, rows: int) -> Path:
    lines = [f"{i},XERINGA {i} ML LUER LOCK" for i in range(rows)]
    path.write_text("\n".join(["id,text", *lines]) + "\n", encoding="utf-8")
    return path


def test_every_service_of_the_file(tmp_path: Path) -> None:
    content = composefile.load(VARIABLES)["services"]
    api_port, broker_port = ports.choose(), ports.choose()
    broker_url = f"redis://127.0.0.1:{broker_port}/0"
    broker = Service(
        "broker",
        content["broker"],
        {},
        tmp_path / "broker.log",
        path=programs(tmp_path / "bin", broker_port),
    )
    running: list[Service] = [broker]
    with tempfile.TemporaryDirectory(prefix="aparella-compose-") as data:
        try:
            broker.start()
            eventually(lambda: password_works(broker_url, "of-valkey"), seconds=20)
            with pytest.raises(redis.AuthenticationError):
                redis.Redis.from_url(broker_url).ping()
            policy = redis.Redis.from_url(broker_url, password="of-valkey").config_get("maxmemory*")
            assert policy["maxmemory-policy"] == "noeviction"
            with postgres(Path(data), f"redis://:of-valkey@127.0.0.1:{broker_port}/0") as url:
                places = {
                    "postgresql://aparella:of-postgres@database:5432/aparella": url,
                    "@broker:6379": f"@127.0.0.1:{broker_port}",
                    "8000": str(api_port),
                    "127.0.0.1:8000": f"127.0.0.1:{api_port}",
                    "/var/lib/aparella/artifacts": str(tmp_path / "artifacts"),
                    "/var/tmp": str(tmp_path),
                }
                start_and_use(content, places, running, tmp_path, api_port)
                assert nobody_is_connected(url)
        finally:
            for service in running:
                service.kill()


def start_and_use(
    content: dict[str, dict[str, object]],
    places: dict[str, str],
    running: list[Service],
    folder: Path,
    api_port: int,
) -> None:
    migrate = Service("migrate", content["migrate"], places, folder / "migrate.log")
    assert migrate.run() == 0, migrate.words()
    ours = []
    for name in LASTING:
        # Every container has a /tmp of its own.
        own = {**places, "/tmp/aparella.pulse": f"{folder}/{name}.pulse"}
        ours.append(Service(name, content[name], own, folder / f"{name}.log"))
    for service in ours:
        running.append(service)
        service.start()
    for service in ours:
        eventually(service.healthy, seconds=120)
    assert {path.stem for path in folder.glob("*.pulse")} == set(LASTING) - {"api"}
    with Client(f"http://127.0.0.1:{api_port}", "of-aparella") as client:
        for name, rows in (("list", 20), ("catalogue", 30)):
            path = write(folder / f"{name}.csv", rows)
            job = client.import_file(name, path, key="id", text=["text"])
            assert client.wait(job.id).state == "succeeded"
        job = client.wait(client.match("list", "catalogue", k=3).id)
        assert job.state == "succeeded", job
        client.export(job.id, folder / "matches.csv")
    lines = (folder / "matches.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + 20 * 3
    for service in ours:
        service.ask_to_stop()
    for service in ours:
        # uvicorn passes the signal on to itself when it has ended its work.
        clean = (0, -signal.SIGTERM) if service.name == "api" else (0,)
        assert service.stopped() in clean, service.words()
        assert "Traceback" not in service.words()


def nobody_is_connected(url: str) -> bool:
    """Whether the processes have closed their connections."""
    engine = sa.create_engine(Settings(DATABASE_URL=url).sqlalchemy_url)
    query = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name LIKE 'aparella %'"
    )

    def none_left() -> bool:
        with engine.connect() as connection:
            return connection.execute(query).scalar_one() == 0

    try:
        return eventually(none_left, seconds=10)
    finally:
        engine.dispose()
