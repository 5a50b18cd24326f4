"""Each process may do what it does and nothing else: the database roles of API and workers."""

import uuid
from collections.abc import Iterator

import psycopg2
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from pydantic import SecretStr

from aparella.api.app import create_app
from aparella.db import engine, migrate, partitions, roles, tokens
from aparella.db.engine import transaction
from aparella.settings import Settings
from aparella.workers.context import Context
from tests.integration import drive

REFUSED = "42501"
TABLES = sa.text(
    "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
    "AND relkind IN ('r', 'p') ORDER BY 1"
)


def login(db: sa.Engine, role: str, name: str, settings: Settings) -> Settings:
    """Settings whose URL is that of a login in the role."""
    password = uuid.uuid4().hex
    with transaction(db) as connection:
        connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN PASSWORD '{password}' IN ROLE {role}")
    url = sa.make_url(settings.database_url).set(username=name, password=password)
    return settings.model_copy(update={"database_url": url.render_as_string(hide_password=False)})


@pytest.fixture
def logins(db: sa.Engine, settings: Settings) -> Iterator[dict[str, Settings]]:
    names = {role: f"{role}_{uuid.uuid4().hex[:8]}" for role in (roles.API, roles.WORKER)}
    yield {role: login(db, role, name, settings) for role, name in names.items()}
    with transaction(db) as connection:
        for name in names.values():
            connection.exec_driver_sql(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{name}'"
            )
            connection.exec_driver_sql(f"DROP ROLE {name}")


@pytest.fixture
def worker(logins: dict[str, Settings]) -> Iterator[Context]:
    db = engine.create(logins[roles.WORKER], name="test worker")
    yield Context(db, logins[roles.WORKER])
    db.dispose()


@pytest.fixture
def api(logins: dict[str, Settings]) -> Iterator[TestClient]:
    with TestClient(create_app(logins[roles.API])) as client:
        yield client


def refusal(settings: Settings, statement: str) -> str | None:
    """SQLSTATE of a statement that the login may not run; None where it may."""
    connection = psycopg2.connect(settings.database_url.replace("+psycopg2", ""))
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
    except psycopg2.Error as error:
        return str(error.pgcode)
    finally:
        connection.close()  # which rolls back
    return None


def test_a_whole_life_in_the_two_roles(api: TestClient, worker: Context, db: sa.Engine) -> None:
    """Import, match by an index, pairs, retire: each side with its own login."""
    for name, rows in (("list", 5), ("catalogue", 30)):
        content = "id,name\n" + "".join(f"{i},AGULLA {i}G\n" for i in range(rows))
        path = f"/v1/collections/{name}/records?key=id&text=name"
        assert api.post(path, content=content).status_code == 202
    drive.run(worker)
    for request in (
        {"kind": "index", "collection": "catalogue"},
        {"kind": "index", "collection": "catalogue"},  # replaces the first
        {"kind": "match", "source": "list", "target": "catalogue", "k": 3},
    ):
        answer = api.post("/v1/jobs", json=request)
        assert answer.status_code == 202, answer.text
        drive.run(worker)
        job = api.get(f"/v1/jobs/{answer.json()['id']}").json()
        assert (job["state"], job["error"]) == ("succeeded", None)
    export = api.get(f"/v1/jobs/{job['id']}/matches/export")
    assert len(export.text.splitlines()) == 16

    path = "/v1/pairs/known?source=list&target=catalogue"
    content = "source_key,target_key\n" + "".join(f"{i},{i}\n" for i in range(5))
    answer = api.post(path, content=content)
    drive.run(worker)
    assert api.get(f"/v1/jobs/{answer.json()['id']}").json()["state"] == "succeeded"
    assert api.delete("/v1/pairs/known").status_code == 204

    with transaction(db) as connection:
        query = "SELECT indexname FROM pg_indexes WHERE indexname LIKE '%hnsw%'"
        assert len(connection.exec_driver_sql(query.replace("%", "%%")).all()) == 1
        assert connection.execute(sa.text("SELECT count(*) FROM index_recall")).scalar_one() > 0
    assert api.get("/readyz").json()["checks"]["migrations"] == "ok"


def test_vectors_of_a_model_out_of_use_can_be_dropped(
    logins: dict[str, Settings], db: sa.Engine
) -> None:
    with transaction(db) as connection:
        model_id, status = connection.exec_driver_sql("SELECT id, status FROM model").one()
        partitions.ensure_partition(connection, model_id, 1)
    assert status == "promoted"
    for settings in logins.values():
        assert refusal(settings, f"SELECT drop_vectors({model_id})") == REFUSED
    with transaction(db) as connection:
        connection.exec_driver_sql("UPDATE model SET status = 'superseded'")
    for settings in logins.values():
        assert refusal(settings, f"SELECT drop_vectors({model_id})") is None


def test_tokens_are_the_api_s_alone(logins: dict[str, Settings], db: sa.Engine) -> None:
    with transaction(db) as connection:
        tokens.create(connection, "known", "admin")
    for statement in (
        "SELECT * FROM token",
        "SELECT digest FROM token",
        "UPDATE token SET scope = 'admin'",
        "UPDATE token SET revoked_at = NULL",
        "DELETE FROM token",
        "INSERT INTO token (handle, digest, name, scope) VALUES ('a', 'b', 'c', 'admin')",
    ):
        assert refusal(logins[roles.WORKER], statement) == REFUSED, statement
    # Even the API does not change one that is there, nor hide that there was one.
    for statement in (
        "UPDATE token SET scope = 'admin'",
        "UPDATE token SET digest = 'b'",
        "DELETE FROM token",
        "TRUNCATE token",
    ):
        assert refusal(logins[roles.API], statement) == REFUSED, statement
    own = logins[roles.API].model_copy(update={"token": SecretStr("own")})
    with TestClient(create_app(own)) as api:
        headers = {"Authorization": "Bearer own"}
        made = api.post("/v1/tokens", headers=headers, json={"name": "bi", "scope": "read"})
        headers = {"Authorization": f"Bearer {made.json()['token']}"}
        assert api.get("/v1/jobs", headers=headers).status_code == 200
        headers = {"Authorization": "Bearer own"}
        assert api.delete("/v1/tokens/bi", headers=headers).status_code == 204


@pytest.mark.parametrize("role", [roles.API, roles.WORKER])
def test_no_table_can_be_dropped_changed_or_emptied(
    logins: dict[str, Settings], db: sa.Engine, role: str
) -> None:
    with transaction(db) as connection:
        partitions.ensure_partition(connection, 1, 1)
        names = list(connection.execute(TABLES).scalars())
    assert {"job", "token", "embedding_1_1"} <= set(names)
    for name in names:
        for statement in (
            f"DROP TABLE {name}",
            f"TRUNCATE {name}",
            f"ALTER TABLE {name} ADD COLUMN x integer",
            f"CREATE RULE x AS ON INSERT TO {name} DO INSTEAD NOTHING",
        ):
            assert refusal(logins[role], statement) == REFUSED, statement
    with db.connect() as connection:
        granted = connection.execute(
            sa.text(
                "SELECT table_name, privilege_type FROM information_schema.table_privileges "
                "WHERE grantee = :role AND privilege_type NOT IN "
                "('SELECT', 'INSERT', 'UPDATE', 'DELETE', 'MAINTAIN')"
            ),
            {"role": role},
        )
        assert granted.all() == []


FORBIDDEN = (
    "CREATE TABLE mine (x int)",
    "CREATE TABLE report.mine (x int)",
    "CREATE SCHEMA mine",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql RETURN 1",
    "CREATE EXTENSION dblink",
    "CREATE ROLE mine",
    "ALTER ROLE aparella_report LOGIN",
    "GRANT aparella_report TO aparella_api",
    "DROP FUNCTION drop_vectors(bigint)",
    "DROP SCHEMA report CASCADE",
    "UPDATE alembic_version SET version_num = '0001'",
    "COPY job TO PROGRAM 'cat'",
    "SELECT pg_read_file('PG_VERSION')",
    "SELECT * FROM pg_authid",
    "SELECT end_index(1, 1, 'pk_job', NULL)",
)


@pytest.mark.parametrize("role", [roles.API, roles.WORKER])
def test_it_is_refused(logins: dict[str, Settings], db: sa.Engine, role: str) -> None:
    owner = sa.make_url(str(db.url)).username
    for statement in (*FORBIDDEN, f"SET ROLE {owner}"):
        # 42704: who may create no extension is not even told whether there is one
        assert refusal(logins[role], statement) in (REFUSED, "42704"), statement


def test_the_api_writes_no_results(logins: dict[str, Settings]) -> None:
    for table in ("record", "match", "embedding", "index_recall", "text_embedding"):
        for statement in (f"DELETE FROM {table}", f"INSERT INTO {table} DEFAULT VALUES"):
            assert refusal(logins[roles.API], statement) == REFUSED, statement
    for statement in ("SELECT make_partition(1, 1)", "SELECT build_index(1, 1)"):
        assert refusal(logins[roles.API], statement) == REFUSED, statement


def test_an_index_that_is_not_the_vectors_own_stays(
    logins: dict[str, Settings], db: sa.Engine
) -> None:
    with transaction(db) as connection:
        partitions.ensure_partition(connection, 1, 1)
    for old, new in (("pk_job", "NULL"), ("embedding_1_1_pkey", "NULL"), ("pk_job", "'ix'")):
        statement = f"SELECT end_index(1, 1, '{old}', {new})"
        assert refusal(logins[roles.WORKER], statement) == REFUSED


def test_an_owner_who_may_create_no_roles_is_told_what_to_run(db: sa.Engine) -> None:
    name = f"owner_{uuid.uuid4().hex[:8]}"
    with db.connect() as connection, connection.begin() as whole:
        connection.exec_driver_sql(f"CREATE ROLE {name}")
        connection.exec_driver_sql(f"GRANT CREATE ON SCHEMA public TO {name}")
        connection.exec_driver_sql(f"SET LOCAL ROLE {name}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(roles, "API", "aparella_nowhere")
            sentence = roles.apply(connection)
        whole.rollback()
    assert sentence is not None
    assert "CREATE ROLE aparella_nowhere NOLOGIN" in sentence


def test_rights_are_the_same_after_a_second_upgrade(db: sa.Engine) -> None:
    acl = "SELECT relname, grant_.* FROM pg_class, aclexplode(relacl) grant_ "
    acl += "WHERE relnamespace = 'public'::regnamespace"
    with db.connect() as connection:
        partitions.ensure_partition(connection, 1, 1)
        connection.commit()
        before = connection.exec_driver_sql(f"{acl} ORDER BY 1, 2, 3, 4").all()
        migrate.upgrade(connection)
        assert connection.exec_driver_sql(f"{acl} ORDER BY 1, 2, 3, 4").all() == before
    assert len([row for row in before if row.relname == "embedding_1_1"]) > 6
