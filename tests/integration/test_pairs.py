"""Pair sets on a real database, through the API and the worker's own code."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from aparella.api.app import create_app
from aparella.db import pairs
from aparella.db.engine import transaction
from aparella.settings import Settings
from aparella.workers import pipelines
from aparella.workers.context import Context
from aparella.workers.evaluation import split
from tests.integration import drive

LIST = [(f"L{i}", f"XERINGA {i}ML ESTERIL") for i in range(30)]
CATALOGUE = [(f"C{i}", f"XERINGUES, XERINGA DE {i} ML, ESTÈRIL, 1ÚS") for i in range(50)]
BOTH = {"source": "list", "target": "catalogue"}
HEADER = "source_key,target_key\n"


def lines(numbers: Any) -> str:
    return HEADER + "".join(f"L{i},C{i}\n" for i in numbers)


@pytest.fixture
def api(context: Context, settings: Settings) -> Iterator[TestClient]:
    """An API with a list of 30 lines and a catalogue of 50 records."""
    drive.imported(context, "list", LIST)
    drive.imported(context, "catalogue", CATALOGUE)
    with TestClient(create_app(settings)) as client:
        yield client


def post(api: TestClient, content: str | bytes, name: str = "known", **params: Any) -> Any:
    body = content.encode() if isinstance(content, str) else content
    params = {"filename": "pairs.csv", **BOTH, **params}
    chosen = {name: value for name, value in params.items() if value is not None}
    return api.post(f"/v1/pairs/{name}", params=chosen, content=body)


def done(context: Context, answer: httpx2.Response) -> tuple[Any, list[Any]]:
    """The job that was asked for, at its end, and its errors."""
    assert answer.status_code == 202, answer.text
    drive.run(context)
    api_job = drive.find(context.db, answer.json()["id"])
    query = sa.text("SELECT row, key, field, code, message FROM job_error WHERE job_id = :i")
    with transaction(context.db) as connection:
        errors = connection.execute(query, {"i": api_job.id}).mappings().all()
    return api_job, sorted(errors, key=lambda error: error["row"] or 0)


def figures(job: Any) -> dict[str, int]:
    names = ("rows", "new", "changed", "unchanged", "duplicates", "refused", "rejected")
    return {name: job.summary[name] for name in names if job.summary.get(name)}


def rows(db: sa.Engine, query: str, **values: Any) -> list[tuple[Any, ...]]:
    with transaction(db) as connection:
        return [tuple(row) for row in connection.execute(sa.text(query), values)]


def id_of(db: sa.Engine, name: str = "known") -> int:
    with transaction(db) as connection:
        return pairs.find_set(connection, name).id


# --- importing by keys ----------------------------------------------------------------------------


def test_pairs_by_keys(context: Context, api: TestClient) -> None:
    answer = post(api, lines(range(30)))
    job = answer.json()
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert job["kind"] == "pairs"
    assert job["params"] == {
        "pairs": "known",
        **BOTH,
        "filename": "pairs.csv",
        "strict": False,
        "columns": {"source": "source_key", "target": "target_key"},
    }
    ended, errors = done(context, answer)
    assert (ended.state, errors) == ("succeeded", [])
    assert figures(ended) == {"rows": 30, "new": 30}
    document = api.get("/v1/pairs/known").json()
    assert (document["source"], document["target"]) == ("list", "catalogue")
    assert (document["pairs"], document["rejected"], document["stale"]) == (30, 0, 0)
    assert sum(document["folds"]) == 30
    assert document["held_out"] == sum(document["folds"][:2]) > 0
    (listed,) = api.get("/v1/pairs").json()["items"]
    assert listed == {name: document[name] for name in listed}
    assert [job["id"] for job in api.get("/v1/jobs?kind=pairs").json()["items"]] == [ended.id]
    assert rows(context.db, "SELECT count(*) FROM upload_row") == [(0,)]


def test_what_training_reads(context: Context, api: TestClient) -> None:
    content = "source_key,target_key,label,weight\nL1,C1,,\nL2,C2,true,2.5\nL3,C9,0,\nL3,C3,1,1\n"
    job, _ = done(context, post(api, content))
    assert figures(job) == {"rows": 4, "new": 4, "rejected": 1}
    set_id = id_of(context.db)
    with transaction(context.db) as connection:
        found = pairs.current(connection, set_id, range(10))
        keys = list(pairs.keys(connection, set_id))
        some = pairs.current(connection, set_id, [found[0].fold or 0])
    assert sorted((p.source_text[8], p.target_text[22], p.positive, p.weight) for p in found) == [
        ("1", "1", True, 1.0),
        ("2", "2", True, 2.5),
        ("3", "3", True, 1.0),
        ("3", "9", False, 1.0),
    ]
    assert all(p.source_id and p.target_id and len(p.source_hash) == 16 for p in found)
    assert {p.fold for p in some} == {found[0].fold}
    as_split = [split.PairKey(k.id, k.source, k.target, k.positive, k.fold) for k in keys]
    assert split.assign(as_split) == {p.id: p.fold for p in found}
    assert len(split.digest(as_split)) == 64


def test_importing_again_counts_what_is_new_and_changed(context: Context, api: TestClient) -> None:
    done(context, post(api, lines(range(20))))
    before = dict(rows(context.db, "SELECT source_id, fold FROM pair"))
    again = "source_key,target_key,label,weight\nL0,C0,0,\nL1,C1,1,3\nL2,C2,1,1\nL25,C25,1,1\n"
    job, _ = done(context, post(api, again))
    assert figures(job) == {"rows": 4, "new": 1, "changed": 2, "unchanged": 1, "rejected": 1}
    after = dict(rows(context.db, "SELECT source_id, fold FROM pair"))
    assert len(after) == 21
    kept = {key: fold for key, fold in after.items() if key in before}
    rejected = rows(context.db, "SELECT source_id FROM pair WHERE NOT positive")[0][0]
    assert {k: f for k, f in kept.items() if k != rejected} == {
        k: f for k, f in before.items() if k != rejected
    }
    job, _ = done(context, post(api, again))
    assert figures(job) == {"rows": 4, "unchanged": 4, "rejected": 1}


def test_a_pair_whose_text_changed_is_stale_until_it_is_imported_again(
    context: Context, api: TestClient
) -> None:
    done(context, post(api, lines(range(10))))
    before = dict(rows(context.db, "SELECT source_id, fold FROM pair"))
    # L0 and L1 change places: no order of updates could do that one by one.
    swapped = [("L0", LIST[1][1]), ("L1", LIST[0][1]), ("L2", "AGULLA NOVA"), *LIST[4:]]
    drive.imported(context, "list", swapped)
    set_id = id_of(context.db)
    with transaction(context.db) as connection:
        stale = pairs.stale(connection, set_id)
        assert pairs.count_stale(connection, set_id) == 4
        assert len(pairs.current(connection, set_id, range(10))) == 6
        assert len(list(pairs.keys(connection, set_id))) == 10
        assert len(list(pairs.keys(connection, set_id, current_only=True))) == 6
    assert [
        (p.source_key, p.target_key, p.reason)
        for p in sorted(stale, key=lambda p: str(p.source_key))
    ] == [
        ("L0", "C0", "source_changed"),
        ("L1", "C1", "source_changed"),
        ("L2", "C2", "source_changed"),
        ("L3", "C3", "source_removed"),
    ]
    document = api.get("/v1/pairs/known").json()
    assert document["stale"] == 4
    assert {"source_key": "L3", "target_key": "C3", "reason": "source_removed"} in document[
        "stale_pairs"
    ]
    job, errors = done(context, post(api, lines(range(10))))
    assert figures(job) == {"rows": 10, "changed": 3, "unchanged": 6, "refused": 1}
    assert [(e["row"], e["key"], e["code"]) for e in errors] == [(5, "L3", "removed_record")]
    assert "was removed from 'list'" in errors[0]["message"]
    assert dict(rows(context.db, "SELECT source_id, fold FROM pair")) == before
    assert api.get("/v1/pairs/known").json()["stale"] == 1


def test_every_bad_row_is_told_by_itself(context: Context, api: TestClient) -> None:
    bad = [
        "source_key,target_key,label,weight",
        "L1,C1,1,1",
        "l-1,C2,1,1",  # 3: unknown; L1 is close
        "L2,C-002,1,1",  # 4: unknown target
        "nobody,C3,1,1",  # 5
        "L3,C3,maybe,1",  # 6
        "L4,C4,1,-2",  # 7
        ",C5,1,1",  # 8
        "L5,,1,1",  # 9
        "L1,C1,1,1",  # 10: says row 2 again
        "L6,C6,1,1",  # 11
        "L6,C6,0,1",  # 12: contradicts row 11
        "L7,C7,0,nan",  # 13
        "L8,C8",  # 14
        "L9,C9,1,1",
    ]
    job, errors = done(context, post(api, "\n".join(bad) + "\n"))
    assert job.state == "succeeded_with_errors"
    assert figures(job) == {"rows": 14, "new": 2, "duplicates": 1, "refused": 11}
    told = [(e["row"], e["field"], e["code"]) for e in errors]
    assert told == [
        (3, "source_key", "unknown_key"),
        (4, "target_key", "unknown_key"),
        (5, "source_key", "unknown_key"),
        (6, "label", "bad_label"),
        (7, "weight", "bad_weight"),
        (8, "source_key", "empty_key"),
        (9, "target_key", "empty_key"),
        (10, None, "duplicate_pair"),
        (11, "label", "conflict"),
        (12, "label", "conflict"),
        (13, "weight", "bad_weight"),
        (14, None, "ragged_row"),
    ]
    messages = {e["row"]: e["message"] for e in errors}
    assert messages[3] == (
        "'list' has no record with the key 'l-1' (did you mean 'L1'?): correct the key, or import "
        "the record first"
    )
    assert messages[5] == (
        "'list' has no record with the key 'nobody': correct the key, or import the record first"
    )
    assert "give 1 or true" in messages[6]
    assert "give a number above 0" in messages[7]
    assert "column 'source_key' is blank" in messages[8]
    assert "stands on row 2 already" in messages[10]
    assert "label 1 on row 11 and 0 on row 12" in messages[12]
    assert rows(context.db, "SELECT count(*) FROM pair") == [(2,)]


def test_other_keys_with_the_same_texts_are_one_pair(context: Context, api: TestClient) -> None:
    drive.imported(context, "list", [*LIST, ("twin", LIST[1][1])])
    job, errors = done(context, post(api, HEADER + "L1,C1\ntwin,C1\nL2,C2\n"))
    assert figures(job) == {"rows": 3, "new": 2, "duplicates": 1}
    assert "other keys, but the same two texts as on row 2" in errors[0]["message"]
    job, _ = done(context, post(api, HEADER + "twin,C1\n"))
    assert figures(job) == {"rows": 1, "unchanged": 1}
    # Once the first line is gone the pair goes over to its twin.
    drive.imported(context, "list", [("twin", LIST[1][1]), *LIST[2:]])
    job, _ = done(context, post(api, HEADER + "twin,C1\n"))
    assert figures(job) == {"rows": 1, "changed": 1}
    assert api.get("/v1/pairs/known").json()["stale"] == 0


def test_a_strict_import_with_a_bad_row_changes_nothing(context: Context, api: TestClient) -> None:
    job, errors = done(context, post(api, lines(range(5)) + "X,C1\n", strict=True))
    assert job.state == "failed"
    assert job.error == (
        "1 of 6 rows of pairs.csv are refused, and the import is strict: nothing was changed. "
        "Mend them, or leave out --strict."
    )
    assert [e["row"] for e in errors] == [7]
    assert rows(context.db, "SELECT count(*) FROM pair") == [(0,)]
    assert rows(context.db, "SELECT count(*) FROM upload_row") == [(0,)]
    assert api.post(f"/v1/jobs/{job.id}/retry").status_code == 409


def test_all_rows_bad_changes_nothing(context: Context, api: TestClient) -> None:
    done(context, post(api, lines(range(3))))
    job, errors = done(context, post(api, HEADER + "A,B\nC,D\n"))
    assert job.state == "failed"
    assert job.error == "All 2 rows of pairs.csv are refused: nothing was changed."
    assert len(errors) == 2
    assert rows(context.db, "SELECT count(*) FROM pair") == [(3,)]


def test_swapped_columns_are_told(context: Context, api: TestClient) -> None:
    content = "source_key,target_key\n" + "".join(f"C{i},L{i}\n" for i in range(20)) + "x,y\n"
    job, errors = done(context, post(api, content))
    assert (job.state, errors) == ("failed", [])
    assert job.error == (
        "The two columns of pairs.csv are swapped: 20 of 21 keys in 'source_key' are records of "
        "'catalogue', not of 'list', and 20 in 'target_key' the other way round. Nothing was "
        "changed; call it with --source-column target_key --target-column source_key."
    )
    assert rows(context.db, "SELECT count(*) FROM pair") == [(0,)]
    # As it says:
    columns = {"source_column": "target_key", "target_column": "source_key"}
    job, _ = done(context, post(api, content, **columns))
    assert figures(job) == {"rows": 21, "new": 20, "refused": 1}
    # A set whose first import failed is still free for other collections.
    job, _ = done(context, post(api, lines(range(9)), "other", source="catalogue", target="list"))
    assert job.state == "failed"
    job, _ = done(context, post(api, lines(range(9)), "other"))
    assert figures(job) == {"rows": 9, "new": 9}


def test_a_list_paired_with_itself(context: Context, api: TestClient) -> None:
    both = {"source": "list", "target": "list"}
    job, _ = done(context, post(api, HEADER + "L1,L2\nL3,L4\n", **both))
    assert figures(job) == {"rows": 2, "new": 2}


def test_a_pair_that_would_leak_is_left_out_and_told(context: Context, api: TestClient) -> None:
    done(context, post(api, lines(range(30))))
    found = rows(
        context.db,
        "SELECT s.key, t.key, p.fold IN (0, 1) FROM pair p JOIN record s ON s.id = p.source_id "
        "JOIN record t ON t.id = p.target_id ORDER BY p.id",
    )
    tested = next(source for source, _, held_out in found if held_out)
    trained = next(target for _, target, held_out in found if not held_out)
    job, errors = done(context, post(api, HEADER + f"{tested},{trained}\n"))
    assert (job.state, job.summary["new"], job.summary["left_out"]) == (
        "succeeded_with_errors",
        1,
        1,
    )
    (leak,) = errors
    assert (leak["row"], leak["key"], leak["code"]) == (2, tested, "leak")
    assert "left out of both training and evaluation" in leak["message"]
    assert api.get("/v1/pairs/known").json()["left_out"] == 1
    set_id = id_of(context.db)
    with transaction(context.db) as connection:
        assert len(pairs.current(connection, set_id, range(10))) == 30


def test_the_folds_that_test_are_those_of_the_split() -> None:
    assert frozenset(pairs.HELD_OUT) == split.TEST_FOLDS
    assert len(pairs.FOLDS) == split.FOLDS


# --- importing texts ------------------------------------------------------------------------------

NO_COLLECTIONS = {"source": None, "target": None}


def test_pairs_as_texts_are_cleaned_and_need_no_collection(
    context: Context, settings: Settings
) -> None:
    content = (
        "source_text,target_text,label\n"
        'AGULLA EST√àRIL,"AGULLES,  AGULLA ESTÈRIL",1\n'
        "\x01\x02,SONDA,1\n"
        "SONDA,SONDES,1\n"
        "SONDA ,SONDES,1\n"
        "SONDA,AGULLES,0\n" + f"{'LLARG ' * 500},SONDES LLARGUES,1\n"
    )
    with TestClient(create_app(settings)) as api:
        job, errors = done(context, post(api, content, **NO_COLLECTIONS))
        assert job.state == "succeeded_with_errors"
        assert figures(job) == {
            "rows": 6,
            "new": 4,
            "duplicates": 1,
            "refused": 1,
            "rejected": 1,
        }
        assert job.summary["repaired"] == 1
        assert [(e["row"], e["field"], e["code"]) for e in errors] == [
            (3, "source_text", "empty_text"),
            (5, None, "duplicate_pair"),
        ]
        document = api.get("/v1/pairs/known").json()
        assert (document["source"], document["pairs"], document["stale"]) == (None, 3, 0)
        job, _ = done(context, post(api, content, **NO_COLLECTIONS))
        assert job.summary["unchanged"] == 4
    set_id = id_of(context.db)
    with transaction(context.db) as connection:
        found = pairs.current(connection, set_id, range(10))
    assert ("AGULLA ESTÈRIL", "AGULLES, AGULLA ESTÈRIL") in {
        (p.source_text, p.target_text) for p in found
    }
    assert all(p.source_id is None and p.fold is not None for p in found)


def test_many_texts_are_cleaned_in_chunks(context: Context, settings: Settings) -> None:
    content = "source_text,target_text\n" + "".join(f"A {i},B {i}\n" for i in range(50))
    with TestClient(create_app(settings)) as api:
        answer = post(api, content, **NO_COLLECTIONS)
        job, _ = done(context, answer)
    assert figures(job) == {"rows": 50, "new": 50}
    assert rows(
        context.db,
        "SELECT s.name, count(*) FROM stage s JOIN chunk c ON c.stage_id = s.id "
        "WHERE s.job_id = :job AND c.kind = 'work' GROUP BY 1 ORDER BY 1",
        job=job.id,
    ) == [("clean", 5), ("pairs", 1)]


# --- what is refused at once ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "change", "status", "field", "words"),
    [
        (lines([1]), {"source": "lst"}, 404, "source", "There is no collection 'lst'"),
        (lines([1]), {"target": "lst"}, 404, "target", "There is no collection 'lst'"),
        (lines([1]), {"target": None}, 422, "target", "Give --target too, or neither"),
        (lines([1]), {"source": None}, 422, "source", "Give --source too, or neither"),
        ("code,target_key\n1,2\n", {}, 422, "source_column", "pass it as --source-column"),
        (
            "source_text,target_text\nA,B\n",
            {},
            422,
            "source_column",
            "if it holds texts, leave the two out",
        ),
        (
            lines([1]),
            {"source": None, "target": None},
            422,
            "source_column",
            "if it holds keys, give the two collections that they belong to",
        ),
        (
            "a,b\n1,2\n",
            {"source_column": "a", "target_column": "c"},
            422,
            "target_column",
            "It has 'a', 'b'. Pass another --target-column.",
        ),
        (lines([1]), {"target_column": "source_key"}, 422, "target_column", "both sides"),
        ("source_key,target_key,label,label\n1,2,1,1\n", {}, 422, "column", "named 'label'"),
        (lines([1]).replace(",", ";"), {}, 422, "delimiter", "--delimiter ';'"),
        (HEADER, {}, 422, None, "no row"),
        ("", {}, 422, None, "empty"),
        (lines([1]), {"colour": "red"}, 422, "colour", "colour is not a query parameter"),
        (lines([1]), {"source": "a b"}, 422, "source", "without spaces"),
    ],
)
def test_what_is_wrong_as_a_whole_leaves_nothing(
    db: sa.Engine,
    api: TestClient,
    content: str,
    change: Any,
    status: int,
    field: str | None,
    words: str,
) -> None:
    answer = post(api, content, **change)
    assert answer.status_code == status, answer.text
    document = answer.json()
    assert words in document["detail"]
    assert [error["field"] for error in document["errors"]] == ([field] if field else [])
    assert rows(db, "SELECT count(*) FROM pair_set") == [(0,)]
    assert rows(db, "SELECT count(*) FROM job WHERE kind = 'pairs'") == [(0,)]


def test_a_collection_without_records_is_refused(api: TestClient, context: Context) -> None:
    drive.upload(context.db, "empty", [("1", "A")])
    answer = post(api, lines([1]), target="empty")
    assert answer.status_code == 422
    assert "has not ended yet" in answer.json()["detail"]


def test_a_set_keeps_to_its_collections(context: Context, api: TestClient) -> None:
    done(context, post(api, lines([1])))
    for change, words in (
        ({"source": "catalogue", "target": "list"}, "holds pairs of 'list' and 'catalogue'"),
        (NO_COLLECTIONS, "holds pairs of 'list' and 'catalogue'"),
    ):
        content = lines([1]) if change["source"] else "source_text,target_text\nA,B\n"
        answer = post(api, content, **change)
        assert answer.status_code == 409
        assert words in answer.json()["detail"]
        assert "aparella pairs delete known" in answer.json()["detail"]
    done(context, post(api, "source_text,target_text\nA,B\n", "texts", **NO_COLLECTIONS))
    answer = post(api, lines([1]), "texts")
    assert "came as texts, without collections" in answer.json()["detail"]


def test_a_set_that_is_not_there(api: TestClient, context: Context) -> None:
    done(context, post(api, lines([1])))
    for answer in (api.get("/v1/pairs/nobody"), api.delete("/v1/pairs/nobody")):
        assert answer.status_code == 404
        assert "There is no pair set 'nobody' (there are: 'known')" in answer.json()["detail"]


@pytest.mark.parametrize("columns", ["label", "label,weight"])
def test_formats_with_and_without_the_optional_columns(
    context: Context, api: TestClient, columns: str
) -> None:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    table = {"source_key": ["L1", "L2"], "target_key": ["C1", "C2"], "label": [1.0, None]}
    if "weight" in columns:
        table["weight"] = [2, 3]
    buffer = io.BytesIO()
    pq.write_table(pa.table(table), buffer)
    job, _ = done(context, post(api, buffer.getvalue(), filename="pairs.parquet"))
    assert figures(job) == {"rows": 2, "new": 2}
    ndjson = '{"source_key": "L3", "target_key": "C3", "label": false}\n{"source_key": "L4"}\n'
    job, errors = done(context, post(api, ndjson, filename="pairs.ndjson"))
    assert figures(job) == {"rows": 2, "new": 1, "refused": 1, "rejected": 1}
    assert "column 'target_key' is blank" in errors[0]["message"]


# --- decisions ------------------------------------------------------------------------------------


def decide(db: sa.Engine, source: str, target: str, verdict: str) -> None:
    with transaction(db) as connection:
        connection.execute(
            sa.text(
                "INSERT INTO decision (source_id, target_id, catalogue_id, source_hash, "
                "target_hash, verdict, decided_by, decided_at) "
                "SELECT s.id, t.id, t.collection_id, s.text_hash, t.text_hash, :verdict, 'anna', "
                "clock_timestamp() FROM record s, record t "
                "WHERE s.key = :source AND t.key = :target"
            ),
            {"source": source, "target": target, "verdict": verdict},
        )


def collect(api: TestClient, name: str = "known", **change: str) -> Any:
    return api.post(f"/v1/pairs/{name}/decisions", json={**BOTH, **change})


def test_decisions_become_pairs(context: Context, api: TestClient) -> None:
    decide(context.db, "L1", "C1", "reject")
    decide(context.db, "L1", "C1", "accept")  # the newest counts
    decide(context.db, "L2", "C3", "reject")
    answer = collect(api)
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert document == {
        "name": "known",
        "decisions": 2,
        "new": 2,
        "changed": 0,
        "unchanged": 0,
        "rejected": 1,
        "left_out": 0,
        "conflicts": 0,
        "noticed": 0,
        "notices": [],
    }
    found = api.get("/v1/pairs/known").json()
    assert (found["pairs"], found["rejected"], found["decided"]) == (1, 1, 2)
    assert sum(found["folds"]) == 1
    decide(context.db, "L2", "C3", "accept")
    document = collect(api).json()
    assert (document["new"], document["changed"], document["unchanged"]) == (0, 1, 1)


def test_a_decision_stands_against_a_file(context: Context, api: TestClient) -> None:
    done(context, post(api, "source_key,target_key,weight\nL1,C1,4\nL2,C2,1\n"))
    decide(context.db, "L1", "C1", "reject")
    decide(context.db, "L2", "C2", "accept")
    document = collect(api).json()
    assert (document["changed"], document["unchanged"], document["conflicts"]) == (1, 1, 1)
    (notice,) = document["notices"]
    assert (notice["code"], notice["source_key"], notice["target_key"]) == ("overruled", "L1", "C1")
    assert "the decision stands" in notice["message"]
    # The weight stays, and a file does not undo what a person has decided.
    assert rows(context.db, "SELECT weight FROM pair WHERE NOT positive") == [(4.0,)]
    job, errors = done(context, post(api, HEADER + "L1,C1\nL2,C2\nL3,C3\n"))
    assert figures(job) == {"rows": 3, "new": 1, "unchanged": 1, "refused": 1}
    assert [(e["row"], e["code"]) for e in errors] == [(2, "decided")]
    assert "a person has rejected this pair" in errors[0]["message"]
    assert api.get("/v1/pairs/known").json()["decided"] == 2


def test_what_is_said_about_decisions(context: Context, api: TestClient) -> None:
    drive.imported(context, "list", [*LIST, ("twin", LIST[1][1])])
    decide(context.db, "L1", "C1", "reject")
    decide(context.db, "twin", "C1", "accept")
    decide(context.db, "L9", "C9", "accept")
    drive.imported(context, "list", [*LIST[:9], ("twin", LIST[1][1])])
    document = collect(api).json()
    assert (document["decisions"], document["new"], document["conflicts"]) == (2, 1, 1)
    assert [(n["code"], n["source_key"]) for n in document["notices"]] == [
        ("removed_record", "L9"),
        ("conflict", "L1"),
    ]
    assert rows(context.db, "SELECT positive FROM pair") == [(True,)]


def test_what_was_undone_or_has_another_text_is_no_pair(context: Context, api: TestClient) -> None:
    for number in (1, 2, 3):
        decide(context.db, f"L{number}", f"C{number}", "accept")
    (first,) = rows(context.db, "SELECT min(id) FROM decision")
    undo = {"verdict": "undo", "decision": first[0]}
    answer = api.post("/v1/decisions", json={**BOTH, "by": "jordi", "decisions": [undo]})
    assert answer.status_code == 201
    drive.imported(context, "list", [*LIST[:2], ("L2", "UNA ALTRA COSA"), *LIST[3:]])
    document = collect(api).json()
    assert (document["decisions"], document["new"]) == (1, 1)
    assert [(n["code"], n["source_key"]) for n in document["notices"]] == [("changed_text", "L2")]
    assert rows(context.db, "SELECT r.key FROM pair p JOIN record r ON r.id = p.source_id") == [
        ("L3",)
    ]


def test_no_counterpart_rejects_the_candidates(context: Context, api: TestClient) -> None:
    job = drive.match(context.db, "list", "catalogue", k=3)
    drive.run(context)
    candidates = "SELECT t.key FROM match m JOIN record t ON t.id = m.target_id JOIN record s ON "
    candidates += "s.id = m.source_id WHERE m.job_id = :job AND s.key = 'L1' ORDER BY m.rank"
    first, second, third = (key for (key,) in rows(context.db, candidates, job=job))
    decide(context.db, "L1", first, "accept")  # before, and so overruled
    none = {"source_key": "L1", "verdict": "none"}
    api.post("/v1/decisions", json={**BOTH, "by": "anna", "job": job, "decisions": [none]})
    decide(context.db, "L1", third, "accept")
    document = collect(api).json()
    assert (document["decisions"], document["new"], document["rejected"]) == (2, 3, 2)
    pairs_of = "SELECT r.key, p.positive FROM pair p JOIN record r ON r.id = p.target_id"
    assert dict(rows(context.db, pairs_of)) == {first: False, second: False, third: True}


def test_collecting_what_is_not_there(context: Context, api: TestClient) -> None:
    answer = collect(api)
    assert answer.status_code == 422
    assert "Nobody has decided yet" in answer.json()["detail"]
    assert collect(api, source="nowhere").json()["errors"][0]["field"] == "source"
    assert rows(context.db, "SELECT count(*) FROM pair_set") == [(0,)]
    done(context, post(api, "source_text,target_text\nA,B\n", "texts", **NO_COLLECTIONS))
    assert collect(api, "texts").status_code == 409


# --- deleting -------------------------------------------------------------------------------------


def test_a_set_in_use_is_not_deleted(context: Context, api: TestClient) -> None:
    answer = post(api, lines([1]))
    job_id = answer.json()["id"]
    refused = api.delete("/v1/pairs/known")
    assert refused.status_code == 409
    assert f"Job {job_id} (pairs) uses the pair set 'known'" in refused.json()["detail"]
    done(context, answer)
    with transaction(context.db) as connection:
        connection.execute(
            sa.text(
                "INSERT INTO job (kind, params, state) "
                """VALUES ('train', '{"pairs": ["other", "known"]}', 'running')"""
            )
        )
    refused = api.delete("/v1/pairs/known")
    assert "(train) uses the pair set 'known'" in refused.json()["detail"]
    with transaction(context.db) as connection:
        connection.execute(sa.text("UPDATE job SET state = 'failed' WHERE kind = 'train'"))
    assert api.delete("/v1/pairs/known").status_code == 204
    assert api.get("/v1/pairs").json() == {"items": []}
    assert rows(context.db, "SELECT count(*) FROM pair") == [(0,)]


def test_a_set_deleted_under_its_import(context: Context, api: TestClient) -> None:
    answer = post(api, lines([1]))
    with transaction(context.db) as connection:
        connection.execute(sa.text("DELETE FROM pair_set"))
    job, _ = done(context, answer)
    assert job.state == "failed"
    assert "was deleted before its file was imported" in (job.error or "")


def test_the_stages_have_handlers() -> None:
    from aparella.workers.stages import HANDLERS

    for texts in (True, False):
        for stage in pipelines.pairs_stages(1, 2, texts=texts):
            assert stage.handler in HANDLERS
            assert stage.queue == "import"
