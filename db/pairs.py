"""Pair sets and their pairs: what models learn from, and what they are judged by.

A pair is known by its two texts, not by its records: two records that bear one text are one thing
to a model. It remembers the records it came from, so that a pair whose record has another text by
now, or is gone, is stale: it is kept, and neither trains nor tests until it is imported anew.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from aparella.errors import NotFoundError

FOLDS = range(10)
HELD_OUT = (0, 1)
"""The folds that no model that competes is trained on, as the evaluation's split says."""

SETS = """
    SELECT p.id, p.name, p.source_collection_id, p.target_collection_id,
           s.name AS source, t.name AS target, p.created_at, p.updated_at
    FROM pair_set p
    LEFT JOIN collection s ON s.id = p.source_collection_id
    LEFT JOIN collection t ON t.id = p.target_collection_id
"""
RECORDS = "LEFT JOIN record s ON s.id = p.source_id LEFT JOIN record t ON t.id = p.target_id"
"""Joins a pair `p` with its records, where it has any."""
LIVE = """(p.source_id IS NULL OR s.removed_at IS NULL AND s.text_hash = p.source_hash)
          AND (p.target_id IS NULL OR t.removed_at IS NULL AND t.text_hash = p.target_hash)"""
"""Whether the pair's records are there still and bear its texts."""

_COUNTS = sa.text("""
    SELECT pair_set_id, fold, positive, origin, count(*) AS pairs FROM pair
    WHERE pair_set_id = ANY(:sets) GROUP BY pair_set_id, fold, positive, origin
""")
_CURRENT = sa.text(f"""
    SELECT p.id, p.source_id, p.target_id, p.source_text, p.target_text, p.source_hash,
           p.target_hash, p.positive, p.weight, p.fold
    FROM pair p {RECORDS}
    WHERE p.pair_set_id = :set AND p.fold = ANY(:folds) AND {LIVE} ORDER BY p.id
""")
_STALE = f"""
    FROM pair p {RECORDS} WHERE p.pair_set_id = :set AND NOT ({LIVE})
"""
_STALE_PAIRS = sa.text(f"""
    SELECT p.id, s.key AS source_key, t.key AS target_key,
           CASE WHEN s.removed_at IS NOT NULL THEN 'source_removed'
                WHEN t.removed_at IS NOT NULL THEN 'target_removed'
                WHEN s.text_hash <> p.source_hash THEN 'source_changed'
                ELSE 'target_changed' END AS reason
    {_STALE} ORDER BY p.id LIMIT :limit
""")
_FOLDS = sa.text("""
    UPDATE pair p SET fold = f.fold
    FROM unnest(CAST(:ids AS bigint[]), CAST(:folds AS smallint[])) AS f(id, fold)
    WHERE p.id = f.id AND p.pair_set_id = :set
""")


@dataclass(frozen=True)
class PairSet:
    """A named set of pairs of two collections; without collections its pairs came as texts."""

    id: int
    name: str
    source_collection_id: int | None
    target_collection_id: int | None
    source: str | None
    target: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Pair:
    """A known pair of cleaned texts; `positive` is False where the two are known not to belong."""

    id: int
    source_id: int | None
    target_id: int | None
    source_text: str
    target_text: str
    source_hash: bytes
    target_hash: bytes
    positive: bool
    weight: float
    fold: int | None


@dataclass(frozen=True)
class Key:
    """A pair as the split sees it; the fields are those of the split's own class."""

    id: int
    source: bytes
    target: bytes
    positive: bool
    fold: int | None


@dataclass(frozen=True)
class Stale:
    """A pair that neither trains nor tests: `source_changed`, `target_removed` and so on."""

    id: int
    source_key: str | None
    target_key: str | None
    reason: str


@dataclass(frozen=True)
class Counts:
    """A set in figures. All but `rejected` and `decided` count pairs that belong together.

    Attributes:
        pairs: those that belong together.
        rejected: those known not to.
        held_out: in the folds that test.
        left_out: in no fold, since they would leak between training and test.
        decided: pairs and rejections that people decided about.
        folds: by fold.
    """

    pairs: int
    rejected: int
    held_out: int
    left_out: int
    decided: int
    folds: tuple[int, ...]


def find_set(connection: sa.Connection, name: str) -> PairSet:
    """The pair set of that name.

    Raises:
        NotFoundError: there is none; says which there are.
    """
    row = connection.execute(sa.text(SETS + " WHERE p.name = :name"), {"name": name}).first()
    if row is None:
        known = connection.execute(
            sa.text("SELECT name FROM pair_set ORDER BY updated_at DESC, name LIMIT 10")
        ).scalars()
        names = ", ".join(f"'{n}'" for n in known) or "none yet"
        raise NotFoundError(
            f"There is no pair set '{name}' (there are: {names}). "
            f"Import it first: aparella pairs import {name} FILE --source COLLECTION "
            "--target COLLECTION."
        )
    return PairSet(**row._mapping)


def collections(
    connection: sa.Connection, pair_set_ids: Sequence[int]
) -> set[tuple[int | None, int | None]]:
    """The source and the target collection of each of some pair sets; None where it has none."""
    query = sa.text(
        "SELECT source_collection_id, target_collection_id FROM pair_set WHERE id = ANY(:ids)"
    )
    rows = connection.execute(query, {"ids": list(pair_set_ids)})
    return {(row.source_collection_id, row.target_collection_id) for row in rows}


def list_sets(connection: sa.Connection) -> list[PairSet]:
    """All pair sets, by name."""
    rows = connection.execute(sa.text(SETS + " ORDER BY p.name"))
    return [PairSet(**row._mapping) for row in rows]


def current(connection: sa.Connection, pair_set_id: int, folds: Sequence[int]) -> list[Pair]:
    """The set's pairs and rejections in these folds, by id, those that are stale left out."""
    rows = connection.execute(_CURRENT, {"set": pair_set_id, "folds": list(folds)})
    return [Pair(**_as_bytes(row._mapping)) for row in rows]


def keys(
    connection: sa.Connection, pair_set_id: int, *, current_only: bool = False
) -> Iterator[Key]:
    """The set's pairs as the split sees them, by id.

    Args:
        connection: inside a transaction.
        pair_set_id: whose pairs.
        current_only: leave out the stale ones. To place pairs in folds all are needed: a stale
            one keeps its place, and what it hangs together with.
    """
    live = f"AND {LIVE}" if current_only else ""
    query = f"""
        SELECT p.id, p.source_hash AS source, p.target_hash AS target, p.positive, p.fold
        FROM pair p {RECORDS if current_only else ""}
        WHERE p.pair_set_id = :set {live} ORDER BY p.id
    """
    for row in connection.execute(sa.text(query), {"set": pair_set_id}):
        yield Key(**_as_bytes(row._mapping))


def store_folds(
    connection: sa.Connection, pair_set_id: int, folds: Mapping[int, int | None]
) -> None:
    """Store these pairs' folds, by id."""
    if folds:
        values = {"set": pair_set_id, "ids": list(folds), "folds": list(folds.values())}
        connection.execute(_FOLDS, values)


def stale(connection: sa.Connection, pair_set_id: int, *, limit: int | None = None) -> list[Stale]:
    """The set's stale pairs, by id: all, or the first `limit`."""
    rows = connection.execute(_STALE_PAIRS, {"set": pair_set_id, "limit": limit})
    return [Stale(**row._mapping) for row in rows]


def count_stale(connection: sa.Connection, pair_set_id: int) -> int:
    """How many of the set's pairs and rejections are stale."""
    query = sa.text(f"SELECT count(*) {_STALE}")
    return int(connection.execute(query, {"set": pair_set_id}).scalar_one())


def counts(connection: sa.Connection, pair_set_ids: Sequence[int]) -> dict[int, Counts]:
    """The sets in figures, by id."""
    pairs: dict[int, Counter[int | None]] = {one: Counter() for one in pair_set_ids}
    rejected, decided = Counter[int](), Counter[int]()
    for row in connection.execute(_COUNTS, {"sets": list(pair_set_ids)}):
        if row.positive:
            pairs[row.pair_set_id][row.fold] += row.pairs
        else:
            rejected[row.pair_set_id] += row.pairs
        if row.origin == "decision":
            decided[row.pair_set_id] += row.pairs
    return {
        one: Counts(
            pairs=folds.total(),
            rejected=rejected[one],
            held_out=sum(folds[fold] for fold in HELD_OUT),
            left_out=folds[None],
            decided=decided[one],
            folds=tuple(folds[fold] for fold in FOLDS),
        )
        for one, folds in pairs.items()
    }


def _as_bytes(row: sa.RowMapping) -> dict[str, Any]:
    """The row with its hashes as bytes; the driver gives memory views."""
    return {
        str(name): bytes(value) if isinstance(value, memoryview) else value
        for name, value in row.items()
    }
