"""Functions of schema `report` on 20,000 rows: they use the indexes, of one partition only."""

import re
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from aparella.db import engine
from aparella.settings import Settings
from tests.integration.catalogues import Filled, build_index, clustered, fill, plans

ROWS = 20_000


@pytest.fixture(scope="module")
def big(
    template: tuple[sa.Engine, sa.URL, str],
) -> Iterator[tuple[sa.Engine, Filled, Filled]]:
    """A catalogue of 20,000 records and a list of 500, with indexes, in a database of their own."""
    server, url, origin = template
    name = f"{origin}_plans"
    with server.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE {origin}"))
    settings = Settings(DATABASE_URL=url.set(database=name).render_as_string(hide_password=False))
    db = engine.create(settings, name="test")
    catalogue = fill(db, "catalogue", clustered(ROWS))
    lines = fill(db, "list", clustered(500, seed=1))
    build_index(db, catalogue)
    build_index(db, lines)
    yield db, catalogue, lines
    db.dispose()
    with server.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


CALLS = {
    "similar": "SELECT * FROM report.similar('catalogue', 'k777', 10)",
    "similar, deeper": "SELECT * FROM report.similar('catalogue', 'k777', 10, recall => 1)",
    "similar, more": "SELECT * FROM report.similar('catalogue', 'k777', 500)",
    "similar, of another": "SELECT * FROM report.similar('list', 'k7', 10, target => 'catalogue')",
    "similar, few pass": "SELECT * FROM report.similar('catalogue', 'k777', 10, "
    """attributes => '{"family": "f7"}')""",
    "similar, many pass": "SELECT * FROM report.similar('catalogue', 'k777', 10, "
    """attributes => '{"half": 1}')""",
    "similar_to_vector": "SELECT * FROM report.similar_to_vector('catalogue', "
    "(SELECT array_agg(sin(n))::vector FROM generate_series(1, 384) n), 10)",
    "search": "SELECT * FROM report.search('catalogue', 'article kjm familia', 10)",
    "nearest_pairs": "SELECT * FROM report.nearest_pairs('list', 'catalogue', 0.2)",
    "duplicates": "SELECT * FROM report.duplicates('list', 0.6)",
}
EXPECTED = {
    "similar, few pass": {"ix_record_attributes"},
    "search": {"ix_record_text_trigrams", "ix_record_text_words"},
    "duplicates": {"ix_embedding_1_2_hnsw"},
}


@pytest.mark.parametrize("name", CALLS)
def test_it_reads_through_the_index_and_one_partition(
    big: tuple[sa.Engine, Filled, Filled], name: str
) -> None:
    db, catalogue, _ = big
    with db.connect() as connection, plans(connection) as found:
        rows = connection.execute(sa.text(CALLS[name])).all()
    assert rows
    text = "\n".join(found)
    # Lists are small, and reading all of one is how all its pairs are made.
    scanned = set(re.findall(r"Seq Scan on (?:public\.)?(\w+)", text))
    assert scanned <= {"collection", "model", "index_recall", "vector_index", "embedding_1_2"}, text
    used = set(re.findall(r"(?:using|Index Scan on) (\w+)", text))
    assert used >= EXPECTED.get(name, {f"ix_embedding_{catalogue.model_id}_1_hnsw"}), text
    # The parent tables are never planned: the partition is named.
    assert not re.search(r"on embedding(_1)?( |$)", text), text


def test_the_planner_prunes_partitions_by_model_and_collection(
    big: tuple[sa.Engine, Filled, Filled],
) -> None:
    db, catalogue, _ = big
    query = "EXPLAIN SELECT count(*) FROM embedding WHERE model_id = :m AND collection_id = :c"
    values = {"m": catalogue.model_id, "c": catalogue.collection_id}
    with db.connect() as connection:
        text = "\n".join(connection.execute(sa.text(query), values).scalars())
    assert re.findall(r" on (embedding\w*)", text) == ["embedding_1_1"]


def test_it_runs_in_parallel_workers(big: tuple[sa.Engine, Filled, Filled]) -> None:
    """PARALLEL SAFE is true: settings made by SET clauses are allowed where set_config() is not."""
    db, _, _ = big
    with db.connect() as connection:
        for setting in (
            "debug_parallel_query = on",
            "parallel_setup_cost = 0",
            "parallel_tuple_cost = 0",
            "min_parallel_table_scan_size = 0",
        ):
            connection.execute(sa.text(f"SET {setting}"))
        query = sa.text("""
            SELECT l.key, s.key FROM report.records l
            CROSS JOIN LATERAL report.similar('list', l.key, 3, target => 'catalogue') s
            WHERE l.collection = 'list' AND l.key < 'k2'
        """)
        plan = "\n".join(connection.execute(sa.text(f"EXPLAIN {query.text}")).scalars())
        assert "Workers Planned" in plan, plan
        parallel = sorted(tuple(row) for row in connection.execute(query))
        connection.execute(sa.text("SET max_parallel_workers_per_gather = 0"))
        connection.execute(sa.text("SET debug_parallel_query = off"))
        assert sorted(tuple(row) for row in connection.execute(query)) == parallel
    assert len(parallel) > 300


def test_exact_and_recall(big: tuple[sa.Engine, Filled, Filled]) -> None:
    db, _, _ = big
    with db.connect() as connection:

        def keys(more: str) -> list[tuple[str, bool]]:
            query = f"SELECT key, exact FROM report.similar('catalogue', 'k4711', 20{more})"
            return [(row.key, row.exact) for row in connection.execute(sa.text(query))]

        truth = keys(", exact => true")
        assert all(exact for _, exact in truth)
        assert len(truth) == 20
        found = keys("")
        assert not any(exact for _, exact in found)
        assert len({key for key, _ in found} & {key for key, _ in truth}) >= 18
        # A filter that keeps 1 % gives all the rows asked for, and the true ones.
        family = """, attributes => '{"family": "f7"}'"""
        assert keys(family) == keys(family + ", exact => true")
        half = """, attributes => '{"half": 1}'"""
        assert (
            len({k for k, _ in keys(half)} & {k for k, _ in keys(half + ", exact => true")}) >= 18
        )


def test_the_index_ends_where_its_rows_were_removed(big: tuple[sa.Engine, Filled, Filled]) -> None:
    """Hardly a row is left: the rest is found by looking at all of them."""
    db, _, lines = big
    with db.connect() as connection:
        connection.execute(
            sa.text(
                "UPDATE record SET removed_at = now() WHERE collection_id = :c "
                "AND key NOT IN ('k1', 'k2', 'k3', 'k4')"
            ),
            {"c": lines.collection_id},
        )
        rows = connection.execute(sa.text("SELECT key, exact FROM report.similar('list', 'k1', 5)"))
        assert sorted(tuple(row) for row in rows) == [("k2", True), ("k3", True), ("k4", True)]
        connection.rollback()


def test_the_rarest_word_of_a_free_text_decides(big: tuple[sa.Engine, Filled, Filled]) -> None:
    """All 20,000 records have two of its words, far more than are compared; one has the third."""
    db, _, _ = big
    last = f"k{ROWS - 1}"
    with db.connect() as connection:
        query = sa.text(
            "SELECT text FROM report.records WHERE collection = 'catalogue' AND key = :k"
        )
        word = str(connection.execute(query, {"k": last}).scalar_one()).split()[1]
        search = sa.text("SELECT key, found_by, exact FROM report.search('catalogue', :text, 5)")
        first = connection.execute(search, {"text": f"familia {word} article"}).first()
        assert first is not None
        assert (first.key, first.exact) == (last, False)
        assert "words" in first.found_by
        # Where few rows have a word, all that have any are compared, and it says so.
        rows = connection.execute(search, {"text": word}).all()
    assert rows[0].key == last
    assert all(row.exact for row in rows)
