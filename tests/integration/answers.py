"""A list, a catalogue, and what a match job answers to them."""

from typing import Any

import sqlalchemy as sa
from fastapi.testclient import TestClient

from aparella.db import jobs
from aparella.db.engine import transaction
from aparella.workers.context import Context
from tests.integration import drive

THINGS = ("AGULLA", "SONDA", "GUANT", "XERINGA", "GASA", "CATETER")
LINES = {f"L{i}": f"{THINGS[i % 6]} {i}MM" for i in range(40)}
CATALOGUE = {f"C{i}": f"{THINGS[i % 6]} ESTÈRIL DE {i} MM" for i in range(60)}
EXACT = {"kind": "match", "source": "list", "target": "catalogue", "k": 3}


def fill(context: Context, lines: dict[str, str], catalogue: dict[str, str]) -> None:
    """Import both."""
    drive.imported(context, "list", lines.items())
    drive.imported(context, "catalogue", catalogue.items())


def ask(api: TestClient, context: Context, **request: Any) -> jobs.Job:
    """Match the list with the catalogue, to the end."""
    answer = api.post("/v1/jobs", json={**EXACT, **request})
    assert answer.status_code == 202, answer.text
    drive.run(context)
    job = drive.find(context.db, answer.json()["id"])
    assert job.state == "succeeded", job.error
    return job


def found(db: sa.Engine, job_id: int) -> list[tuple[Any, ...]]:
    """All that a job answered: candidates by line and rank, with what is said of their line."""
    query = sa.text("""
        SELECT m.source_id, m.rank, m.target_id, m.score, m.confidence, a.accepted, a.evidence
        FROM match m LEFT JOIN answer a USING (job_id, source_id)
        WHERE m.job_id = :id ORDER BY 1, 2
    """)
    with transaction(db) as connection:
        return [tuple(row) for row in connection.execute(query, {"id": job_id})]
