"""Files of decisions on a real database, through the API and the worker's own code."""

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from aparella.api.app import create_app
from aparella.db.engine import transaction
from aparella.settings import Settings
from aparella.workers.context import Context
from tests.integration import drive

BOTH = {"source": "list", "target": "catalogue"}
HEADER = "source_key,target_key,verdict,reviewer,note\n"


@pytest.fixture
def api(context: Context, settings: Settings) -> Iterator[TestClient]:
    drive.imported(context, "list", [(f"L{i}", f"XERINGA {i}ML") for i in range(9)])
    drive.imported(context, "catalogue", [(f"C{i}", f"XERINGUES {i}") for i in range(9)])
    with TestClient(create_app(settings)) as client:
        yield client


def done(context: Context, api: TestClient, content: str, **params: Any) -> tuple[Any, list[Any]]:
    """The job of a file at its end, and its errors: row, key, code and message."""
    answer = api.post(
        "/v1/decisions/import",
        params={**BOTH, "by": "anna", "filename": "decided.csv", **params},
        content=content.encode(),
    )
    assert answer.status_code == 202, answer.text
    drive.run(context)
    query = sa.text(
        "SELECT row, field, code, message FROM job_error WHERE job_id = :i ORDER BY row"
    )
    with transaction(context.db) as connection:
        errors = connection.execute(query, {"i": answer.json()["id"]}).all()
    return drive.find(context.db, answer.json()["id"]), [tuple(error) for error in errors]


def figures(job: Any) -> dict[str, int]:
    return {name: n for name, n in job.summary.items() if isinstance(n, int) and n}


def stored(api: TestClient) -> list[tuple[Any, ...]]:
    names = ("source_key", "target_key", "verdict", "decided_by", "note")
    items = api.get("/v1/decisions").json()["items"]
    return [tuple(one[name] for name in names) for one in items]


def test_decisions_from_a_file(context: Context, api: TestClient) -> None:
    content = HEADER + "L1,C1,accept,jordi,same size\nL2,C3,Reject,,\nL3,,none,,not ours\n"
    job, errors = done(context, api, content)
    assert (job.kind, job.state, errors) == ("decisions", "succeeded", [])
    assert figures(job) == {"rows": 3, "new": 3, "accepted": 1, "rejected": 1, "none": 1}
    assert stored(api) == [
        ("L1", "C1", "accept", "jordi", "same size"),
        ("L2", "C3", "reject", "anna", None),
        ("L3", None, "none", "anna", "not ours"),
    ]
    again, _ = done(context, api, content)
    assert figures(again) == {"rows": 3, "unchanged": 3, "accepted": 1, "rejected": 1, "none": 1}
    assert len(stored(api)) == 3
    with transaction(context.db) as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM upload_row")).scalar() == 0


def test_bad_rows_are_told_row_by_row(context: Context, api: TestClient) -> None:
    rows = [
        "L1,C1,accept,,",  # 2
        "l2,C2,accept,,",
        "L2,X,reject,,",
        "L2,C2,yes,,",
        "L3,C3,none,,",  # 6
        "L3,,accept,,",
        ",C3,accept,,",
        "L4,C4,,,",
        "L5,C5,accept,,",  # 10
        "L5,C5,reject,,",
        "L6,,none,,",
        "L6,C6,accept,,",
        "L1,C1,accept,,",  # 14
        "L6,C7,accept,jordi,",
        f"L7,C7,accept,{'x' * 201},",
    ]
    job, errors = done(context, api, HEADER + "\n".join(rows) + "\n")
    assert job.state == "succeeded_with_errors"
    assert figures(job) == {"rows": 15, "new": 2, "accepted": 2, "refused": 12, "duplicates": 1}
    assert [(row, code) for row, _, code, _ in errors] == [
        (3, "unknown_key"),
        (4, "unknown_key"),
        (5, "bad_verdict"),
        (6, "target_of_none"),
        (7, "empty_key"),
        (8, "empty_key"),
        (9, "empty_text"),
        (10, "conflict"),
        (11, "conflict"),
        (12, "conflict"),
        (13, "conflict"),
        (14, "duplicate_decision"),
        (16, "too_long"),
    ]
    said = {row: message for row, _, _, message in errors}
    assert "did you mean 'L2'?" in said[3]
    assert "'catalogue' has no record with the key 'X'" in said[4]
    assert "give accept, reject, or none" in said[5]
    assert said[9].startswith("column 'verdict' is blank")
    assert "anna says the opposite on row 11" in said[10]
    assert [row[:2] for row in stored(api)] == [("L1", "C1"), ("L6", "C7")]


def test_a_strict_import_and_wrong_files(context: Context, api: TestClient) -> None:
    job, _ = done(context, api, HEADER + "L1,C1,accept,,\nL2,C2,yes,,\n", strict=True)
    assert (job.state, stored(api)) == ("failed", [])
    assert "1 of 2 rows of decided.csv are refused, and the import is strict" in job.error
    job, _ = done(context, api, HEADER + "L2,C2,yes,,\n")
    assert "All 1 rows of decided.csv are refused" in job.error
    for content, params, sentence in (
        ("a,b\n1,2\n", {}, "the header has no column 'source_key'"),
        (HEADER + "L1,C1,accept,,\n", {"source": "nowhere"}, "There is no collection 'nowhere'"),
    ):
        answer = api.post(
            "/v1/decisions/import", params={**BOTH, "by": "anna", **params}, content=content
        )
        assert sentence in answer.json()["detail"]


def test_ndjson_with_numbers_for_keys(context: Context, api: TestClient) -> None:
    drive.imported(context, "list", [("1", "XERINGA")])
    drive.imported(context, "catalogue", [("2", "XERINGUES")])
    content = '{"source_key": 1, "target_key": 2, "verdict": "accept"}\n'
    job, errors = done(context, api, content, filename="decided.ndjson")
    assert (job.state, errors) == ("succeeded", [])
    assert stored(api) == [("1", "2", "accept", "anna", None)]
