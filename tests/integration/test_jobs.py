"""Jobs from end to end in one process: import, embed, index, match, on a real database."""

import pytest
import sqlalchemy as sa

from aparella.db import jobs, stages
from aparella.db.engine import transaction
from aparella.db.records import UploadRow
from aparella.workers import context as worker_context
from aparella.workers.context import Context
from tests.integration import drive
from tests.integration.trigrams import GramEncoder

LIST = [(f"L{i}", f"XERINGA {i}ML ESTERIL") for i in range(30)]
CATALOGUE = [(f"C{i}", f"XERINGUES, XERINGA DE {i} ML, ESTÈRIL, 1ÚS") for i in range(50)]


def test_a_match_job_ranks_every_source_record(context: Context) -> None:
    drive.imported(context, "list", LIST)
    drive.imported(context, "catalogue", CATALOGUE)
    job_id = drive.match(context.db, "list", "catalogue", k=4)
    drive.run(context)
    job = drive.find(context.db, job_id)
    assert job.state == "succeeded", job
    rows = drive.results(context.db, job_id)
    assert len(rows) == 30 * 4
    assert job.summary["plan"]["search"] == "exact"
    assert job.summary["plan"]["recall"] == 1.0
    with transaction(context.db) as connection:
        progress = stages.progress(connection, [job_id])
    assert [(stage.name, stage.total, stage.done) for stage in progress] == [
        ("embed source", 30, 30),
        ("embed target", 50, 50),
        ("drift", 0, 0),
        ("index", 1, 1),
        ("match", 30, 30),
    ]


def test_attributes_that_both_have_tell_candidates_apart(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    context.settings.encoder = "sentence-transformers"  # a stand-in's vectors are not weighed
    monkeypatch.setattr(worker_context, "load_encoder", lambda *_: GramEncoder())

    def rows(*found: tuple[str, str, str, str]) -> list[UploadRow]:
        return [
            UploadRow(number, key, text, {"brand": brand, "price": price})
            for number, (key, text, brand, price) in enumerate(found, 2)
        ]

    green = "CAMERA BAG GREEN"
    lines = rows(("a", green, "SONY", "40"), ("b", green, "Canon", "90"))
    records = rows(
        ("s", "CAMERA BAG BLACK", "Sony", "39.90"), ("c", "CAMERA BAG BROWN", "Canon Inc.", "89")
    )
    for name, some in (("list", lines), ("catalogue", records)):
        drive.upload(context.db, name, [], more=some)
    drive.run(context)
    job_id = drive.match(context.db, "list", "catalogue")
    drive.run(context)
    with transaction(context.db) as connection:
        first = connection.execute(
            sa.text(
                "SELECT s.key, t.key FROM match m JOIN record s ON s.id = m.source_id "
                "JOIN record t ON t.id = m.target_id WHERE m.job_id = :id AND m.rank = 1 ORDER BY 1"
            ),
            {"id": job_id},
        )
        assert [tuple(row) for row in first] == [("a", "s"), ("b", "c")]


def test_hnsw_gives_the_same_first_candidates(context: Context) -> None:
    drive.imported(context, "list", LIST)
    drive.imported(context, "catalogue", CATALOGUE)
    exact = drive.match(context.db, "list", "catalogue", k=4)
    drive.run(context)
    context.settings.match_memory_mb = 0
    hnsw = drive.match(context.db, "list", "catalogue", k=4)
    drive.run(context)
    job = drive.find(context.db, hnsw)
    assert job.state == "succeeded"
    assert job.summary["plan"]["search"] == "hnsw"
    assert job.summary["plan"]["recall"] >= 0.99
    same = set(drive.results(context.db, exact)) & set(drive.results(context.db, hnsw))
    assert len(same) >= 0.99 * 30 * 4


def test_only_changed_texts_are_embedded_again(context: Context) -> None:
    drive.imported(context, "list", LIST)
    drive.imported(context, "catalogue", CATALOGUE)
    drive.match(context.db, "list", "catalogue")
    drive.run(context)
    changed = [("C0", "GUANTS DE NITRIL"), *CATALOGUE[1:40], ("C99", "GUANTS DE LÀTEX")]
    job = drive.imported(context, "catalogue", changed)
    assert {name: job.summary[name] for name in ("new", "changed", "unchanged", "removed")} == {
        "new": 1,
        "changed": 1,
        "unchanged": 39,
        "removed": 10,
    }
    again = drive.match(context.db, "list", "catalogue")
    drive.run(context)
    job = drive.find(context.db, again)
    assert job.state == "succeeded"
    assert job.summary["skipped_embeddings"] == 30 + 39
    with transaction(context.db) as connection:
        done = {stage.name: stage.done for stage in stages.progress(connection, [again])}
        removed = connection.execute(
            sa.text("SELECT id FROM record WHERE removed_at IS NOT NULL")
        ).scalars()
        assert not {row[2] for row in drive.results(context.db, again)} & set(removed)
    assert done["embed source"] == 0
    assert done["embed target"] == 2


def test_a_text_known_from_another_collection_is_not_encoded_again(context: Context) -> None:
    drive.imported(context, "list", LIST)
    drive.imported(context, "twin", [(f"T{key}", text) for key, text in LIST])
    job_id = drive.match(context.db, "list", "twin", k=1)
    drive.run(context)
    with transaction(context.db) as connection:
        done = {
            stage.name: (stage.done, stage.skipped)
            for stage in stages.progress(connection, [job_id])
        }
    assert done["embed target"] == (0, 30)
    assert all(score == 1.0 for *_, score in drive.results(context.db, job_id))


def test_a_collection_matched_with_itself_leaves_each_record_out(context: Context) -> None:
    drive.imported(context, "list", [*LIST, ("twin", LIST[0][1])])
    job_id = drive.match(context.db, "list", "list", k=2)
    drive.run(context)
    rows = drive.results(context.db, job_id)
    assert len(rows) == 31 * 2
    assert all(source != target for source, _, target, _ in rows)
    assert sum(score == 1.0 for _, rank, _, score in rows if rank == 1) == 2


def test_bad_rows_are_listed_and_the_others_imported(context: Context) -> None:
    rows = [("a", "AGULLA"), ("b", "SONDA"), ("a", "AGULLA BIS"), ("c", "\x01\x02")]
    job_id = drive.upload(
        context.db,
        "list",
        rows,
        more=[drive.UploadRow(9, "d", code="ragged_row", message="has 3 cells")],
    )
    drive.run(context)
    job = drive.find(context.db, job_id)
    assert job.state == "succeeded_with_errors"
    assert (job.summary["new"], job.summary["refused"]) == (2, 3)
    from aparella.db import faults

    with transaction(context.db) as connection:
        listed = [(fault.row, fault.code) for fault in faults.page(connection, job_id, limit=9)]
    assert listed == [(4, "duplicate_key"), (5, "empty_text"), (9, "ragged_row")]


def test_a_strict_import_with_a_bad_row_changes_nothing(context: Context) -> None:
    drive.imported(context, "list", LIST)
    job_id = drive.upload(context.db, "list", [("a", "X"), ("a", "Y")], strict=True)
    drive.run(context)
    job = drive.find(context.db, job_id)
    assert job.state == "failed"
    assert "strict" in (job.error or "")
    assert job.errors == 1
    with transaction(context.db) as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM record")).scalar_one() == 30
        assert connection.execute(sa.text("SELECT count(*) FROM upload_row")).scalar_one() == 0


def test_a_merge_removes_nothing(context: Context) -> None:
    drive.imported(context, "list", LIST)
    job_id = drive.upload(context.db, "list", [("L0", "NOU TEXT")], mode="merge")
    drive.run(context)
    summary = drive.find(context.db, job_id).summary
    assert (summary["changed"], summary["removed"]) == (1, 0)


def test_a_broken_encoding_is_repaired_and_the_original_kept(context: Context) -> None:
    job = drive.imported(context, "list", [("a", "AGULLA EST√àRIL 1√öS"), ("b", "SONDA")])
    assert job.summary["repaired"] == 1
    with transaction(context.db) as connection:
        found = connection.execute(sa.text("SELECT text, original FROM record ORDER BY key")).all()
    assert [tuple(row) for row in found] == [
        ("AGULLA ESTÈRIL 1ÚS", "AGULLA EST√àRIL 1√öS"),
        ("SONDA", None),
    ]


def test_cancel_ends_a_queued_job(context: Context) -> None:
    from aparella.workers import engine

    job_id = drive.upload(context.db, "list", LIST)
    with transaction(context.db) as connection:
        assert jobs.cancel(connection, job_id)
    engine.carry_out_cancels(context.db)
    assert drive.find(context.db, job_id).state == "cancelled"
    drive.run(context)
    with transaction(context.db) as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM record")).scalar_one() == 0
