"""What may happen to a pair set as a whole: made, kept to its collections, locked, deleted."""

import sqlalchemy as sa

from aparella.db import jobs
from aparella.db.pairs import SETS, PairSet, find_set
from aparella.errors import ConflictError

# open_job: `params.pairs` is a name, or the names that a training takes its pairs from
_OPEN_JOB = sa.text("""
    SELECT id, kind FROM job WHERE state = ANY(:open)
      AND params -> 'pairs' @> to_jsonb(CAST(:name AS text)) ORDER BY id DESC LIMIT 1
""")


def ensure_set(
    connection: sa.Connection, name: str, source_id: int | None, target_id: int | None
) -> int:
    """The id of the pair set of that name and these collections, which is created if need be.

    A set that is there is not locked: a long upload must not hold up the imports before it. One
    without pairs that nothing works on is given to these collections: its first import failed.

    Raises:
        ConflictError: it has pairs of other collections.
    """
    values = {"name": name, "source": source_id, "target": target_id}
    connection.execute(
        sa.text(
            "INSERT INTO pair_set (name, source_collection_id, target_collection_id) "
            "SELECT :name, :source, :target WHERE NOT EXISTS "
            "(SELECT FROM pair_set WHERE name = :name) ON CONFLICT (name) DO NOTHING"
        ),
        values,
    )
    found = find_set(connection, name)
    if (found.source_collection_id, found.target_collection_id) == (source_id, target_id):
        return found.id
    locked = lock_set(connection, found.id)
    empty = sa.text("SELECT NOT EXISTS (SELECT FROM pair WHERE pair_set_id = :set)")
    if (
        locked is None
        or open_job(connection, name) is not None
        or not connection.execute(empty, {"set": found.id}).scalar_one()
    ):
        raise _other_collections(found)
    connection.execute(
        sa.text(
            "UPDATE pair_set SET source_collection_id = :source, target_collection_id = :target "
            "WHERE name = :name"
        ),
        values,
    )
    return found.id


def hold_set(
    connection: sa.Connection, pair_set_id: int, source_id: int | None, target_id: int | None
) -> None:
    """Make sure that a set is there still, of these collections, until the transaction's end.

    Raises:
        ConflictError: while the file was read, somebody deleted it or gave it to others.
    """
    found = connection.execute(
        sa.text(SETS + " WHERE p.id = :id FOR SHARE OF p"), {"id": pair_set_id}
    ).first()
    if found is None:
        raise ConflictError("The pair set was deleted while the file was read. Import it again.")
    if (found.source_collection_id, found.target_collection_id) != (source_id, target_id):
        raise _other_collections(PairSet(**found._mapping))


def lock_set(connection: sa.Connection, pair_set_id: int) -> PairSet | None:
    """Lock a set: its pairs are written by one transaction at a time. None: it was deleted."""
    row = connection.execute(
        sa.text(SETS + " WHERE p.id = :id FOR UPDATE OF p"), {"id": pair_set_id}
    ).first()
    return None if row is None else PairSet(**row._mapping)


def delete_set(connection: sa.Connection, name: str) -> None:
    """Delete a set with its pairs and the evaluations on it.

    Raises:
        NotFoundError: there is none.
        ConflictError: a job that has not ended uses it.
    """
    found = find_set(connection, name)
    lock_set(connection, found.id)
    if job := open_job(connection, name):
        raise ConflictError(
            f"Job {job[0]} ({job[1]}) uses the pair set '{name}' and has not ended. "
            f"Wait for it, or cancel it: aparella job cancel {job[0]}."
        )
    connection.execute(sa.text("DELETE FROM pair_set WHERE id = :id"), {"id": found.id})


def open_job(connection: sa.Connection, name: str) -> tuple[int, str] | None:
    """Id and kind of the newest job on that set that has not ended; None: there is none."""
    row = connection.execute(_OPEN_JOB, {"open": list(jobs.OPEN), "name": name}).first()
    return None if row is None else (int(row.id), str(row.kind))


def _other_collections(found: PairSet) -> ConflictError:
    has = (
        f"holds pairs of '{found.source}' and '{found.target}'"
        if found.source
        else "holds pairs that came as texts, without collections"
    )
    return ConflictError(
        f"The pair set '{found.name}' {has}: a set keeps to its collections. Take another name, or "
        f"delete it first: aparella pairs delete {found.name}."
    )
