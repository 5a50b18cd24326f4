"""Evaluations: how a model, or a ranking without one, did on a pair set, query by query."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

_ADD = sa.text("""
    INSERT INTO evaluation (model_id, system, pair_set_id, job_id, method, split_sha256, figures)
    VALUES (:model, :system, :set, :job, :method, :split, :figures) RETURNING id
""").bindparams(sa.bindparam("figures", type_=JSONB))
_ADD_QUERY = sa.text("""
    INSERT INTO evaluation_query (evaluation_id, source_hash, ranks, right_records, category)
    VALUES (:evaluation, :hash, CAST(:ranks AS bigint[]), :right, :category)
""")
# queries: of the newest evaluation of the model on the set
_QUERIES = sa.text("""
    SELECT q.source_hash, q.ranks, q.right_records, q.category FROM evaluation_query q
    WHERE q.evaluation_id = (SELECT max(id) FROM evaluation
                             WHERE model_id = :model AND pair_set_id = :set)
""")
# latest: the newest evaluation of each system on each set by which the model was judged
_BESIDE = sa.text("""
    SELECT e.id, e.system, e.model_id, e.pair_set_id, s.name AS pairs, e.method, e.split_sha256,
           e.figures, e.created_at, m.name || '@' || m.version AS model
    FROM evaluation e JOIN pair_set s ON s.id = e.pair_set_id
    LEFT JOIN model m ON m.id = e.model_id
    WHERE e.job_id = (SELECT job_id FROM evaluation
                      WHERE model_id = :model AND pair_set_id = e.pair_set_id
                      ORDER BY id DESC LIMIT 1)
    ORDER BY e.pair_set_id, e.id
""")


@dataclass(frozen=True)
class Query:
    """A query's right records in a ranking of the whole catalogue.

    Attributes:
        ranks: of those that were found, from 1, ascending.
        right: how many there are, found or not.
        category: of its first right record, where records have one.
    """

    source_hash: bytes
    ranks: tuple[int, ...]
    right: int
    category: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """How one system did on a pair set; `model` is None for `trigrams`."""

    system: str
    model_id: int | None
    model: str | None
    pair_set_id: int
    pairs: str
    method: str
    split_sha256: str
    figures: dict[str, Any]


def store(
    connection: sa.Connection,
    *,
    model_id: int | None,
    pair_set_id: int,
    job_id: int,
    method: str,
    split_sha256: str,
    figures: Mapping[str, Any],
    queries: Iterable[Query],
) -> None:
    """Note an evaluation; without a model it is that of the character trigrams."""
    values = {
        "model": model_id,
        "system": "trigrams" if model_id is None else "model",
        "set": pair_set_id,
        "job": job_id,
        "method": method,
        "split": split_sha256,
        "figures": dict(figures),
    }
    evaluation_id = connection.execute(_ADD, values).scalar_one()
    rows = [
        {
            "evaluation": evaluation_id,
            "hash": query.source_hash,
            "ranks": list(query.ranks),
            "right": query.right,
            "category": query.category,
        }
        for query in queries
    ]
    if rows:
        connection.execute(_ADD_QUERY, rows)


def queries(connection: sa.Connection, model_id: int, pair_set_id: int) -> dict[bytes, Query]:
    """What the newest evaluation of a model on a pair set found, by the hash of the query."""
    rows = connection.execute(_QUERIES, {"model": model_id, "set": pair_set_id})
    return {
        bytes(row.source_hash): Query(
            bytes(row.source_hash), tuple(row.ranks), row.right_records, row.category
        )
        for row in rows
    }


def beside(connection: sa.Connection, model_id: int) -> list[Evaluation]:
    """The newest evaluations of a model, each with those of the systems judged in the same job."""
    rows = connection.execute(_BESIDE, {"model": model_id})
    names = Evaluation.__dataclass_fields__
    return [
        Evaluation(**{name: value for name, value in row._mapping.items() if name in names})
        for row in rows
    ]


def pair_sets(connection: sa.Connection, model_id: int) -> list[int]:
    """Ids of the pair sets on which a model was judged."""
    query = sa.text("SELECT DISTINCT pair_set_id FROM evaluation WHERE model_id = :id ORDER BY 1")
    return [int(i) for i in connection.execute(query, {"id": model_id}).scalars()]
