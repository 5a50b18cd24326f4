"""What KEDA asks PostgreSQL, word for word from the manifest: the open chunks of a queue."""

import re
import uuid

import pytest
import sqlalchemy as sa

from aparella.db import dispatch
from aparella.db.engine import transaction
from aparella.settings import Settings
from aparella.workers.context import Context
from aparella.workers.contracts import QUEUES
from aparella.workers.runner import run_chunk
from tests import kustomize
from tests.composefile import ROOT
from tests.integration import drive

LIST = [(f"L{i}", f"XERINGA {i} ML ESTERIL") for i in range(20)]
SCALERS = {
    resource["metadata"]["name"].removeprefix("aparella-worker-"): resource["spec"]
    for resource in kustomize.build(ROOT / "deploy" / "kubernetes" / "overlays" / "production")
    if resource["kind"] == "ScaledObject"
}


def query(scaler: str) -> str:
    (trigger,) = SCALERS[scaler]["triggers"]
    assert trigger["type"] == "postgresql"
    return str(trigger["metadata"]["query"])


def waiting(db: sa.Engine) -> dict[str, int]:
    """What each scaler sees now."""
    with db.connect() as connection:
        return {
            name: int(connection.execute(sa.text(query(name))).scalar_one()) for name in SCALERS
        }


def run_sql(db: sa.Engine, statement: str) -> None:
    with db.begin() as connection:
        connection.execute(sa.text(statement))


@pytest.fixture
def embedding(context: Context) -> list[int]:
    """A match job whose embedding is planned: the ids of its three chunks, none of them sent."""
    drive.imported(context, "list", LIST)
    drive.match(context.db, "list", "list")
    with transaction(context.db) as connection:
        (plan,) = connection.execute(drive.READY).scalars()
    run_chunk(context, plan, worker="test")
    with transaction(context.db) as connection:
        ids = list(connection.execute(drive.READY).scalars())
    assert len(ids) == 3
    return ids


def test_every_queue_is_some_scalers() -> None:
    named = [queue for name in SCALERS for queue in re.findall(r"'(\w+)'", query(name))]
    queues = [word for word in named if word in QUEUES]
    assert sorted(queues) == sorted(QUEUES)


def test_at_rest_nobody_is_wanted(context: Context) -> None:
    assert waiting(context.db) == {"embed": 0, "match": 0, "train": 0}


def test_a_job_that_was_just_enqueued_wakes_a_worker(context: Context) -> None:
    drive.upload(context.db, "list", LIST)
    assert waiting(context.db) == {"embed": 0, "match": 1, "train": 0}


def test_chunks_without_a_message_count(context: Context, embedding: list[int]) -> None:
    assert waiting(context.db) == {"embed": len(embedding), "match": 0, "train": 0}


def test_chunks_whose_message_was_sent_or_lost_count(
    context: Context, embedding: list[int]
) -> None:
    with transaction(context.db) as connection:
        dispatch.mark_sent(connection, embedding)
    assert waiting(context.db)["embed"] == 3


def test_chunks_in_work_count_and_so_do_those_whose_worker_is_gone(
    context: Context, embedding: list[int]
) -> None:
    assert drive.claim(context, embedding[0]) is not None
    assert waiting(context.db)["embed"] == 3
    run_sql(context.db, "UPDATE chunk SET lease_until = now() - interval '1 hour'")
    assert waiting(context.db)["embed"] == 3


def test_chunks_that_wait_for_another_try_count(context: Context, embedding: list[int]) -> None:
    run_sql(context.db, "UPDATE chunk SET available_at = now() + interval '1 hour'")
    assert waiting(context.db)["embed"] == len(embedding)


@pytest.mark.usefixtures("embedding")
def test_done_work_wants_nobody(context: Context) -> None:
    drive.run(context)
    assert waiting(context.db) == {"embed": 0, "match": 0, "train": 0}


@pytest.mark.usefixtures("embedding")
def test_a_cancelled_job_wants_nobody(context: Context) -> None:
    from aparella.db import jobs
    from aparella.workers import engine

    with transaction(context.db) as connection:
        (job,) = connection.execute(
            sa.text("SELECT id FROM job WHERE state IN ('queued', 'running')")
        ).scalars()
        jobs.cancel(connection, job)
    engine.carry_out_cancels(context.db)
    assert waiting(context.db) == {"embed": 0, "match": 0, "train": 0}


def test_the_documented_login_may_ask_this_and_no_more(
    context: Context, settings: Settings, embedding: list[int]
) -> None:
    """The SQL of docs/deployment.md, with a name of the test's own: roles are the server's."""
    name = f"aparella_scaler_{uuid.uuid4().hex[:8]}"
    (block,) = re.findall(
        r"```sql\n(CREATE ROLE aparella_scaler.*?)```",
        (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8"),
        re.DOTALL,
    )
    block = block.replace("aparella_scaler", name).replace("'PASSWORD'", "'of-this-test'")
    url = sa.make_url(settings.sqlalchemy_url)
    try:
        with context.db.begin() as connection:
            for statement in filter(str.strip, block.split(";")):
                connection.execute(sa.text(statement))
        login = sa.create_engine(url.set(username=name, password="of-this-test"))
        assert waiting(login) == {"embed": len(embedding), "match": 0, "train": 0}
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
            run_sql(login, "SELECT text FROM record")
        login.dispose()
    finally:
        with context.db.begin() as connection:
            connection.execute(sa.text(f"DROP OWNED BY {name}; DROP ROLE {name}"))
