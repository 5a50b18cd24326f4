"""What imports have changed since somebody last looked: told by editions, which are no clocks.

Each record knows its collection's edition at which it got its text, came back or was removed.
"""

from collections.abc import Sequence

import sqlalchemy as sa

_MOVED = sa.text("""
    SELECT EXISTS (
        SELECT FROM collection c JOIN record r ON r.collection_id = c.id
         AND r.changed_edition > :edition
        WHERE c.id = :collection AND c.edition > :edition)
""")
_WITHOUT_VECTOR = sa.text("""
    SELECT EXISTS (
        SELECT FROM record r LEFT JOIN embedding e
          ON e.model_id = :model AND e.collection_id = :collection AND e.record_id = r.id
        WHERE r.collection_id = :collection AND r.removed_at IS NULL
          AND e.text_hash IS DISTINCT FROM r.text_hash
          AND r.id NOT IN (SELECT f.record_id FROM job_error f
                           WHERE f.job_id = :job AND f.record_id IS NOT NULL))
""")


def moved(connection: sa.Connection, collection_id: int, edition: int) -> bool:
    """Whether a record came, went or got another text after that edition.

    What a transaction before this call has read is of that edition where this is false: an
    edition, once seen, never goes back.
    """
    values = {"collection": collection_id, "edition": edition}
    return bool(connection.execute(_MOVED, values).scalar_one())


def ids(connection: sa.Connection, collection_id: int, edition: int) -> list[int]:
    """Records that are there and came, or got their text, after that edition, ascending."""
    query = sa.text("""
        SELECT id FROM record WHERE collection_id = :collection AND changed_edition > :edition
          AND removed_at IS NULL ORDER BY id
    """)
    values = {"collection": collection_id, "edition": edition}
    return [int(i) for i in connection.execute(query, values).scalars()]


def count(connection: sa.Connection, collection_id: int, edition: int) -> int:
    """Records that came, went or got another text after that edition."""
    query = sa.text("""
        SELECT count(*) FROM record
        WHERE collection_id = :collection AND changed_edition > :edition
    """)
    values = {"collection": collection_id, "edition": edition}
    return int(connection.execute(query, values).scalar_one())


def without_vector(
    connection: sa.Connection, model_id: int, collection_ids: Sequence[int], job_id: int
) -> bool:
    """Whether a record has no vector of its text though no error of the job says why."""
    return any(
        connection.execute(
            _WITHOUT_VECTOR, {"model": model_id, "collection": one, "job": job_id}
        ).scalar_one()
        for one in dict.fromkeys(collection_ids)
    )
