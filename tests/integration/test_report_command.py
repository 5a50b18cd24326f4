"""`aparella report …` against a real database."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import sqlalchemy as sa

from aparella.db import reporting
from aparella.db.engine import transaction
from aparella.settings import Settings
from tests.integration.catalogues import fill

LOGIN = "report_user_of_the_command"
QUERY = """
    SELECT rank, key, score, exact, attributes, now() AS at, current_date AS today, NULL AS nothing,
           current_user::text AS who
    FROM report.similar('catalogue', 'k1', 3)
"""


@pytest.fixture
def environment(db: sa.Engine, settings: Settings, tmp_path: Path) -> dict[str, str]:
    fill(db, "catalogue", np.eye(384, dtype=np.float32)[:5])
    with transaction(db) as connection:
        reporting.drop_login(connection, LOGIN)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("APARELLA_")}
    return {**kept, "DATABASE_URL": settings.database_url, "APARELLA_DATA": str(tmp_path / "data")}


def run(
    environment: dict[str, str], *words: str, code: int = 0, typed: str = ""
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", "from aparella.client.cli import main; main()", "report", *words],
        env=environment,
        capture_output=True,
        text=True,
        input=typed,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_a_query_is_printed_and_written(environment: dict[str, str], tmp_path: Path) -> None:
    shown = run(environment, "query", QUERY).stdout
    assert "rank" in shown.splitlines()[0]
    assert "aparella_report" in shown
    lines = [
        json.loads(line) for line in run(environment, "query", QUERY, "--json").stdout.splitlines()
    ]
    assert [line["rank"] for line in lines] == [1, 2, 3]
    assert lines[0]["attributes"] == {"family": "f2", "half": 0}

    file = tmp_path / "a.csv"
    assert "3 rows" in run(environment, "query", QUERY, "--out", str(file)).stdout
    with file.open(encoding="utf-8", newline="") as rows:
        table = list(csv.DictReader(rows))
    assert [row["key"] for row in table] == [line["key"] for line in lines]
    assert table[0]["exact"] == "true"
    assert table[0]["nothing"] == ""

    file = tmp_path / "a.parquet"
    run(environment, "query", QUERY, "--out", str(file))
    stored = pyarrow.parquet.read_table(file)
    assert [str(field.type) for field in stored.schema] == [
        *("int64", "string", "double", "bool", "string", "timestamp[us, tz=UTC]"),
        *("date32[day]", "string", "string"),
    ]
    assert stored.column("key").to_pylist() == [line["key"] for line in lines]
    # Without a row there are still the columns.
    run(environment, "query", f"{QUERY} LIMIT 0", "--out", str(file))
    assert pyarrow.parquet.read_table(file).num_rows == 0


def test_what_is_wrong_is_said(environment: dict[str, str], tmp_path: Path) -> None:
    said = run(environment, "query", "SELECT * FROM report.similar('no', 'k')", code=2).stderr
    assert 'there is no collection "no" (42704)' in said
    assert "hint: There are: catalogue." in said
    assert "permission denied" in run(environment, "query", "TABLE public.job", code=2).stderr
    assert "must end in .csv or .parquet" in (
        run(environment, "query", "SELECT 1", "--out", str(tmp_path / "a.xls"), code=2).stderr
    )
    del environment["DATABASE_URL"]
    assert "start one with `aparella up`" in run(environment, "query", "SELECT 1", code=1).stderr


def test_a_login_is_made_used_and_dropped(environment: dict[str, str]) -> None:
    url = run(environment, "role", "create", LOGIN).stdout.splitlines()[0]
    assert url.startswith(f"postgresql://{LOGIN}:")
    own = {**environment, "APARELLA_REPORT_URL": url}
    del own["DATABASE_URL"]
    who = run(own, "query", "SELECT session_user::text AS who", "--json").stdout
    assert json.loads(who) == {"who": LOGIN}
    assert "already" in run(environment, "role", "create", LOGIN, code=2).stderr
    run(environment, "role", "drop", LOGIN)
    assert "no report login" in run(environment, "role", "drop", LOGIN, code=2).stderr
    assert "does not answer" in run(own, "query", "SELECT 1", code=1).stderr


def test_psql_is_opened_or_the_way_on_is_said(environment: dict[str, str], tmp_path: Path) -> None:
    # A stand-in for psql says what it was given; the password is in no argument.
    stand_in = tmp_path / "psql"
    stand_in.write_text('#!/bin/sh\necho "$# $PGDATABASE $PGOPTIONS"; cat\n')
    stand_in.chmod(0o755)
    path = f"{tmp_path}:{environment['PATH']}"
    said = run({**environment, "PATH": path}, "sql", typed="SELECT 1").stdout
    assert said.startswith("0 aparella_test_")
    assert "role=aparella_report" in said
    assert said.endswith("SELECT 1")
    empty = tmp_path / "empty"
    empty.mkdir()
    said = run({**environment, "PATH": str(empty)}, "sql", code=1).stderr
    assert "aparella report query" in said
