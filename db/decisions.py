"""What people decide about pairs of records: only ever added, never changed and never deleted.

A decision is `accept`, `reject`, or `none`: the catalogue has no counterpart. `undo` is a row of
its own that takes an earlier one back. Each knows the texts that it was about, so that it holds for
whatever job comes later, for as long as the texts are the same.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

import sqlalchemy as sa

from aparella.errors import ConflictError, NotFoundError

NOT_UNDONE = """d.verdict <> 'undo'
    AND (SELECT u.id FROM decision u WHERE u.undoes_id = d.id) IS NULL"""
"""Whether a decision `d` was not taken back. Looked up by the index, one by one: NOT EXISTS would
become a join with the whole table, for each line anew."""

_CREATE = sa.text("""
    CREATE TEMPORARY TABLE decision_row (
        number bigint PRIMARY KEY, source_id bigint NOT NULL, target_id bigint,
        verdict text NOT NULL, decided_by text NOT NULL, note text
    ) ON COMMIT DROP
""")
# fill: keys that are not there, or not there any more, are missing among the rows
_FILL = sa.text("""
    INSERT INTO decision_row (number, source_id, target_id, verdict, decided_by, note)
    SELECT g.number, s.id, t.id, g.verdict, g.by, g.note
    FROM unnest(CAST(:sources AS text[]), CAST(:targets AS text[]), CAST(:verdicts AS text[]),
                CAST(:bys AS text[]), CAST(:notes AS text[])) WITH ORDINALITY
         AS g(source, target, verdict, by, note, number)
    JOIN record s ON s.collection_id = :source AND s.key = g.source AND s.removed_at IS NULL
    LEFT JOIN record t
      ON t.collection_id = :catalogue AND t.key = g.target AND t.removed_at IS NULL
    WHERE (g.target IS NULL) = (t.id IS NULL)
""")
_SEEN = sa.text("""
    SELECT g.place FROM unnest(CAST(:ids AS bigint[]), CAST(:hashes AS text[])) WITH ORDINALITY
         AS g(id, hash, place)
    JOIN record r ON r.id = g.id AND encode(r.text_hash, 'hex') <> g.hash ORDER BY g.place
""")
# write: who said the same already, last of all and of the same texts, adds nothing
_WRITE = sa.text(f"""
    INSERT INTO decision (job_id, source_id, target_id, catalogue_id, verdict, source_hash,
                          target_hash, decided_by, decided_at, note)
    SELECT :job, r.source_id, r.target_id, :catalogue, r.verdict, s.text_hash, t.text_hash,
           r.decided_by, clock_timestamp(), r.note
    FROM decision_row r
    JOIN record s ON s.id = r.source_id LEFT JOIN record t ON t.id = r.target_id
    LEFT JOIN LATERAL (
        SELECT d.* FROM decision d
        WHERE d.source_id = r.source_id AND d.catalogue_id = :catalogue
          AND d.target_id IS NOT DISTINCT FROM r.target_id AND {NOT_UNDONE}
        ORDER BY d.decided_at DESC, d.id DESC LIMIT 1) d ON true
    WHERE (d.decided_by, d.verdict, d.note, d.source_hash, d.target_hash)
          IS DISTINCT FROM (r.decided_by, r.verdict, r.note, s.text_hash, t.text_hash)
    ORDER BY r.number
""")
_IDS = sa.text(f"""
    SELECT r.number, (
        SELECT max(d.id) FROM decision d
        WHERE d.source_id = r.source_id AND d.catalogue_id = :catalogue
          AND d.target_id IS NOT DISTINCT FROM r.target_id AND d.decided_by = r.decided_by
          AND d.verdict = r.verdict AND {NOT_UNDONE}) AS id
    FROM decision_row r ORDER BY r.number
""")
_UNDO = sa.text("""
    INSERT INTO decision (job_id, source_id, target_id, catalogue_id, verdict, undoes_id,
                          source_hash, target_hash, decided_by, decided_at, note)
    SELECT d.job_id, d.source_id, d.target_id, d.catalogue_id, 'undo', d.id, d.source_hash,
           d.target_hash, :by, clock_timestamp(), :note
    FROM decision d WHERE d.id = :id AND d.verdict <> 'undo'
    ON CONFLICT (undoes_id) DO NOTHING
""")
_SELECT = f"""
    SELECT d.id, sc.name AS source, s.key AS source_key, tc.name AS target, t.key AS target_key,
           d.verdict, d.decided_by, d.decided_at, d.note, d.job_id, d.undoes_id,
           {NOT_UNDONE} AND NOT EXISTS (
               SELECT FROM decision n
               WHERE n.source_id = d.source_id AND n.catalogue_id = d.catalogue_id
                 AND n.target_id IS NOT DISTINCT FROM d.target_id AND n.verdict <> 'undo'
                 AND NOT EXISTS (SELECT FROM decision u WHERE u.undoes_id = n.id)
                 AND (n.decided_at, n.id) > (d.decided_at, d.id)) AS in_force,
           s.text_hash = d.source_hash AND s.removed_at IS NULL
             AND (d.target_id IS NULL OR t.text_hash = d.target_hash AND t.removed_at IS NULL)
             AS texts_unchanged
    FROM decision d
    JOIN record s ON s.id = d.source_id JOIN collection sc ON sc.id = s.collection_id
    JOIN collection tc ON tc.id = d.catalogue_id
    LEFT JOIN record t ON t.id = d.target_id
"""


@dataclass(frozen=True)
class Said:
    """A decision to be. Keys are those of records; `target` is None with `none` only.

    `source_hash` and `target_hash` (hexadecimal), where they are given, are those of the texts that
    were looked at.
    """

    source: str
    target: str | None
    verdict: str
    by: str
    note: str | None = None
    source_hash: str | None = None
    target_hash: str | None = None


@dataclass(frozen=True)
class Decision:
    """A decision as it stands. `in_force`: neither undone nor followed by one about the same."""

    id: int
    source: str
    source_key: str
    target: str
    target_key: str | None
    verdict: str
    decided_by: str
    decided_at: datetime
    note: str | None
    job_id: int | None
    undoes_id: int | None
    in_force: bool
    texts_unchanged: bool


def create_rows(connection: sa.Connection) -> None:
    """Make the table `decision_row`, empty: what is written next; gone with the transaction."""
    connection.execute(_CREATE)


def write(connection: sa.Connection, catalogue_id: int, job_id: int | None) -> int:
    """Add the decisions of `decision_row`; returns how many say something new."""
    values = {"catalogue": catalogue_id, "job": job_id}
    return connection.execute(_WRITE, values).rowcount


def add(
    connection: sa.Connection,
    decisions: Sequence[Said],
    *,
    source_id: int,
    catalogue_id: int,
    job_id: int | None,
) -> list[int]:
    """Add decisions about records of two collections, all or none.

    Saying the same again adds nothing, so a request that is sent twice has no other effect.

    Returns:
        The decisions' ids, in order; of those that were there already the ids that they have.

    Raises:
        NotFoundError: a key is unknown, or its record was removed.
        ConflictError: a text is another one than the one that was looked at.
    """
    create_rows(connection)
    columns = [asdict(one) for one in decisions]
    values = {
        "sources": [one["source"] for one in columns],
        "targets": [one["target"] for one in columns],
        "verdicts": [one["verdict"] for one in columns],
        "bys": [one["by"] for one in columns],
        "notes": [one["note"] for one in columns],
        "source": source_id,
        "catalogue": catalogue_id,
    }
    connection.execute(_FILL, values)
    query = sa.text("SELECT number, source_id, target_id FROM decision_row")
    found = {row.number: row for row in connection.execute(query)}
    for number, one in enumerate(decisions, 1):
        if number not in found:
            _complain(connection, one, source_id, catalogue_id)
    seen = [
        (record_id, digest, key)
        for number, one in enumerate(decisions, 1)
        for record_id, digest, key in (
            (found[number].source_id, one.source_hash, one.source),
            (found[number].target_id, one.target_hash, one.target),
        )
        if digest is not None and record_id is not None
    ]
    hashes = {"ids": [one[0] for one in seen], "hashes": [one[1].lower() for one in seen]}
    changed = connection.execute(_SEEN, hashes).scalar()
    if changed is not None:
        raise ConflictError(
            f"The text of '{seen[changed - 1][2]}' was changed by an import since it was looked "
            "at, so nothing was written. Look at it again."
        )
    write(connection, catalogue_id, job_id)
    return [int(row.id) for row in connection.execute(_IDS, {"catalogue": catalogue_id})]


def _complain(connection: sa.Connection, one: Said, source_id: int, catalogue_id: int) -> None:
    query = sa.text("""
        SELECT c.name, r.id IS NOT NULL AS known, r.removed_at IS NULL AS there
        FROM collection c LEFT JOIN record r ON r.collection_id = c.id AND r.key = :key
        WHERE c.id = :collection
    """)
    for collection, key in ((source_id, one.source), (catalogue_id, one.target)):
        if key is None:
            continue
        row = connection.execute(query, {"collection": collection, "key": key}).one()
        if not row.known:
            raise NotFoundError(f"'{row.name}' has no record with the key '{key[:60]}'.")
        if not row.there:
            raise NotFoundError(
                f"The record '{key[:60]}' was removed from '{row.name}' by a later import."
            )


def undo(connection: sa.Connection, decision_id: int, *, by: str, note: str | None = None) -> int:
    """Take a decision back, by a new row that says so; what held before it holds again.

    Returns:
        The id of the row that says so; of one that was there already the id that it has.

    Raises:
        NotFoundError: there is no such decision.
        ConflictError: it is an undo itself.
    """
    connection.execute(_UNDO, {"id": decision_id, "by": by, "note": note})
    query = sa.text("""
        SELECT d.verdict, u.id FROM decision d LEFT JOIN decision u ON u.undoes_id = d.id
        WHERE d.id = :id
    """)
    row = connection.execute(query, {"id": decision_id}).first()
    if row is None:
        raise NotFoundError(f"There is no decision {decision_id}.")
    if row.id is None:
        raise ConflictError(
            f"Decision {decision_id} is an undo, which cannot be undone: decide anew."
        )
    return int(row.id)


def page(
    connection: sa.Connection,
    *,
    limit: int,
    after: int = 0,
    source_id: int | None = None,
    catalogue_id: int | None = None,
    by: str | None = None,
    in_force: bool = False,
) -> list[Decision]:
    """Up to `limit` decisions after the one of id `after`, in the order of time."""
    query = f"""
        SELECT * FROM ({_SELECT}
            WHERE d.id > :after AND (CAST(:source AS bigint) IS NULL OR s.collection_id = :source)
              AND (CAST(:catalogue AS bigint) IS NULL OR d.catalogue_id = :catalogue)
              AND (CAST(:by AS text) IS NULL OR d.decided_by = :by)) d
        WHERE NOT :in_force OR d.in_force ORDER BY d.id LIMIT :limit
    """
    values = {
        "after": after,
        "source": source_id,
        "catalogue": catalogue_id,
        "by": by,
        "in_force": in_force,
        "limit": limit,
    }
    return [Decision(**row._mapping) for row in connection.execute(sa.text(query), values)]
