"""Triggers that note every transition and every result with its transaction: the ledger's source.

They see what happened, whichever code did it, and so judge the engine by its effects.
"""

from dataclasses import dataclass

import sqlalchemy as sa

_SCHEMA = """
CREATE TABLE fault_chunk (
    at timestamptz NOT NULL DEFAULT clock_timestamp(), xid xid8 NOT NULL, chunk bigint NOT NULL,
    job bigint NOT NULL, parent bigint, old text NOT NULL, new text NOT NULL,
    old_token bigint NOT NULL, new_token bigint NOT NULL, by text
);
CREATE TABLE fault_write (
    xid xid8 NOT NULL, what text NOT NULL, job bigint, item bigint NOT NULL
);
CREATE FUNCTION fault_note_chunk() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO fault_chunk (xid, chunk, job, parent, old, new, old_token, new_token, by)
    VALUES (pg_current_xact_id(), NEW.id, NEW.job_id, NEW.parent_id, OLD.state, NEW.state,
            OLD.lease_token, NEW.lease_token, NEW.leased_by);
    RETURN NULL;
END $$;
CREATE FUNCTION fault_note_match() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO fault_write (xid, what, job, item)
    VALUES (pg_current_xact_id(), 'match', NEW.job_id, NEW.source_id);
    RETURN NULL;
END $$;
CREATE FUNCTION fault_note_vector() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO fault_write (xid, what, item)
    VALUES (pg_current_xact_id(), 'vector', NEW.record_id);
    RETURN NULL;
END $$;
CREATE TRIGGER fault_chunk AFTER UPDATE ON chunk FOR EACH ROW
    WHEN (NOT (OLD.state = NEW.state AND OLD.lease_token = NEW.lease_token
               AND NEW.state IN ('ready', 'leased')))
    EXECUTE FUNCTION fault_note_chunk();
CREATE TRIGGER fault_match AFTER INSERT OR UPDATE ON match FOR EACH ROW
    EXECUTE FUNCTION fault_note_match();
CREATE TRIGGER fault_vector AFTER INSERT OR UPDATE ON embedding FOR EACH ROW
    EXECUTE FUNCTION fault_note_vector();
"""


@dataclass(frozen=True)
class Move:
    """A chunk's transition, at so many seconds since the epoch by the database's clock."""

    at: float
    chunk: int
    job: int
    parent: int | None
    old: str
    new: str
    by: str | None


def install(connection: sa.Connection) -> None:
    """Add the triggers and their tables to a database of the harness's own."""
    connection.execute(sa.text(_SCHEMA))


def moves(connection: sa.Connection, job: int) -> list[Move]:
    """All transitions of a job's chunks, in order."""
    rows = connection.execute(
        sa.text(
            "SELECT extract(epoch FROM at)::float8 AS at, chunk, job, parent, old, new, by "
            "FROM fault_chunk WHERE job = :job ORDER BY at"
        ),
        {"job": job},
    )
    return [Move(**row._mapping) for row in rows]


def done_since(connection: sa.Connection, at: float) -> float | None:
    """When the first chunk was done after that moment; None: none was yet."""
    query = sa.text(
        "SELECT extract(epoch FROM min(at))::float8 FROM fault_chunk "
        "WHERE new = 'done' AND at > to_timestamp(:at)"
    )
    found = connection.execute(query, {"at": at}).scalar()
    return None if found is None else float(found)


def done_between(connection: sa.Connection, begin: float, end: float) -> int:
    """How many chunks were done in that time."""
    query = sa.text(
        "SELECT count(*) FROM fault_chunk WHERE new = 'done' "
        "AND at BETWEEN to_timestamp(:begin) AND to_timestamp(:end)"
    )
    return int(connection.execute(query, {"begin": begin, "end": end}).scalar_one())
