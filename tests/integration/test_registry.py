"""The registry of models in a real database: versions, promotions, rollbacks, ends."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from aparella.artifacts import Artifact
from aparella.db import jobs, models, partitions, registry
from aparella.db.engine import transaction
from aparella.db.jobs import NewStage
from aparella.db.models import Model
from aparella.errors import AparellaError, BusyError, ConflictError, InputError, NotFoundError
from aparella.workers.context import Context
from aparella.workers.text import CLEANER_VERSION
from tests.integration import drive


def artifact(letter: str = "a") -> Artifact:
    return Artifact(f"file:///store/{letter}", letter * 64, {"model.safetensors": letter * 64})


def reserve(connection: sa.Connection, name: str = "hospital", **values: Any) -> Model:
    given = {
        "base": models.find_model(connection, models.BASE_REFERENCE),
        "held_out": [],
        "training": {"preset": "seed"},
        "created_by": "ana",
        **values,
    }
    return registry.reserve(connection, name=name, **given)


def trained(connection: sa.Connection, name: str = "hospital", letter: str = "a") -> Model:
    model = reserve(connection, name)
    registry.complete(
        connection, model.id, artifact(letter), max_seq_length=128, training={"loss": 0.5}
    )
    return models.model_by_id(connection, model.id)


def switch(connection: sa.Connection, model_id: int, **values: Any) -> int:
    given = {
        "kind": "promote",
        "reason": None,
        "verdict": {"passed": True},
        "job_id": None,
        "by": "ana",
        "cleaner_version": CLEANER_VERSION,
        **values,
    }
    return registry.switch(connection, model_id, **given)


def job_for(connection: sa.Connection, model_id: int, /, **params: Any) -> int:
    stage = NewStage("wait", "embed", "embed", {"model_id": 0, **params})
    return jobs.create(connection, kind="embed", params={}, plan=[stage], model_id=model_id)[0]


def end(connection: sa.Connection, job_id: int, state: str = "failed") -> None:
    jobs.end(connection, job_id, state)


def current(db: sa.Engine) -> str:
    with transaction(db) as connection:
        return str(models.find_model(connection, None))


# --- versions -------------------------------------------------------------------------------------


def test_a_version_is_reserved_and_completed(db: sa.Engine) -> None:
    with transaction(db) as connection:
        model = reserve(connection)
        assert (str(model), model.status, model.parent) == (
            "hospital@1",
            "training",
            "all-MiniLM-L6-v2@1",
        )
        twin = reserve(connection, held_out=[0, 1], twin_of=model.id)
        assert (twin.version, twin.twin_of, twin.held_out) == (1, model.id, [0, 1])
    with transaction(db) as connection:
        registry.complete(
            connection, model.id, artifact(), max_seq_length=128, training={"loss": 0.5}
        )
        registry.complete(
            connection, twin.id, artifact("b"), max_seq_length=128, training={"loss": 0.5}
        )
        done = models.find_model(connection, "hospital")
        assert (done.id, done.status, done.max_seq_length) == (model.id, "candidate", 128)
        assert (done.sha256, done.files, done.training) == (
            "a" * 64,
            {"model.safetensors": "a" * 64},
            {"loss": 0.5},
        )
        registry.set_metrics(connection, model.id, {"known": {"acc@1": [0.8, 0.7, 0.9]}})
        assert [str(one) for one in models.list_models(connection)] == [
            "all-MiniLM-L6-v2@1",
            "hospital@1",
        ]
        assert models.find_model(connection, "hospital@1").metrics["known"]["acc@1"][0] == 0.8


def test_a_completed_model_does_not_change(db: sa.Engine) -> None:
    with transaction(db) as connection:
        model = trained(connection)
        registry.complete(connection, model.id, artifact(), max_seq_length=1, training={})
        assert models.model_by_id(connection, model.id) == model
        with pytest.raises(ConflictError, match="registered with other files, and models do not"):
            registry.complete(connection, model.id, artifact("b"), max_seq_length=1, training={})


def test_versions_are_not_given_twice(db: sa.Engine) -> None:
    versions: list[int] = []

    def one() -> None:
        with transaction(db) as connection:
            versions.append(reserve(connection).version)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(versions) == [1, 2, 3, 4]
    with transaction(db) as connection:
        registry.delete(connection, models.find_model(connection, "hospital@4", training=True).id)
        assert reserve(connection).version == 5


def test_an_import_is_a_candidate_of_the_next_version(db: sa.Engine) -> None:
    with transaction(db) as connection:
        trained(connection)
        model = registry.register(
            connection,
            name="hospital",
            artifact=artifact("b"),
            base_model="somebody/else",
            max_seq_length=64,
            cleaner_version=1,
        )
        assert (str(model), model.status, model.parent, model.base_model) == (
            "hospital@2",
            "candidate",
            None,
            "somebody/else",
        )


def test_a_name_means_the_latest_version_that_can_be_used(db: sa.Engine) -> None:
    with transaction(db) as connection:
        first = trained(connection)
        second = reserve(connection)
        assert models.find_model(connection, "hospital").id == first.id
        job_id = job_for(connection, second.id)
        with pytest.raises(ConflictError) as caught:
            models.find_model(connection, "hospital@2")
        assert str(caught.value) == (
            f"hospital@2 is still being trained by job {job_id}: wait for it with "
            f"`aparella job watch {job_id}`."
        )
        assert [str(m) for m in models.list_models(connection)][1:] == ["hospital@1", "hospital@2"]
        end(connection, job_id)
        assert [str(m) for m in models.list_models(connection)][1:] == ["hospital@1"]
        with pytest.raises(ConflictError, match="hospital@2 was never trained to its end"):
            models.find_model(connection, "hospital@2")
        registry.retire(connection, first.id)
        with pytest.raises(ConflictError) as caught:
            models.find_model(connection, "hospital@1")
        assert str(caught.value) == (
            "hospital@1 is retired: its vectors are gone. Promote it again to build them: "
            "`aparella model promote hospital@1`."
        )
        assert models.find_model(connection, "hospital", retired=True).id == first.id
        registry.delete(connection, first.id)
        with pytest.raises(NotFoundError, match="hospital@1 was deleted"):
            models.find_model(connection, "hospital@1")
        with pytest.raises(NotFoundError, match=r"no model 'other'. There are: all-MiniLM-L6-v2@1"):
            models.find_model(connection, "other")


# --- promotion ------------------------------------------------------------------------------------


def test_a_switch_and_the_way_back(db: sa.Engine) -> None:
    with transaction(db) as connection:
        model, other = trained(connection), trained(connection, "other", "b")
        with pytest.raises(ConflictError, match="No model was promoted before the present one"):
            registry.rollback(connection, "ana", cleaner_version=CLEANER_VERSION)
        switch(connection, model.id, reason="we looked")
        switch(connection, other.id)
    assert current(db) == "other@1"
    with transaction(db) as connection:
        statuses = {str(one): one.status for one in models.list_models(connection)}
        assert statuses == {
            "all-MiniLM-L6-v2@1": "superseded",
            "hospital@1": "superseded",
            "other@1": "promoted",
        }
        back = registry.rollback(connection, "ana", cleaner_version=CLEANER_VERSION)
        assert str(back) == "hospital@1"
        # The second one goes back further, and not forth again.
        back = registry.rollback(connection, "ana", cleaner_version=CLEANER_VERSION)
        assert str(back) == "all-MiniLM-L6-v2@1"
        assert models.previous(connection) is None
        switch(connection, other.id)
        assert str(models.previous(connection)) == "all-MiniLM-L6-v2@1"
        steps = [(one.kind, one.model, one.previous) for one in models.history(connection)]
        assert steps == [
            ("promote", "hospital@1", "all-MiniLM-L6-v2@1"),
            ("promote", "other@1", "hospital@1"),
            ("rollback", "hospital@1", "other@1"),
            ("rollback", "all-MiniLM-L6-v2@1", "hospital@1"),
            ("promote", "other@1", "all-MiniLM-L6-v2@1"),
        ]
        assert models.history(connection)[0].reason == "we looked"
        assert len(models.history(connection, other.id)) == 3


def test_what_cannot_be_promoted(db: sa.Engine) -> None:
    with transaction(db) as connection:
        model, unfinished = trained(connection), reserve(connection)
        twin = reserve(connection, twin_of=model.id)
        gone = trained(connection, "gone", "b")
        registry.delete(connection, gone.id)
        for model_id, kind, words in (
            (unfinished.id, ConflictError, "hospital@2 is not trained yet and cannot be promoted."),
            (twin.id, InputError, "saw only a part of the pairs"),
            (gone.id, ConflictError, "gone@1 was deleted and cannot be promoted."),
            (models.find_model(connection, None).id, ConflictError, "is promoted already"),
        ):
            with pytest.raises(kind, match=words):
                switch(connection, model_id)
        with pytest.raises(InputError) as caught:
            switch(connection, model.id, cleaner_version=CLEANER_VERSION + 1)
        assert "made for texts of cleaner version 1, and texts are now cleaned by version 2" in str(
            caught.value
        )
    assert current(db) == "all-MiniLM-L6-v2@1"


@pytest.mark.parametrize(
    ("finish", "words"),
    [
        (registry.retire, "is retired: its vectors are gone. Promote it again"),
        (registry.delete, "was deleted. Promote another one"),
    ],
)
def test_no_rollback_to_what_is_gone(
    db: sa.Engine, finish: Callable[[sa.Connection, int], Any], words: str
) -> None:
    with transaction(db) as connection:
        first, second = trained(connection), trained(connection, letter="b")
        switch(connection, first.id)
        switch(connection, second.id)
        finish(connection, first.id)
        with pytest.raises(ConflictError, match=words):
            registry.rollback(connection, None, cleaner_version=CLEANER_VERSION)
    assert current(db) == "hospital@2"


# --- ends -----------------------------------------------------------------------------------------


def partitions_of(connection: sa.Connection, model_id: int) -> list[str]:
    query = sa.text(
        "SELECT relname FROM pg_class WHERE relname LIKE :name AND relkind IN ('r','p')"
    )
    return list(connection.execute(query, {"name": f"embedding\\_{model_id}%"}).scalars())


def embedded(context: Context) -> Model:
    """A candidate with vectors of a collection, and an index on them."""
    drive.imported(context, "list", [("1", "AGULLA 20G"), ("2", "SONDA FOLEY")])
    with transaction(context.db) as connection:
        model = trained(connection)
        connection.execute(
            sa.text(
                "INSERT INTO vector_index (model_id, collection_id, rows, seconds, bytes) "
                "SELECT :model, id, 2, 1, 1 FROM collection"
            ),
            {"model": model.id},
        )
        partitions.ensure_partition(connection, model.id, 1)
    return model


def test_retiring_drops_the_vectors(context: Context) -> None:
    model = embedded(context)
    with transaction(context.db) as connection:
        assert len(partitions_of(connection, model.id)) == 2
        assert registry.retire(connection, model.id).status == "retired"
    with transaction(context.db) as connection:
        assert partitions_of(connection, model.id) == []
        left = connection.execute(sa.text("SELECT count(*) FROM vector_index")).scalar_one()
        assert left == 0
        # Promoting builds the vectors first; the switch itself takes a retired model.
        switch(connection, model.id)


def test_deleting_leaves_a_tombstone(context: Context) -> None:
    model = embedded(context)
    with transaction(context.db) as connection:
        twin = reserve(connection, twin_of=model.id)
        registry.complete(connection, twin.id, artifact("t"), max_seq_length=1, training={})
        gone = registry.delete(connection, model.id)
        assert {one.artifact_url for one in gone} == {"file:///store/a", "file:///store/t"}
        assert partitions_of(connection, model.id) == []
        assert models.model_by_id(connection, model.id).status == "deleted"
        assert models.model_by_id(connection, twin.id).status == "deleted"
        assert [str(one) for one in models.list_models(connection)] == ["all-MiniLM-L6-v2@1"]


def test_what_cannot_be_retired_or_deleted(db: sa.Engine) -> None:
    with transaction(db) as connection:
        base = models.find_model(connection, None)
        model = trained(connection)
        unfinished = reserve(connection)
        for finish in (registry.retire, registry.delete):
            job_id = job_for(connection, model.id)
            with pytest.raises(ConflictError, match=f"while job {job_id} uses it. Wait for"):
                finish(connection, model.id)
            end(connection, job_id)
            # Another model's job may need it too.
            for params in ({"model_id": model.id}, {"references": [base.id, model.id]}):
                job_id = job_for(connection, base.id, **params)
                with pytest.raises(ConflictError, match=f"while job {job_id} uses it"):
                    finish(connection, model.id)
                end(connection, job_id)
            child = reserve(connection, "child", base=model)
            job_id = job_for(connection, child.id)
            with pytest.raises(ConflictError, match=f"while job {job_id} uses it"):
                finish(connection, model.id)
            end(connection, job_id)
        with pytest.raises(ConflictError, match=r"is promoted and cannot be retired\. Promote"):
            registry.retire(connection, base.id)
        with pytest.raises(ConflictError, match="is not trained yet"):
            registry.retire(connection, unfinished.id)
        switch(connection, model.id)
        with pytest.raises(ConflictError, match="is promoted and cannot be deleted"):
            registry.delete(connection, model.id)
        with pytest.raises(ConflictError, match="comes with Aparella and cannot be deleted"):
            registry.delete(connection, base.id)


def test_who_reads_vectors_is_not_held_up_for_long(context: Context) -> None:
    model = embedded(context)
    with transaction(context.db) as reader:
        reader.execute(sa.text("SELECT count(*) FROM embedding")).scalar_one()
        with (
            pytest.raises(BusyError, match=r"vectors of hospital@1 cannot be dropped while"),
            transaction(context.db) as connection,
        ):
            registry.retire(connection, model.id)
    with transaction(context.db) as connection:
        assert models.model_by_id(connection, model.id).status == "candidate"
        assert len(partitions_of(connection, model.id)) == 2


@pytest.mark.parametrize("first", ["promote", "delete"])
def test_a_promotion_and_a_deletion_at_once(db: sa.Engine, first: str) -> None:
    with transaction(db) as connection:
        model = trained(connection)
    done: dict[str, AparellaError | None] = {}
    acts: dict[str, Callable[[sa.Connection], object]] = {
        "promote": lambda connection: switch(connection, model.id),
        "delete": lambda connection: registry.delete(connection, model.id),
    }
    second = next(name for name in acts if name != first)

    def late() -> None:
        try:
            with transaction(db) as connection:
                acts[second](connection)
            done[second] = None
        except AparellaError as error:
            done[second] = error

    thread = threading.Thread(target=late)
    with transaction(db) as connection:
        acts[first](connection)
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()  # it waits for the end of this transaction
    thread.join(10)
    error = done[second]
    assert isinstance(error, ConflictError)
    words = {
        "delete": "hospital@1 is promoted and cannot be deleted",
        "promote": "hospital@1 was deleted and cannot be promoted",
    }
    assert words[second] in str(error)
    assert current(db) == ("hospital@1" if first == "promote" else "all-MiniLM-L6-v2@1")


def test_who_holds_a_model_is_waited_for(db: sa.Engine) -> None:
    with transaction(db) as connection:
        model = trained(connection)
    errors: list[AparellaError] = []

    def remove() -> None:
        try:
            with transaction(db) as connection:
                registry.delete(connection, model.id)
        except AparellaError as error:
            errors.append(error)

    thread = threading.Thread(target=remove)
    with transaction(db) as connection:
        held = models.find_model(connection, "hospital", hold=True)
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
        job_id = job_for(connection, held.id)
    thread.join(10)
    assert f"while job {job_id} uses it" in str(errors[0])
