"""A real PgBouncer, set up as docs/deployment.md says."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import psycopg2
import pytest
import sqlalchemy as sa

from aparella.deploy import account, ports, postgres
from aparella.settings import Settings

PAGE = Path(__file__).parents[1] / "docs" / "deployment.md"
PROGRAM = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")

needs_pgbouncer = pytest.mark.skipif(
    PROGRAM is None, reason="there is no pgbouncer here: install the package pgbouncer (Debian)"
)


def snippet() -> str:
    """The pgbouncer.ini that the page shows."""
    blocks = re.findall(r"^```ini\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    (found,) = (block for block in blocks if "[pgbouncer]" in block)
    return str(found)


def servers() -> int:
    """Connections that it opens to the server at most, by the page."""
    (found,) = re.findall(r"^default_pool_size = (\d+)$", snippet(), re.MULTILINE)
    return int(found)


@contextmanager
def pooler(url: str) -> Iterator[str]:
    """PgBouncer before the database of this URL; yields the URL that it listens on."""
    assert PROGRAM is not None
    parts = sa.make_url(Settings(DATABASE_URL=url).sqlalchemy_url)
    parts = parts.set(drivername="postgresql", password=parts.password or "of-this-test")
    port = ports.choose()
    with tempfile.TemporaryDirectory(prefix="aparella-pooler-") as name:
        folder, log = Path(name), Path(name) / "log"
        users, ini = folder / "userlist.txt", folder / "pgbouncer.ini"
        users.write_text(f'"{parts.username}" "{parts.password}"\n')
        ini.write_text(
            _put(
                snippet(),
                {
                    "host=127.0.0.1 port=5432 dbname=aparella": f"host={parts.host} "
                    f"port={parts.port or 5432} dbname={parts.database}",
                    "stats_users = aparella": f"stats_users = {parts.username}",
                    "listen_port = 6432": f"listen_port = {port}",
                    "/etc/pgbouncer/userlist.txt": str(users),
                },
            )
        )
        # Like PostgreSQL, it refuses to run as root.
        other = account.current()
        for path in (folder, users, ini) if other else ():
            other.own(path)
        with log.open("wb") as out:
            process = subprocess.Popen(
                [PROGRAM, str(ini)],
                user=other.uid if other else None,
                group=other.gid if other else None,
                extra_groups=[] if other else None,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        # Its own name for the database is the page's, whatever the server calls it.
        own = parts.set(host="127.0.0.1", port=port, database="aparella")
        listening = own.render_as_string(hide_password=False)
        try:
            deadline = monotonic() + 10
            while (reason := postgres.answers(listening)) is not None:
                assert process.poll() is None, log.read_text()
                assert monotonic() < deadline, f"{reason}\n{log.read_text()}"
                sleep(0.05)
            yield listening
        finally:
            process.terminate()
            process.wait(10)


def waiting(listening: str) -> int:
    """How many clients wait for a connection to the server now, by its own account."""
    console = sa.make_url(listening).set(database="pgbouncer")
    connection = psycopg2.connect(console.render_as_string(hide_password=False))
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SHOW POOLS")
            names = [column.name for column in cursor.description]
            rows = [dict(zip(names, row, strict=True)) for row in cursor]
    finally:
        connection.close()
    return sum(int(row["cl_waiting"]) for row in rows if row["database"] == "aparella")


def _put(text: str, places: dict[str, str]) -> str:
    for there, here in places.items():
        assert text.count(there) == 1, f"the page has no {there!r}, or more than one"
        text = text.replace(there, here)
    return text
