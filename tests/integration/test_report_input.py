"""Bad input of the functions in schema `report`: an SQLSTATE, a sentence, a hint; never no rows."""

import numpy as np
import psycopg2
import pytest
import sqlalchemy as sa

from tests.integration.catalogues import fill

SIMILAR = "SELECT * FROM report.similar"
BAD = {
    # statement: SQLSTATE, words of the message, words of the hint
    f"{SIMILAR}('nope', 'k1')": ("42704", 'no collection "nope"', "There are: catalogue, list"),
    f"{SIMILAR}('catalogue', 'k1', target => 'nope')": ("42704", 'no collection "nope"', "There"),
    f"{SIMILAR}('catalogue', 'nope')": ("P0002", 'no record with key "nope"', "report.records"),
    f"{SIMILAR}('catalogue', 'k1', model => 'x@9')": ("42704", 'no model "x@9"', "all-MiniLM"),
    f"{SIMILAR}('catalogue', 'k1', 0)": ("22023", "k is 0", "at most 1000"),
    f"{SIMILAR}('catalogue', 'k1', 1001)": ("22023", "k is 1001", "nearest_pairs"),
    f"{SIMILAR}('catalogue', 'k1', -5)": ("22023", "k is -5", "at most"),
    f"{SIMILAR}('catalogue', 'k1', NULL)": ("22004", "must not be NULL", "Give every"),
    f"{SIMILAR}(NULL, 'k1')": ("22004", "must not be NULL", "Give every"),
    f"{SIMILAR}('catalogue', NULL)": ("22004", "key must not be NULL", "WHERE key IS NOT NULL"),
    f"{SIMILAR}('catalogue', 'k1', recall => NULL)": ("22004", "NULL", "Give"),
    f"{SIMILAR}('catalogue', 'k1', exact => NULL)": ("22004", "NULL", "Give"),
    f"{SIMILAR}('catalogue', 'k1', recall => 1.5)": ("22023", "recall is 1.5", "exact => true"),
    f"{SIMILAR}('catalogue', 'k1', recall => 0)": ("22023", "recall is 0", "recall => 0.99"),
    f"{SIMILAR}('catalogue', 'gone')": ("P0002", "no record", "report.records"),
    f"{SIMILAR}('catalogue', 'changed')": ("55000", "no vector of model", "aparella embed"),
    f"{SIMILAR}('unembedded', 'k1')": ("55000", "has no vectors", "aparella index unembedded"),
    "SELECT * FROM report.similar_to_vector('catalogue', '[1,2,3]')": (
        *("22000", "has 3 dimensions", "same model"),
    ),
    "SELECT * FROM report.similar_to_vector('catalogue', NULL)": ("22004", "NULL", "embedding_of"),
    "SELECT * FROM report.similar_to_vector('nope', NULL)": ("22004", "NULL", "embedding_of"),
    "SELECT * FROM report.search('nope', 'x')": ("42704", "no collection", "There are"),
    "SELECT * FROM report.search('catalogue', NULL)": ("22004", "text must not", "Leave"),
    "SELECT * FROM report.search('catalogue', '  ')": ("22023", "0 characters", "description"),
    "SELECT * FROM report.search('catalogue', repeat('x', 10001))": ("22023", "10001", "short"),
    "SELECT * FROM report.search('catalogue', 'x', 0)": ("22023", "k is 0", "at most"),
    "SELECT * FROM report.nearest_pairs('nope', 'catalogue')": ("42704", "nope", "There are"),
    "SELECT * FROM report.nearest_pairs('list', 'nope')": ("42704", "nope", "There are"),
    "SELECT * FROM report.nearest_pairs('list', 'catalogue', NULL)": ("22004", "min_score", "0.9"),
    "SELECT * FROM report.nearest_pairs('list', 'catalogue', 2)": ("22023", "min_score", "cosine"),
    "SELECT * FROM report.duplicates('nope')": ("42704", "nope", "There are"),
    "SELECT * FROM report.duplicates('catalogue', 'NaN')": ("22023", "min_score", "cosine"),
    "SELECT report.request_embedding(NULL)": ("22004", "text must not", "Leave"),
    "SELECT report.request_embedding('x', model => 'y')": ("42704", "no model", "report.models"),
    "SELECT report.embedding_of('never asked')": ("P0002", "not asked for", "request_embedding"),
    "SELECT report.embedding_of('x', wait => '1 day')": ("22023", "wait is", "10 s"),
    "SELECT report.embedding_of('x', wait => NULL)": ("22023", "wait is", "10 s"),
    "SELECT report.embedding_of('x', wait => '0.1 s')": ("55000", "not there after", "worker"),
}


@pytest.fixture
def filled(db: sa.Engine) -> sa.Engine:
    fill(db, "catalogue", np.eye(384, dtype=np.float32)[:5])
    fill(db, "list", np.eye(384, dtype=np.float32)[5:8])
    with db.begin() as connection:
        for statement in (
            "UPDATE record SET key = 'gone', removed_at = now() WHERE key = 'k4'",
            "UPDATE record SET key = 'changed', text_hash = '\\x00' WHERE key = 'k5'",
            "INSERT INTO collection (name) VALUES ('unembedded')",
            """INSERT INTO record (collection_id, key, text, text_hash, cleaner_version)
            SELECT id, 'k1', 't', '\\x00', 1 FROM collection WHERE name = 'unembedded'""",
        ):
            connection.execute(sa.text(statement))
    return db


def test_bad_input_is_an_error_with_a_hint(filled: sa.Engine) -> None:
    wrong = {}
    for statement, (state, message, hint) in BAD.items():
        with filled.connect() as connection:
            try:
                rows = connection.exec_driver_sql(statement).all()
            except sa.exc.DBAPIError as error:
                cause = error.orig
                assert isinstance(cause, psycopg2.Error)
                said = cause.diag
                if (
                    cause.pgcode != state
                    or message not in str(said.message_primary)
                    or hint not in str(said.message_hint)
                ):
                    wrong[statement] = (cause.pgcode, said.message_primary, said.message_hint)
            else:
                wrong[statement] = ("no error", str(len(rows)), None)
    assert wrong == {}


def test_an_empty_answer_means_that_nothing_passes(filled: sa.Engine) -> None:
    with filled.connect() as connection:
        query = (
            """SELECT * FROM report.similar('catalogue', 'k1', attributes => '{"family": "no"}')"""
        )
        assert connection.exec_driver_sql(query).all() == []


def test_a_model_in_training_is_none_to_ask(filled: sa.Engine) -> None:
    with filled.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO model (name, version, base_model, dim, max_seq_length, artifact_url, "
                "sha256, cleaner_version, status) VALUES ('new', 1, 'b', 384, 256, '', '', 1, "
                "'training')"
            )
        )
    with filled.connect() as connection, pytest.raises(sa.exc.DBAPIError, match="no model"):
        connection.exec_driver_sql(
            "SELECT * FROM report.similar('catalogue', 'k1', model => 'new')"
        )
