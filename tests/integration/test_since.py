"""Answers are taken over from an earlier job where nothing new concerns them, and nowhere else."""

import numpy as np
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from aparella.db import carried, jobs
from aparella.db.engine import transaction
from aparella.workers.context import Context
from aparella.workers.stages import carry
from tests.integration import drive
from tests.integration.answers import CATALOGUE, EXACT, LINES, ask, fill, found

CHANGES: dict[str, tuple[dict[str, str | None], dict[str, str | None]]] = {
    "nothing": ({}, {}),
    "lines": ({"L0": None, "L1": "SONDA 59MM", "L99": "GASA 12MM"}, {}),
    "records": ({}, {"C3": None, "C4": "GASA 77MM", "C99": "AGULLA 6MM", "C98": "GUANT 8 MM"}),
    "both": ({"L5": "AGULLA 58MM", "L98": "GASA"}, {"C97": "GASA", "C6": None, "C7": None}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_by_vectors_it_is_what_a_whole_match_gives(
    api: TestClient, context: Context, change: str
) -> None:
    fill(context, LINES, CATALOGUE)
    first = ask(api, context)
    sides = []
    for old, new in zip((LINES, CATALOGUE), CHANGES[change], strict=True):
        together: dict[str, str | None] = {**old, **new}
        sides.append({key: text for key, text in together.items() if text is not None})
    fill(context, *sides)
    again = ask(api, context, since=first.id)
    whole = ask(api, context)
    assert found(context.db, again.id) == found(context.db, whole.id)
    said = again.summary["since"]
    assert said["kept"] + said["matched"] == len(sides[0])
    assert 0 < said["kept"] < len(sides[0]) or change == "nothing"
    if change == "nothing":
        assert (said["matched"], said["unchanged"]) == (0, len(LINES))
    assert said["gone"] == (1 if change == "lines" else 0)
    # One that took answers over can itself be taken over from.
    third = ask(api, context, since=again.id)
    assert third.summary["since"]["matched"] == 0
    assert found(context.db, third.id) == found(context.db, whole.id)


def test_what_moved_is_counted(api: TestClient, context: Context) -> None:
    fill(context, {"a": "AGULLA 1MM", "b": "SONDA 2MM", "c": "GASA 3MM"}, {"x": "AGULLA 1MM"})
    first = ask(api, context, k=1)
    fill(
        context,
        {"a": "AGULLA 1MM", "b": "SONDA 2MM", "d": "GUANT"},
        {"x": "AGULLA 1MM", "y": "SONDA 2MM"},
    )
    said = ask(api, context, k=1, since=first.id).summary["since"]
    assert said == {
        "job": first.id,
        "kept": 1,
        "matched": 2,
        "unchanged": 1,
        "changed": 1,
        "newly_matched": 1,
        "lost": 0,
        "gone": 1,
    }


def test_another_basis_matches_everything_and_says_so(api: TestClient, context: Context) -> None:
    fill(context, LINES, CATALOGUE)
    first = ask(api, context)
    again = ask(api, context, k=2, since=first.id)
    assert "number of candidates" in again.summary["since"]["all_matched_because"]
    assert again.summary["since"]["matched"] == len(LINES)
    assert found(context.db, again.id) == found(context.db, ask(api, context, k=2).id)
    loose = ask(api, context, one_to_one=True)
    again = ask(api, context, since=loose.id)
    assert "one to one" in again.summary["since"]["all_matched_because"]
    with transaction(context.db) as connection:
        connection.execute(
            sa.text("UPDATE stage SET params = params - 'basis' - 'editions' WHERE job_id = :id"),
            {"id": first.id},
        )
    again = ask(api, context, since=first.id)
    assert "did not note" in again.summary["since"]["all_matched_because"]


def test_what_cannot_be_taken_over_is_refused(api: TestClient, context: Context) -> None:
    fill(context, LINES, CATALOGUE)
    imported, open_ = 1, api.post("/v1/jobs", json=EXACT).json()["id"]
    for since, status, words in (
        (999, 404, "no job 999"),
        (imported, 422, "did not match 'list' with 'catalogue'"),
        (open_, 422, "is queued"),
    ):
        answer = api.post("/v1/jobs", json={**EXACT, "since": since})
        assert answer.status_code == status, answer.text
        assert words in answer.json()["detail"]
        assert answer.json()["errors"][0]["field"] == "since"


def test_by_all_evidence_it_is_what_a_whole_match_gives(api: TestClient, encoding: Context) -> None:
    fill(encoding, LINES, CATALOGUE)
    first = ask(api, encoding)
    assert first.summary["plan"]["scoring"] == "fused"
    lines = {**LINES, "L3": "GUANT 44MM", "L99": "GASA 10MM"}
    drive.imported(encoding, "list", lines.items())
    again = ask(api, encoding, since=first.id)
    assert again.summary["since"]["kept"] == len(LINES) - 1
    assert found(encoding.db, again.id) == found(encoding.db, ask(api, encoding).id)
    what_is_accepted(encoding, first.id)


def test_by_all_evidence_a_new_record_concerns_those_whose_candidate_it_is(
    api: TestClient, encoding: Context
) -> None:
    lines = {f"L{thing}{i}": f"{thing} {i}00ML" for thing in "ABCD" for i in range(5)}
    things = {"A": "AGULLA", "B": "SONDA", "C": "GUANT", "D": "XERINGA"}
    lines = {key: text.replace(text[0], things[text[0]], 1) for key, text in lines.items()}
    catalogue = {
        f"C{thing}{i}": f"{thing} ESTÈRIL {i}00ML" for thing in things.values() for i in range(40)
    }
    fill(encoding, lines, catalogue)
    first = ask(api, encoding)
    new: dict[str, str] = {**catalogue, "C99": "SONDA ESTÈRIL 200ML, 2 VIES"}
    del new["CGUANT3"]
    drive.imported(encoding, "catalogue", new.items())
    again = ask(api, encoding, since=first.id)
    said = again.summary["since"]
    assert "all_matched_because" not in said
    assert 0 < said["kept"] < len(lines)
    whole = ask(api, encoding)
    firsts, wanted = (
        {row[0]: row[2] for row in found(encoding.db, job.id) if row[1] == 1}
        for job in (again, whole)
    )
    assert firsts == wanted
    # The line that lost its record was matched again, and so was the one whose candidate is new.
    kept = {row[0] for row in found(encoding.db, first.id)} & unmoved(encoding.db, first, again)
    names = keys(encoding.db)
    assert not {names[i] for i in kept} & {"LC3", "LB2"}
    assert {names[i][:2] for i in kept} >= {"LA", "LD"}
    assert floors(encoding.db, again.id).items() >= {
        (line, noted) for line, noted in floors(encoding.db, first.id).items() if line in kept
    }
    # What was taken over is taken over once more, if what came then does not concern it either.
    new["C98"] = "GUANT ESTÈRIL 100ML, DE NITRIL"
    drive.imported(encoding, "catalogue", new.items())
    third = ask(api, encoding, since=again.id)
    assert kept & unmoved(encoding.db, first, third)
    assert "LC1" not in {names[i] for i in unmoved(encoding.db, again, third)}
    # What has changed since words were weighed adds up, until all lines are weighed anew.
    for number in range(16):
        new[f"N{number}"] = f"BENA {number}"
    drive.imported(encoding, "catalogue", new.items())
    last = ask(api, encoding, since=third.id)
    assert "more than 10%" in last.summary["since"]["all_matched_because"]
    assert last.summary["since"]["matched"] == len(lines)


def test_where_there_is_room_every_new_record_concerns_all(
    api: TestClient, encoding: Context
) -> None:
    catalogue = dict(list(CATALOGUE.items())[:9])
    fill(encoding, LINES, catalogue)
    first = ask(api, encoding)
    drive.imported(encoding, "catalogue", {**catalogue, "C99": "BENA"}.items())
    said = ask(api, encoding, since=first.id).summary["since"]
    assert "all_matched_because" not in said
    assert (said["kept"], said["matched"]) == (0, len(LINES))
    # So they do where nothing was noted.
    assert all(noted[0] == -np.inf for noted in floors(encoding.db, first.id).values())
    with transaction(encoding.db) as connection:
        connection.execute(sa.text("UPDATE answer SET floors = NULL"))
    assert ask(api, encoding, since=first.id).summary["since"] == said


def test_too_many_new_records_are_not_compared_with_each_line(
    api: TestClient, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carry, "MOST", 1)
    fill(context, LINES, CATALOGUE)
    first = ask(api, context)
    # As a release noted it that did not weigh: its answers are of its own edition.
    again = ask(api, context, since=first.id)
    with transaction(context.db) as connection:
        connection.execute(
            sa.text(
                "UPDATE stage SET params = jsonb_set(params, '{earlier}', :earlier) "
                "WHERE job_id = :id AND handler = 'carry'"
            ),
            {"id": again.id, "earlier": '{"changed": false}'},
        )
    drive.imported(context, "catalogue", {**CATALOGUE, "C99": "BENA"}.items())
    third = ask(api, context, since=again.id)
    assert "all_matched_because" not in third.summary["since"]
    drive.imported(context, "catalogue", {**CATALOGUE, "C97": "BENA 5", "C98": "BENA 6"}.items())
    last = ask(api, context, since=third.id)
    assert "more than 1 records" in last.summary["since"]["all_matched_because"]


def floors(db: sa.Engine, job_id: int) -> dict[int, tuple[float, ...]]:
    query = sa.text("SELECT source_id, floors FROM answer WHERE job_id = :id")
    with transaction(db) as connection:
        return {
            row.source_id: tuple(row.floors) for row in connection.execute(query, {"id": job_id})
        }


def unmoved(db: sa.Engine, before: jobs.Job, after: jobs.Job) -> set[int]:
    """Lines whose answers are alike in both jobs to the last bit."""
    rows = [{row[0]: row for row in found(db, job.id) if row[1] == 1} for job in (before, after)]
    return {line for line, row in rows[0].items() if rows[1].get(line) == row}


def keys(db: sa.Engine) -> dict[int, str]:
    with transaction(db) as connection:
        rows = connection.execute(sa.text("SELECT id, key FROM record"))
        return {row.id: row.key for row in rows}


@pytest.mark.parametrize("scoring", ["cosine", "fused"])
def test_an_index_is_gone_on_from_too(api: TestClient, encoding: Context, scoring: str) -> None:
    fill(encoding, LINES, CATALOGUE)
    encoding.settings.match_memory_mb = 0  # no matrix fits
    first = ask(api, encoding, scoring=scoring)
    assert first.summary["plan"]["search"] == "hnsw"
    drive.imported(encoding, "catalogue", {**CATALOGUE, "C99": "GASA 10MM"}.items())
    again = ask(api, encoding, scoring=scoring, since=first.id)
    assert "all_matched_because" not in again.summary["since"]
    assert again.summary["since"]["kept"] > 0
    names = keys(encoding.db)
    got = {names[row[0]]: names[row[2]] for row in found(encoding.db, again.id) if row[1] == 1}
    assert got["L10"] == "C99"


def what_is_accepted(encoding: Context, since: int) -> None:
    """Answers that are taken over are accepted by the new job's threshold."""
    rows = [row for row in found(encoding.db, since) if row[1] == 1]
    threshold = sorted(row[4] for row in rows)[len(rows) // 2]
    with encoding.db.connect() as connection:  # nothing of it stays
        job_id = connection.execute(sa.text("SELECT max(id) + 1 FROM job")).scalar_one()
        connection.execute(
            sa.text("INSERT INTO job (id, kind) OVERRIDING SYSTEM VALUE VALUES (:id, 'match')"),
            {"id": job_id},
        )
        ids = [row[0] for row in rows]
        contradicted = set(
            connection.execute(
                sa.text("SELECT source_id FROM answer WHERE job_id = :id AND contradicted"),
                {"id": since},
            ).scalars()
        )
        carried.carry(connection, since, job_id, ids, threshold)
        accepted = sa.text("SELECT source_id FROM answer WHERE job_id = :id AND accepted")
        taken = set(connection.execute(accepted, {"id": job_id}).scalars())
        connection.rollback()
    assert taken == {row[0] for row in rows if row[4] >= threshold} - contradicted
    assert taken


def test_a_job_says_what_it_accepted(api: TestClient, context: Context) -> None:
    fill(context, LINES, CATALOGUE)
    job = ask(api, context, auto_accept=0.95)
    assert "too few" in job.params["auto_accept"]["sentence"]
    assert job.summary["accepted"] == {
        "accepted": 0,
        "lines": len(LINES),
        "share": 0.0,
        "expected_share": 0.0,
    }
