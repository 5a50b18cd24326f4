"""Collections and their records, and the uploads from which they are imported."""

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import numpy as np
import psycopg2
import sqlalchemy as sa
from numpy.typing import NDArray

from aparella.category import category
from aparella.errors import NotFoundError

# ensure: an upload names its collection; the first one creates it
# One that is there is not locked: a long upload must not hold up the imports before it.
_ENSURE = sa.text("""
    WITH known AS (SELECT id FROM collection WHERE name = :name),
         made AS (INSERT INTO collection (name)
                  SELECT :name WHERE NOT EXISTS (SELECT FROM known)
                  ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING id)
    SELECT id FROM known UNION ALL SELECT id FROM made
""")

_LIST = """
    SELECT c.id, c.name, c.edition, c.created_at, c.updated_at,
           (SELECT count(*) FROM record r
            WHERE r.collection_id = c.id AND r.removed_at IS NULL) AS records
    FROM collection c
"""

_CREATE_UPLOAD = sa.text("""
    INSERT INTO upload (collection_id, filename, mode, strict)
    VALUES (:collection_id, :filename, :mode, :strict) RETURNING id
""")

# COPY's text format (PostgreSQL documentation of COPY, "Text Format")
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


@dataclass(frozen=True)
class Collection:
    """A named list of records: a buyer's list, or a catalogue."""

    id: int
    name: str
    edition: int
    records: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class UploadRow:
    """One row of an uploaded file: a record to be, or (with a code) a refusal and its reason."""

    number: int
    key: str | None
    text: str | None = None
    attributes: dict[str, Any] | None = None
    code: str | None = None
    field: str | None = None
    message: str | None = None


def ensure_collection(connection: sa.Connection, name: str) -> int:
    """The id of the collection of that name, which is created if need be."""
    return int(connection.execute(_ENSURE, {"name": name}).scalar_one())


def find_collection(connection: sa.Connection, name: str) -> Collection:
    """The collection of that name.

    Raises:
        NotFoundError: there is none; says which there are.
    """
    row = connection.execute(sa.text(_LIST + " WHERE c.name = :name"), {"name": name}).first()
    if row is None:
        raise _unknown(connection, name)
    return Collection(**row._mapping)


def collection_id(connection: sa.Connection, name: str) -> int:
    """The id of the collection of that name, without counting its records.

    Raises:
        NotFoundError: there is none; says which there are.
    """
    query = sa.text("SELECT id FROM collection WHERE name = :name")
    found = connection.execute(query, {"name": name}).scalar()
    if found is None:
        raise _unknown(connection, name)
    return int(found)


def _unknown(connection: sa.Connection, name: str) -> NotFoundError:
    known = connection.execute(
        sa.text("SELECT name FROM collection ORDER BY updated_at DESC, name LIMIT 10")
    ).scalars()
    names = ", ".join(f"'{n}'" for n in known) or "none yet"
    return NotFoundError(
        f"There is no collection '{name}' (there are: {names}). "
        f"Import it first: aparella import {name} FILE --key COLUMN --text COLUMN"
    )


def list_collections(connection: sa.Connection) -> list[Collection]:
    """All collections, by name."""
    rows = connection.execute(sa.text(_LIST + " ORDER BY c.name"))
    return [Collection(**row._mapping) for row in rows]


def count(connection: sa.Connection, collection_id: int) -> int:
    """Records of a collection, those removed left out."""
    query = "SELECT count(*) FROM record WHERE collection_id = :id AND removed_at IS NULL"
    return int(connection.execute(sa.text(query), {"id": collection_id}).scalar_one())


def is_empty(connection: sa.Connection, collection_id: int) -> bool:
    """Whether a collection has no record; quick, however many it has."""
    query = """
        SELECT NOT EXISTS (SELECT FROM record WHERE collection_id = :id AND removed_at IS NULL)
    """
    return bool(connection.execute(sa.text(query), {"id": collection_id}).scalar_one())


def edition(connection: sa.Connection, collection_id: int) -> int:
    """How many imports were applied to a collection."""
    query = "SELECT edition FROM collection WHERE id = :id"
    return int(connection.execute(sa.text(query), {"id": collection_id}).scalar_one())


def hold(connection: sa.Connection, collection_ids: Sequence[int]) -> None:
    """Keep these collections as they are until the transaction ends: imports wait for it."""
    connection.execute(
        sa.text("SELECT FROM collection WHERE id = ANY(:ids) ORDER BY id FOR SHARE"),
        {"ids": list(collection_ids)},
    )


def bearers(
    connection: sa.Connection,
    collection_id: int,
    hashes: Sequence[bytes],
    attributes: Sequence[str],
) -> tuple[dict[bytes, set[int]], dict[int, str]]:
    """The records that bear these texts.

    Returns:
        Their ids by the text's hash, and by their id the first of these attributes that they have.
    """
    query = sa.text("""
        SELECT id, text_hash, attributes FROM record
        WHERE collection_id = :id AND removed_at IS NULL AND text_hash = ANY(:hashes)
    """)
    ids: dict[bytes, set[int]] = {}
    values: dict[int, str] = {}
    for row in connection.execute(query, {"id": collection_id, "hashes": list(hashes)}):
        ids.setdefault(bytes(row.text_hash), set()).add(row.id)
        if (value := category(row.attributes, attributes)) is not None:
            values[row.id] = value
    return ids, values


def texts(connection: sa.Connection, record_ids: Sequence[int]) -> list[str]:
    """The texts of these records, in their order."""
    query = sa.text("""
        SELECT r.text FROM unnest(CAST(:ids AS bigint[])) WITH ORDINALITY AS i(id, place)
        JOIN record r ON r.id = i.id ORDER BY i.place
    """)
    return list(connection.execute(query, {"ids": list(record_ids)}).scalars())


def attributes(connection: sa.Connection, record_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """The attributes of these records, by id, of those that have some."""
    query = sa.text("""
        SELECT id, attributes FROM record WHERE id = ANY(:ids) AND attributes <> '{}'
    """)
    rows = connection.execute(query, {"ids": list(record_ids)})
    return {row.id: row.attributes for row in rows}


def text_pages(
    engine: sa.Engine, collection_id: int, *, size: int = 10_000
) -> Iterator[tuple[NDArray[np.int64], list[str]]]:
    """All records' ids and texts, page by page in the order of the ids."""
    query = sa.text("""
        SELECT id, text FROM record WHERE collection_id = :id AND removed_at IS NULL AND id > :after
        ORDER BY id LIMIT :size
    """)
    after = 0
    while True:
        with engine.connect() as connection:
            values = {"id": collection_id, "after": after, "size": size}
            rows = connection.execute(query, values).all()
        if not rows:
            return
        after = int(rows[-1].id)
        yield np.array([row.id for row in rows], dtype=np.int64), [row.text for row in rows]


def create_upload(
    connection: sa.Connection, collection_id: int | None, *, filename: str, mode: str, strict: bool
) -> int:
    """Begin an upload into a collection, or of pairs; `mode` is `replace` or `merge`."""
    values = {
        "collection_id": collection_id,
        "filename": filename,
        "mode": mode,
        "strict": strict,
    }
    return int(connection.execute(_CREATE_UPLOAD, values).scalar_one())


def copy_upload_rows(connection: sa.Connection, upload_id: int, rows: Iterable[UploadRow]) -> int:
    """COPY an upload's rows in, streaming; returns how many there were.

    What `rows` raises comes through as it is.
    """
    count = 0

    def lines() -> Iterator[str]:
        nonlocal count
        block: list[str] = []
        for row in rows:
            count += 1
            attributes = json.dumps(row.attributes) if row.attributes else "{}"
            cells = (row.key, row.text, attributes, row.code, row.field, row.message)
            values = (r"\N" if cell is None else cell.translate(_ESCAPES) for cell in cells)
            block.append(f"{upload_id}\t{row.number}\t" + "\t".join(values) + "\n")
            if len(block) == 1_000:
                yield "".join(block)
                block.clear()
        yield "".join(block)

    driver = cast("Any", connection.connection.driver_connection)
    source = _Lines(lines())
    with driver.cursor() as cursor:
        try:
            cursor.copy_expert(
                "COPY upload_row (upload_id, number, key, text, attributes, code, field, message) "
                "FROM STDIN",
                source,
            )
        except psycopg2.Error:
            # The driver cancels the COPY and keeps of the reader's error nothing but its words.
            if source.error is not None:
                raise source.error from None
            raise
    connection.execute(
        sa.text("UPDATE upload SET rows = :rows WHERE id = :id"), {"rows": count, "id": upload_id}
    )
    return count


class _Lines(io.TextIOBase):
    """The file-like object that COPY FROM reads."""

    def __init__(self, blocks: Iterator[str]) -> None:
        self._blocks = blocks
        self._rest = ""
        self.error: Exception | None = None

    def read(self, size: int | None = -1) -> str:
        if not self._rest:
            try:
                self._rest = next(self._blocks, "")
            except Exception as error:
                self.error = error
                raise
        cut = len(self._rest) if size is None or size < 0 else size
        part, self._rest = self._rest[:cut], self._rest[cut:]
        return part
