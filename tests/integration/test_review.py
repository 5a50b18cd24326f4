"""Decisions and the review of a match job, on a real database through the API."""

import threading
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from aparella.db.records import UploadRow
from aparella.workers.context import Context
from tests.integration import drive

LINES = [(f"L{i:03}", f"XERINGA {i}ML ESTERIL") for i in range(20)]
CATALOGUE = [(f"C{i:03}", f"XERINGUES, XERINGA DE {i} ML, ESTÈRIL") for i in range(30)]
BOTH = {"source": "list", "target": "catalogue"}


@pytest.fixture
def job(context: Context) -> int:
    """A match job of 20 lines that has ended; C000 to C009 are of one family, and so on."""
    more = [UploadRow(n, k, t, {"price": n % 7 or "n/a"}) for n, (k, t) in enumerate(LINES, 2)]
    drive.upload(context.db, "list", [], more=more)
    more = [UploadRow(n, k, t, {"familia": k[:3]}) for n, (k, t) in enumerate(CATALOGUE, 2)]
    drive.upload(context.db, "catalogue", [], more=more)
    drive.run(context)
    return matched(context)


def matched(context: Context, k: int = 3) -> int:
    job_id = drive.match(context.db, "list", "catalogue", k=k)
    drive.run(context)
    assert drive.find(context.db, job_id).state == "succeeded"
    return job_id


def take(api: TestClient, job: int, by: str = "anna", **options: Any) -> list[Any]:
    answer = api.post(f"/v1/jobs/{job}/review/next", json={"by": by, **options})
    assert answer.status_code == 200, answer.text
    items: list[Any] = answer.json()["items"]
    return items


def said(key: str, target: str | None, verdict: str, **more: Any) -> dict[str, Any]:
    target_key = {} if target is None else {"target_key": target}
    return {"source_key": key, "verdict": verdict, **target_key, **more}


def decide(api: TestClient, *decisions: dict[str, Any], by: str = "anna", **more: Any) -> list[int]:
    answer = api.post("/v1/decisions", json={**BOTH, "by": by, "decisions": decisions, **more})
    assert answer.status_code == 201, answer.text
    ids: list[int] = answer.json()["ids"]
    return ids


def refused(api: TestClient, status: int, *decisions: dict[str, Any], **more: Any) -> str:
    answer = api.post("/v1/decisions", json={**BOTH, "by": "a", "decisions": decisions, **more})
    assert answer.status_code == status, answer.text
    detail: str = answer.json()["detail"]
    return detail


def listed(api: TestClient, **params: Any) -> list[Any]:
    items: list[Any] = []
    after: int | None = 0
    while after is not None:
        page = api.get("/v1/decisions", params={"limit": 2, "after": after, **params}).json()
        items += page["items"]
        after = page["next"]
    return items


def keys(lines: list[Any]) -> list[str]:
    return [line["key"] for line in lines]


def left(api: TestClient, job: int, by: str = "check") -> set[str]:
    """The lines that are open, which are given back at once."""
    found = keys(take(api, job, by, limit=50))
    if found:
        api.post(f"/v1/jobs/{job}/review/return", json={"by": by, "lines": found})
    return set(found)


# --- decisions ------------------------------------------------------------------------------------


def test_nothing_is_overwritten(api: TestClient, job: int) -> None:
    first = decide(api, said("L001", "C001", "accept", note="sure"), job=job)
    second = decide(api, said("L001", "C001", "reject"), said("L002", None, "none"), by="jordi")
    undone = decide(api, {"verdict": "undo", "decision": second[0]}, by="jordi")
    found = listed(api, **BOTH)
    assert [one["id"] for one in found] == [*first, *second, *undone]
    assert [(one["verdict"], one["in_force"], one["decided_by"]) for one in found] == [
        ("accept", True, "anna"),  # again, since what came after it was taken back
        ("reject", False, "jordi"),
        ("none", True, "jordi"),
        ("undo", False, "jordi"),
    ]
    assert (found[0]["note"], found[0]["job_id"], found[0]["texts_unchanged"]) == (
        "sure",
        job,
        True,
    )
    assert (found[2]["target_key"], found[3]["undoes_id"]) == (None, second[0])
    assert [one["id"] for one in listed(api, by="jordi", in_force=True)] == [second[1]]


@pytest.mark.usefixtures("job")
def test_saying_it_again_adds_nothing(api: TestClient) -> None:
    what = (said("L001", "C001", "accept"), said("L002", None, "none"))
    ids = decide(api, *what)
    assert decide(api, *what) == ids
    undone = decide(api, {"verdict": "undo", "decision": ids[0]})
    assert decide(api, {"verdict": "undo", "decision": ids[0]}) == undone
    assert len(listed(api)) == 3
    again = decide(api, what[0])
    assert again[0] > undone[0]
    other = decide(api, what[0], by="jordi")
    assert other[0] > again[0]
    assert decide(api, what[0])[0] > other[0]


@pytest.mark.usefixtures("job")
def test_what_is_refused(context: Context, api: TestClient) -> None:
    (decided,) = decide(api, said("L001", "C001", "accept"))
    assert "no record with the key 'X'" in refused(api, 404, said("X", "C001", "accept"))
    assert "'catalogue' has no record" in refused(
        api, 404, said("L002", "C002", "accept"), said("L001", "L001", "reject")
    )
    assert "There is no decision 999" in refused(api, 404, {"verdict": "undo", "decision": 999})
    (undone,) = decide(api, {"verdict": "undo", "decision": decided})
    assert "cannot be undone" in refused(api, 409, {"verdict": "undo", "decision": undone})
    for wrong in (
        said("L001", None, "accept"),
        said("L001", "C001", "none"),
        {"verdict": "undo"},
        said("L001", "C001", "perhaps"),
    ):
        refused(api, 422, wrong)
    assert "There is no job 99" in refused(api, 404, said("L001", "C001", "accept"), job=99)
    drive.imported(context, "list", LINES[:5])
    assert "was removed from 'list'" in refused(api, 404, said("L010", "C001", "accept"))
    assert len(listed(api)) == 2


def test_a_text_that_changed_while_it_was_looked_at(
    context: Context, api: TestClient, job: int
) -> None:
    (line,) = take(api, job)
    what = said(
        line["key"],
        line["candidates"][0]["key"],
        "accept",
        source_hash=line["hash"],
        target_hash=line["candidates"][0]["hash"],
    )
    drive.imported(context, "catalogue", [(key, f"{text} NOU") for key, text in CATALOGUE])
    assert "was changed by an import since it was looked at" in refused(api, 409, what)
    assert listed(api) == []


# --- the queue ------------------------------------------------------------------------------------


def test_the_next_line(api: TestClient, job: int) -> None:
    (line,) = take(api, job, order="listed")
    assert (line["key"], line["text"], line["skips"]) == ("L000", "XERINGA 0ML ESTERIL", 0)
    assert line["attributes"] == {"price": 2}
    assert [one["rank"] for one in line["candidates"]] == [1, 2, 3]
    assert all(one["attributes"]["familia"] == one["key"][:3] for one in line["candidates"])
    assert line["candidates"][0]["score"] >= line["candidates"][1]["score"]
    decide(api, said("L001", line["candidates"][0]["key"], "reject"), by="jordi")
    assert keys(take(api, job, "jordi", order="listed", limit=2)) == ["L001", "L002"]


def test_decided_lines_are_not_given_again(context: Context, api: TestClient, job: int) -> None:
    decide(api, said("L000", "C029", "accept"), said("L001", None, "none"))
    assert left(api, job) == {key for key, _ in LINES[2:]}
    (line,) = [one for one in take(api, job, limit=50) if one["key"] == "L002"]
    decide(api, *(said("L002", one["key"], "reject") for one in line["candidates"][:2]))
    ids = decide(api, said("L002", line["candidates"][2]["key"], "reject"))
    again = matched(context)
    assert left(api, again) == {key for key, _ in LINES[3:]}
    # A later job that finds more for it asks again, and says what was decided.
    more = matched(context, k=4)
    (line,) = [one for one in take(api, more, limit=50) if one["key"] == "L002"]
    assert [one["verdict"] for one in line["candidates"]] == ["reject"] * 3 + [None]
    decide(api, {"verdict": "undo", "decision": ids[0]})
    assert left(api, again) == {key for key, _ in LINES[2:]}


def test_a_changed_text_asks_again(context: Context, api: TestClient, job: int) -> None:
    decide(api, said("L000", "C000", "accept"), said("L001", "C001", "accept"))
    decide(api, said("L002", None, "none"), said("L003", None, "none"))
    changed = [(k, f"{t} NOU" if k in ("L000", "L002") else t) for k, t in LINES]
    drive.imported(context, "list", changed)
    assert left(api, job) == {"L000", "L002"} | {key for key, _ in LINES[4:]}
    drive.imported(context, "catalogue", [("C001", "XERINGA DE 1 LITRE"), *CATALOGUE[2:]])
    assert "L001" in left(api, job)
    assert {one["source_key"]: one["texts_unchanged"] for one in listed(api)} == {
        "L000": False,
        "L001": False,
        "L002": False,
        "L003": True,
    }
    # The text is what it was, and so is the decision.
    drive.imported(context, "list", LINES)
    assert "L002" not in left(api, job)


@pytest.mark.usefixtures("job")
def test_none_asks_again_when_the_catalogue_has_something_new(
    context: Context, api: TestClient
) -> None:
    decide(api, said("L000", None, "none"), said("L001", None, "none"))
    drive.imported(context, "catalogue", [*CATALOGUE, ("NEW", LINES[0][1])])
    again = matched(context)
    (line,) = [one for one in take(api, again, limit=50) if one["key"] in ("L000", "L001")]
    assert (line["key"], line["candidates"][0]["key"]) == ("L000", "NEW")


def test_a_leased_line_is_not_given_to_another(context: Context, api: TestClient, job: int) -> None:
    first = keys(take(api, job, "anna", limit=5))
    second = keys(take(api, job, "jordi", limit=50))
    assert len(first) == 5
    assert sorted([*first, *second]) == [key for key, _ in LINES]
    assert take(api, job, "montse") == []
    answer = api.post(
        f"/v1/jobs/{job}/review/return", json={"by": "jordi", "lines": [first[0], second[0]]}
    )
    assert answer.json() == {"lines": 1}
    assert keys(take(api, job, "montse", limit=50)) == [second[0]]
    with context.db.begin() as connection:  # the lease runs out, by the database's clock
        connection.execute(
            sa.text(
                "UPDATE review_line SET lease_until = now() - interval '1 s' "
                "WHERE leased_by = 'anna'"
            )
        )
    assert sorted(keys(take(api, job, "montse", limit=50))) == sorted(first)


def test_a_skipped_line_comes_last(api: TestClient, job: int) -> None:
    first = keys(take(api, job, limit=2, order="listed"))
    back = {"by": "anna", "lines": first[:1], "skip": True}
    assert api.post(f"/v1/jobs/{job}/review/return", json=back).json() == {"lines": 1}
    api.post(f"/v1/jobs/{job}/review/return", json={"by": "anna", "lines": first[1:]})
    order = keys(take(api, job, "jordi", limit=50, order="listed"))
    assert order == [*(key for key, _ in LINES[1:]), "L000"]


def test_whether_a_line_is_skipped_is_true_or_false_as_documented(
    api: TestClient, job: int
) -> None:
    """What the fuzz test found: 0 was taken for false."""
    back = {"by": "anna", "lines": ["L000"], "skip": 0}
    answer = api.post(f"/v1/jobs/{job}/review/return", json=back)
    assert answer.status_code == 422
    assert "skip" in answer.text


def test_an_undone_line_is_leased_to_who_undid_it(api: TestClient, job: int) -> None:
    (line,) = take(api, job)
    key = line["key"]
    (decided,) = decide(api, said(key, None, "none"), job=job)
    decide(api, {"verdict": "undo", "decision": decided}, job=job)
    assert key not in keys(take(api, job, "jordi", limit=50))
    back = {"by": "anna", "lines": [key]}
    assert api.post(f"/v1/jobs/{job}/review/return", json=back).json() == {"lines": 1}
    assert keys(take(api, job, "jordi", limit=50)) == [key]


def test_orders(context: Context, api: TestClient, job: int) -> None:
    by_value = take(api, job, limit=50, order="value:price")
    prices = [line["attributes"]["price"] for line in by_value]
    numbers = [price for price in prices if price != "n/a"]
    assert numbers == sorted(numbers, reverse=True)
    assert set(prices[len(numbers) :]) == {"n/a"}
    api.post(f"/v1/jobs/{job}/review/return", json={"by": "anna", "lines": keys(by_value)})
    with context.db.begin() as connection:
        connection.execute(sa.text("DELETE FROM review"))
        connection.execute(
            sa.text("""
                UPDATE match m SET confidence = CASE s.key
                    WHEN 'L007' THEN 0.52 WHEN 'L003' THEN 0.4 ELSE 0.99 - s.id * 0.0001 END
                FROM record s WHERE s.id = m.source_id AND m.rank = 1
            """)
        )
    assert keys(take(api, job, limit=2))[0] == "L007"
    refused = api.post(f"/v1/jobs/{job}/review/next", json={"by": "a", "order": "best"})
    assert "give uncertain, listed or value:ATTR" in refused.json()["detail"]


def test_lines_of_the_same_candidate_are_moved_apart(context: Context, api: TestClient) -> None:
    """By hand, so that the order is known: six lines of two candidates, and three others."""
    drive.imported(context, "list", [(f"L{i}", f"LINE {i}") for i in range(9)])
    drive.imported(context, "catalogue", [(f"C{i}", f"RECORD {i}") for i in range(6)])
    job = matched(context, k=1)
    with context.db.begin() as connection:
        connection.execute(
            sa.text("""
                UPDATE match m SET confidence = 0.5 + 0.01 * n.place, target_id = t.id
                FROM (SELECT id, key, row_number() OVER (ORDER BY id) AS place FROM record
                      WHERE key LIKE 'L%') n
                JOIN record t ON t.key = CASE WHEN n.place <= 3 THEN 'C0'
                                              WHEN n.place <= 6 THEN 'C1'
                                              ELSE 'C' || n.place - 5 END
                WHERE m.source_id = n.id
            """)
        )
    found = take(api, job, limit=50)
    assert [line["candidates"][0]["key"] for line in found] == [
        *("C0", "C1", "C2", "C3", "C4"),
        *("C0", "C1"),
        *("C0", "C1"),
    ]


def test_two_reviewers_at_once_never_get_the_same_line(context: Context, api: TestClient) -> None:
    lines = [(f"L{i:03}", f"XERINGA {i}ML") for i in range(200)]
    drive.imported(context, "list", lines)
    drive.imported(context, "catalogue", CATALOGUE)
    job = matched(context)
    got: dict[str, list[str]] = {"anna": [], "jordi": []}
    failures: list[BaseException] = []
    start = threading.Barrier(2)

    def work(by: str) -> None:
        try:
            start.wait()
            while found := take(api, job, by):
                got[by] += keys(found)
                if len(got[by]) % 2:
                    decide(api, said(found[0]["key"], None, "none"), by=by, job=job)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work, args=(by,)) for by in got]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted([*got["anna"], *got["jordi"]]) == [key for key, _ in lines]
    assert min(map(len, got.values())) > 20


def test_jobs_that_cannot_be_reviewed(context: Context, api: TestClient) -> None:
    drive.imported(context, "list", LINES[:1])
    drive.imported(context, "catalogue", CATALOGUE[:1])
    answer = api.post("/v1/jobs/1/review/next", json={"by": "a"})
    assert (answer.status_code, "only match jobs" in answer.text) == (409, True)
    job = drive.match(context.db, "list", "catalogue")
    answer = api.get(f"/v1/jobs/{job}/review")
    assert "it can be reviewed once it has succeeded" in answer.json()["detail"]
    assert api.post("/v1/jobs/99/review/next", json={"by": "a"}).status_code == 404


# --- progress and agreement -----------------------------------------------------------------------


def test_progress_and_agreement(api: TestClient, job: int) -> None:
    for number in range(8):
        first = "C000" if number % 2 else None
        decide(api, said(f"L{number:03}", first, "accept" if first else "none"), by="anna")
        second = "C000" if number in (1, 3, 5) else None
        decide(api, said(f"L{number:03}", second, "accept" if second else "none"), by="jordi")
    decide(api, said("L009", "C001", "accept"), by="montse")
    (line,) = [one for one in take(api, job, "pau", limit=12) if one["key"] == "L010"] or [None]
    found = api.get(f"/v1/jobs/{job}/review").json()
    assert (found["lines"], found["decided"]) == (20, 9)
    assert (found["leased"], found["open"], found["skipped"]) == (11, 0, 0)
    assert [(one["name"], one["lines"]) for one in found["reviewers"]] == [
        ("anna", 8),
        ("jordi", 8),
        ("montse", 1),
    ]
    anna = found["reviewers"][0]
    assert (anna["accepted"], anna["rejected"], anna["none"]) == (4, 0, 4)
    (pair,) = found["agreement"]
    # 7 of 8 alike; anna says none 4 times of 8 and jordi 5 times: chance agrees on half.
    assert (pair["first"], pair["second"], pair["lines"], pair["agreed"]) == ("anna", "jordi", 8, 7)
    assert (pair["share"], pair["kappa"]) == (0.875, 0.75)
    assert (found["compared"], found["agreed"]) == (8, 7)
    assert line is not None
    # Rejecting every candidate says as much as `none` where it comes to agreeing.
    decide(api, said("L010", None, "none"), by="anna")
    decide(api, *(said("L010", one["key"], "reject") for one in line["candidates"]), by="jordi")
    found = api.get(f"/v1/jobs/{job}/review").json()
    assert (found["compared"], found["agreed"], found["decided"]) == (9, 8, 10)


# --- search ---------------------------------------------------------------------------------------


def test_search(context: Context, api: TestClient) -> None:
    drive.imported(
        context,
        "catalogue",
        [
            ("11100039", "XERINGUES, XERINGA DE TRES COSSOS, ESTÈRIL, 20 ML"),
            ("11100040", "XERINGUES, XERINGA DE TRES COSSOS, ESTÈRIL, 50 ML"),
            ("222", "AGULLES, AGULLA HIPODÈRMICA 20G"),
        ],
    )

    def find(q: str, **more: Any) -> list[str]:
        answer = api.get("/v1/collections/catalogue/search", params={"q": q, **more})
        assert answer.status_code == 200, answer.text
        return keys(answer.json()["items"])

    assert find("esteril 20 ml xeringa")[0] == "11100039"
    assert find("11100040")[0] == "11100040"
    assert find("agulla hipodermica") == ["222"]
    assert find("zzzz") == []
    assert len(find("xeringa", limit=1)) == 1
    assert api.get("/v1/collections/catalogue/search", params={"q": " "}).status_code == 422
    assert api.get("/v1/collections/nowhere/search", params={"q": "x"}).status_code == 404
