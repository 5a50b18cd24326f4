"""From pairs to a promoted model, through the API and the engine: real training, no Celery."""

import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from huggingface_hub import ModelCard
from sentence_transformers import SentenceTransformer

from aparella import artifacts
from aparella.api.app import create_app
from aparella.client import modeltar
from aparella.db import jobs, models, partitions
from aparella.db.engine import create, transaction
from aparella.db.records import UploadRow
from aparella.settings import Settings
from aparella.workers import engine
from aparella.workers.context import Context
from aparella.workers.decisions import Cause
from aparella.workers.fusion.categories import Categories
from aparella.workers.fusion.evidence import FEATURES
from aparella.workers.runner import run_chunk
from aparella.workers.stages import HANDLERS, train
from tests import thin
from tests.integration import drive

LINES = 270
QUICK = {"epochs": 1, "batch_size": 64}
TRAIN = {
    "kind": "train",
    "name": "hospital",
    "pairs": ["known"],
    "preset": "seed",
    "recipe": QUICK,
    "category": "family",
}
THINGS = ("AGULLA", "SONDA", "GUANT", "XERINGA", "GASA", "CATETER")


@pytest.fixture(scope="module")
def template(
    template: tuple[sa.Engine, sa.URL, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[sa.Engine, sa.URL, str]]:
    """A database with a list, a catalogue, their pairs and a model trained on these.

    Training takes its time, so it is done once; each test gets a copy of the database.
    """
    server, url, origin = template
    name = f"aparella_taught_{uuid.uuid4().hex[:8]}"
    with server.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE {origin}"))
    settings = Settings(
        DATABASE_URL=url.set(database=name).render_as_string(hide_password=False),
        **settings_of(tmp_path_factory),
    )
    db = create(settings, name="teacher")
    context = Context(db, settings)
    with TestClient(create_app(settings)) as api:
        teach(api, context)
        with modeltar.packed(thin.thin_model(tmp_path_factory.mktemp("thin"))) as packed:
            content = packed.read_bytes()
        api.post(f"/v1/models/{thin.NAME}/import", content=content).raise_for_status()
        job = ask(api, context, **TRAIN)
        assert job.state == "succeeded", job.error
    db.dispose()
    yield server, url, name
    with server.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def settings(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings.model_copy(update=settings_of(tmp_path_factory))


def settings_of(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.getbasetemp() / "artifacts"
    return {
        "artifacts": f"file://{folder}",
        "encoder": "hash",
        "anonymous": True,
        "embed_chunk": 200,
        "match_chunk": 200,
    }


@pytest.fixture
def known(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings)) as client:
        yield client


def teach(api: TestClient, context: Context) -> None:
    """Import a list, a catalogue, and the pairs between all their lines."""
    lines = [
        UploadRow(i + 2, f"L{i}", f"{THINGS[i % 6]} {i}MM", {"family": THINGS[i % 6].lower()})
        for i in range(LINES)
    ]
    drive.upload(context.db, "list", [], more=lines)
    rows = "".join(
        f'C{i},"{THINGS[i % 6]}S, {THINGS[i % 6]} DE {i} MM",{THINGS[i % 6]}\n'
        for i in range(LINES)
    )
    api.post(
        "/v1/collections/catalogue/records",
        params={"key": "id", "text": "name", "attribute": "family"},
        content=f"id,name,family\n{rows}".encode(),
    ).raise_for_status()
    drive.run(context)
    pairs = "".join(f"L{i},C{i}\n" for i in range(LINES))
    api.post(
        "/v1/pairs/known",
        params={"source": "list", "target": "catalogue"},
        content=f"source_key,target_key\n{pairs}".encode(),
    ).raise_for_status()
    drive.run(context)


def ask(api: TestClient, context: Context, **request: Any) -> jobs.Job:
    answer = api.post("/v1/jobs", json=request)
    assert answer.status_code == 202, answer.text
    drive.run(context)
    return drive.find(context.db, answer.json()["id"])


def promoted(db: sa.Engine) -> models.Model:
    with transaction(db) as connection:
        return models.find_model(connection, None)


def test_a_fusion_learns_from_attributes_that_both_sides_have(context: Context) -> None:
    with transaction(context.db) as connection:
        model = models.find_model(connection, "hospital@1")
        found = train._beside(connection, model, train._pairs(connection, model), {})["known"]
    assert found.lines["SONDA 1MM"] == {"family": "sonda"}
    assert found.records["SONDAS, SONDA DE 1 MM"] == {"family": "SONDA"}
    fusion = context.fusion(model.id, lambda *_: None)
    weight = dict(zip(FEATURES, fusion.weights.tolist(), strict=True))
    assert weight["attributes_agreeing"] > 0
    assert fusion.categories.attributes == ("family",)  # as the job was asked to


def test_negatives_are_looked_for_by_the_vectors_that_the_base_has(context: Context) -> None:
    with transaction(context.db) as connection:
        model = models.find_model(connection, "hospital@1")
        base = models.find_model(connection, "all-MiniLM-L6-v2")
        texts = train._catalogues(connection, model)["known"]
        vectors = train._vectors(connection, base, list(texts))
        connection.execute(
            sa.text("DELETE FROM embedding WHERE model_id = :model AND record_id = :id"),
            {"model": base.id, "id": next(iter(texts))},
        )
        assert train._vectors(connection, base, list(texts)) is None
        connection.rollback()
    assert len(texts) == LINES
    encoded = context.encoder(base.id).encode(list(texts.values()))
    assert vectors is not None
    assert (encoded * vectors).sum(axis=1).min() > 0.999


def test_a_training_leaves_a_judged_candidate(context: Context, known: TestClient) -> None:
    (job,) = known.get("/v1/jobs", params={"kind": "train"}).json()["items"]
    assert (job["state"], job["error"]) == ("succeeded", None)
    systems = {row["system"]: row for row in job["summary"]["evaluation"]}
    assert list(systems) == ["hospital@1", "all-MiniLM-L6-v2@1", "character trigrams (TF-IDF)"]
    for row in systems.values():
        assert row["queries"] >= 50
        assert row["records"] == LINES
        assert 0 <= row["low"] <= row["acc@1"] <= row["high"] <= 1
    # The trigrams know nothing of models: they find what is alike.
    assert systems["character trigrams (TF-IDF)"]["acc@1"] > 0.3
    with transaction(context.db) as connection:
        model = models.find_model(connection, "hospital")
        twins = connection.execute(
            sa.text("SELECT id, status FROM model WHERE twin_of = :id"), {"id": model.id}
        ).all()
        left = [partitions.collections(connection, twin.id) for twin in twins]
    assert (model.status, model.held_out) == ("candidate", [])
    assert model.training["recipe"]["seed"] == 42
    assert model.training["counts"] == {"known": LINES}
    assert model.metrics["known"]["queries"] >= 50
    assert [twin.status for twin in twins] == ["deleted"]
    assert left == [[]]
    assert promoted(context.db).name == "all-MiniLM-L6-v2"


def test_a_trained_model_is_a_folder_of_sentence_transformers(context: Context) -> None:
    with transaction(context.db) as connection:
        model = models.find_model(connection, "hospital")
    folder = artifacts.fetch(model.artifact_url, model.sha256, model.files)
    vectors = SentenceTransformer(str(folder), local_files_only=True).encode(["AGULLA 3MM"])
    assert vectors.shape == (1, 384)
    card = ModelCard.load(folder / "README.md")
    assert {result.metric_type for result in card.data.eval_results} >= {"acc@1", "mrr@10"}
    assert "AGULLA" not in card.content  # texts may be confidential
    assert not [path for path in folder.rglob("*") if path.suffix in {".bin", ".pt", ".pkl"}]


def test_the_same_key_reserves_one_version(context: Context, known: TestClient) -> None:
    request = {**TRAIN, "name": "another"}
    first, second = (
        known.post("/v1/jobs", json=request, headers={"Idempotency-Key": "once"}) for _ in range(2)
    )
    assert first.json()["id"] == second.json()["id"]
    with transaction(context.db) as connection:
        count = connection.execute(sa.text("SELECT count(*) FROM model WHERE name = 'another'"))
        assert count.scalar_one() == 2  # the model and its twin


def test_few_pairs_are_judged_by_cross_validation(context: Context, known: TestClient) -> None:
    rows = "".join(f"L{i},C{i}\n" for i in range(40))
    known.post(
        "/v1/pairs/few",
        params={"source": "list", "target": "catalogue"},
        content=f"source_key,target_key\n{rows}".encode(),
    ).raise_for_status()
    drive.run(context)
    job = ask(known, context, **{**TRAIN, "name": "small", "pairs": ["few"], "base": thin.NAME})
    assert job.state == "succeeded", job.error
    assert {row["queries"] for row in job.summary["evaluation"]} == {40}


def test_the_gate_holds_back_what_was_never_compared(context: Context, known: TestClient) -> None:
    with transaction(context.db) as connection:
        connection.execute(
            sa.text("DELETE FROM evaluation WHERE model_id = :id"), {"id": promoted(context.db).id}
        )
    job = ask(known, context, kind="promote", model="hospital@1")
    assert job.state == "failed"
    assert job.error is not None
    assert "never judged on the same pairs" in job.error
    assert promoted(context.db).name == "all-MiniLM-L6-v2"
    ask(known, context, kind="evaluate", model="hospital@1", pairs="known")
    judged = ask(known, context, kind="promote", model="hospital@1")
    # The stand-in encoder gives all models the same vectors, so neither wins a line.
    assert judged.state == "succeeded", judged.error
    assert "0 right that the current model has wrong" in judged.summary["gate"]
    assert str(promoted(context.db)) == "hospital@1"


def test_a_training_may_end_in_a_promotion(context: Context, known: TestClient) -> None:
    mining = {**QUICK, "hard_negatives": 1}
    request = {**TRAIN, "refit": False, "promote": True, "base": thin.NAME, "recipe": mining}
    job = ask(known, context, **request)
    assert job.state == "succeeded", job.error
    assert job.summary["promoted"] == "hospital@2"
    assert promoted(context.db).held_out == [0, 1]


def test_a_forced_promotion_and_a_rollback(context: Context, known: TestClient) -> None:
    drive.match(context.db, "list", "catalogue")
    drive.run(context)
    before = drive.match(context.db, "list", "catalogue")
    job = ask(known, context, kind="promote", model="hospital", reason="we looked at it", by="ana")
    assert job.state == "succeeded", job.error
    model = promoted(context.db)
    assert str(model) == "hospital@1"
    with transaction(context.db) as connection:
        brought = {name for _, name, _ in partitions.collections(connection, model.id)}
        kept = connection.execute(
            sa.text("SELECT reason, promoted_by, verdict FROM promotion")
        ).one()
    assert brought == {"list", "catalogue"}
    assert (kept.reason, kept.promoted_by) == ("we looked at it", "ana")
    # A job keeps the model that it started with.
    assert drive.find(context.db, before).model == "all-MiniLM-L6-v2@1"
    after = drive.match(context.db, "list", "catalogue")
    drive.run(context)
    done = drive.find(context.db, after)
    assert done.model == "hospital@1"
    assert done.summary["skipped_embeddings"] == 2 * LINES
    answer = known.post("/v1/models/rollback", json={"by": "ana"})
    assert answer.status_code == 200, answer.text
    assert str(promoted(context.db)) == "all-MiniLM-L6-v2@1"


def test_a_promotion_survives_a_kill_at_each_step(context: Context, known: TestClient) -> None:
    drive.match(context.db, "list", "catalogue")
    drive.run(context)
    answer = known.post("/v1/jobs", json={"kind": "promote", "model": "hospital", "reason": "test"})
    old, kills = promoted(context.db).id, 0
    while ready := drive.ready(context.db):
        for chunk_id in ready:
            die(context, chunk_id)
            kills += 1
            assert promoted(context.db).id == old
            assert not behind(context.db, old)
            with transaction(context.db) as connection:
                connection.execute(sa.text("UPDATE chunk SET available_at = now()"))
            for again in (chunk_id, *halves(context.db, chunk_id)):
                run_chunk(context, again, worker="survivor")
            if promoted(context.db).id != old:
                assert not behind(context.db, old)
    assert kills >= 10
    assert drive.find(context.db, answer.json()["id"]).state == "succeeded"
    assert str(promoted(context.db)) == "hospital@1"


def die(context: Context, chunk_id: int) -> None:
    """Do a chunk's work and vanish before the commit; then let the lease run out."""
    chunk = drive.claim(context, chunk_id)
    assert chunk is not None
    if chunk.kind == "work":
        HANDLERS[chunk.handler].work(context, chunk, lambda _done, _detail=None: None)
    with transaction(context.db) as connection:
        engine.settle(connection, chunk.id, chunk.lease_token, Cause.LOST, "killed")


def halves(db: sa.Engine, chunk_id: int) -> list[int]:
    with transaction(db) as connection:
        query = sa.text("SELECT id FROM chunk WHERE parent_id = :id")
        return list(connection.execute(query, {"id": chunk_id}).scalars())


def behind(db: sa.Engine, old: int) -> list[tuple[int, int]]:
    """Records that have a vector of the old default and none of the present one."""
    now = promoted(db).id
    query = sa.text("""
        SELECT o.collection_id, o.record_id FROM embedding o
        JOIN record r ON r.id = o.record_id AND r.text_hash = o.text_hash
        WHERE o.model_id = :old AND r.removed_at IS NULL AND NOT EXISTS (
            SELECT FROM embedding n WHERE n.model_id = :now AND n.record_id = o.record_id)
    """)
    with transaction(db) as connection:
        return [tuple(row) for row in connection.execute(query, {"old": old, "now": now})]


@pytest.fixture
def encoding(settings: Settings) -> Iterator[Context]:
    """A worker that has the real model, as only such a one weighs all evidence."""
    real = settings.model_copy(update={"encoder": "sentence-transformers"})
    db = create(real, name="encoding")
    yield Context(db, real)
    db.dispose()


def matched(api: TestClient, context: Context, **request: Any) -> tuple[jobs.Job, list[Any]]:
    job = ask(
        api, context, kind="match", source="list", target="catalogue", model="hospital", **request
    )
    assert job.state == "succeeded", job.error
    items: list[Any] = []
    after: int | None = 0
    while after is not None:
        page = api.get(f"/v1/jobs/{job.id}/matches", params={"limit": 200, "after": after}).json()
        items += page["items"]
        after = page["next"]
    return job, items


def test_a_match_weighs_all_evidence_and_accepts_what_it_promised(
    known: TestClient, encoding: Context
) -> None:
    model = api_model(known)
    assert model["training"]["fusion"]["learnt"]
    job, items = matched(known, encoding, k=4, auto_accept=0.9)
    promised = job.params["auto_accept"]
    assert promised["threshold"] is not None, promised["sentence"]
    assert job.summary["plan"]["scoring"] == "fused"
    firsts = [item for item in items if item["rank"] == 1]
    assert len(firsts) == LINES
    right = [item for item in firsts if item["target_key"][1:] == item["source_key"][1:]]
    assert len(right) > 0.95 * LINES
    for item in firsts:
        expected = (
            item["confidence"] >= round(promised["threshold"], 6) - 1e-6
            and not item["evidence"]["contradict"]
        )
        assert item["accepted"] is expected
    accepted = [item for item in firsts if item["accepted"]]
    assert len(accepted) > LINES / 4
    assert job.summary["accepted"] == {
        "accepted": len(accepted),
        "lines": LINES,
        "share": round(len(accepted) / LINES, 4),
        "expected_share": round(promised["share"], 4),
    }
    assert sum(item in right for item in accepted) >= 0.9 * len(accepted)
    # The same question has the same answer, however the lines are cut into chunks.
    smaller = Context(encoding.db, encoding.settings.model_copy(update={"match_chunk": 77}))
    _, again = matched(known, smaller, k=4, auto_accept=0.9)
    assert again == items


def test_a_category_is_corrected_though_the_list_knows_none(
    known: TestClient, encoding: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    with transaction(encoding.db) as connection:
        connection.execute(sa.text("UPDATE record SET attributes = '{}' WHERE key LIKE 'L%'"))
        model = models.find_model(connection, "hospital@1")
    _, before = matched(known, encoding, k=1)
    fusion = encoding.fusion(model.id, lambda *_: None)
    harder = replace(fusion, categories=Categories(("family",), {"SONDA": -1.0}))
    monkeypatch.setattr(Context, "fusion", lambda *_: harder)
    _, after = matched(known, encoding, k=1)
    moved = [
        (THINGS[int(old["target_key"][1:]) % 6] == "SONDA", old["confidence"] - new["confidence"])
        for old, new in zip(before, after, strict=True)
    ]
    assert all((less > 0) is hard and less >= 0 for hard, less in moved)
    assert any(hard for hard, _ in moved)


def test_cosines_alone_are_no_confidences(known: TestClient, encoding: Context) -> None:
    job, items = matched(known, encoding, k=2, scoring="cosine")
    assert job.summary["plan"]["scoring"] == "cosine"
    assert all(item["confidence"] is None and item["evidence"] is None for item in items)
    refused = known.post(
        "/v1/jobs",
        json={
            "kind": "match",
            "source": "list",
            "target": "catalogue",
            "scoring": "cosine",
            "auto_accept": 0.95,
        },
    )
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "auto_accept"


def test_the_base_model_promises_nothing(known: TestClient) -> None:
    base = "all-MiniLM-L6-v2"
    answer = known.post(
        "/v1/jobs",
        json={
            "kind": "match",
            "source": "list",
            "target": "catalogue",
            "model": base,
            "auto_accept": 0.95,
        },
    ).json()
    assert answer["params"]["auto_accept"]["threshold"] is None
    assert "too few" in answer["params"]["auto_accept"]["sentence"]


def test_nothing_is_promised_for_lists_that_taught_nothing(known: TestClient) -> None:
    turned = {"kind": "match", "source": "catalogue", "target": "list", "model": "hospital"}
    job = known.post("/v1/jobs", json={**turned, "auto_accept": 0.9}).json()
    assert job["params"]["auto_accept"]["threshold"] is None
    assert "taught by other lists" in job["params"]["auto_accept"]["sentence"]


def api_model(api: TestClient) -> Any:
    return api.get("/v1/models/hospital/1").json()
