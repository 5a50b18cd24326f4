"""An upload becoming records: its rows are cleaned in chunks, then applied all or nothing."""

from dataclasses import dataclass

import sqlalchemy as sa

_PLAN = sa.text("""
    INSERT INTO chunk (job_id, stage_id, items, size)
    SELECT :job, :stage, array_agg(number ORDER BY number), count(*)
    FROM (SELECT number, row_number() OVER (ORDER BY number) - 1 AS place
          FROM upload_row
          WHERE upload_id = :upload AND code IS NULL AND text_hash IS NULL) numbered
    GROUP BY place / :size
""")
_CLEANED = sa.text("""
    UPDATE upload_row u SET cleaned = c.cleaned, text_hash = c.hash, repaired = c.repaired,
                            code = c.code, field = c.field, message = c.message
    FROM unnest(CAST(:numbers AS bigint[]), CAST(:cleaned AS text[]), CAST(:hashes AS bytea[]),
                CAST(:repaired AS text[]), CAST(:codes AS text[]), CAST(:fields AS text[]),
                CAST(:messages AS text[]))
         AS c(number, cleaned, hash, repaired, code, field, message)
    WHERE u.upload_id = :upload AND u.number = c.number
""")
# duplicates: the first row of a key stands, later ones are refused
_DUPLICATES = sa.text("""
    UPDATE upload_row u SET code = 'duplicate_key', field = 'key',
        message = 'the key ''' || u.key || ''' stands on row ' || d.first || ' already'
    FROM (SELECT number, min(number) OVER (PARTITION BY key) AS first
          FROM upload_row WHERE upload_id = :upload AND code IS NULL) d
    WHERE u.upload_id = :upload AND u.number = d.number AND d.number > d.first
""")
_FAULTS = sa.text("""
    INSERT INTO job_error (job_id, stage_id, row, key, field, code, message)
    SELECT :job, :stage, number, key, field, code, message
    FROM upload_row WHERE upload_id = :upload AND code IS NOT NULL ORDER BY number
""")
_CHANGED = """(r.text_hash <> u.text_hash OR r.attributes <> u.attributes
               OR r.cleaner_version <> :version)"""
_COUNTS = sa.text(f"""
    SELECT count(*) AS rows,
           count(*) FILTER (WHERE u.code IS NOT NULL) AS refused,
           count(*) FILTER (WHERE u.code IS NULL AND u.repaired IS NOT NULL) AS repaired,
           count(*) FILTER (WHERE u.code IS NULL AND (r.id IS NULL OR r.removed_at IS NOT NULL))
             AS new,
           count(*) FILTER (WHERE u.code IS NULL AND r.removed_at IS NULL AND {_CHANGED})
             AS changed,
           count(*) FILTER (WHERE u.code IS NULL AND r.removed_at IS NULL AND NOT {_CHANGED})
             AS unchanged
    FROM upload_row u
    LEFT JOIN record r ON r.collection_id = :collection AND r.key = u.key
    WHERE u.upload_id = :upload
""")
_UPSERT = sa.text("""
    INSERT INTO record AS r (collection_id, key, text, original, text_hash, cleaner_version,
                             attributes, changed_edition)
    SELECT :collection, key, coalesce(cleaned, text), CASE WHEN cleaned IS NOT NULL THEN text END,
           text_hash, :version, attributes,
           (SELECT edition + 1 FROM collection WHERE id = :collection)
    FROM upload_row WHERE upload_id = :upload AND code IS NULL ORDER BY number
    ON CONFLICT (collection_id, key) DO UPDATE
    SET text = excluded.text, original = excluded.original, text_hash = excluded.text_hash,
        cleaner_version = excluded.cleaner_version, attributes = excluded.attributes,
        updated_at = now(), removed_at = NULL,
        text_changed_at = CASE WHEN r.text_hash <> excluded.text_hash OR r.removed_at IS NOT NULL
                               THEN now() ELSE r.text_changed_at END,
        changed_edition = CASE WHEN r.text_hash <> excluded.text_hash OR r.removed_at IS NOT NULL
                               THEN excluded.changed_edition ELSE r.changed_edition END
    WHERE r.text_hash <> excluded.text_hash OR r.attributes <> excluded.attributes
       OR r.cleaner_version <> excluded.cleaner_version OR r.removed_at IS NOT NULL
""")
# remove: what the new edition does not name; a refused row's key still counts as named
_REMOVE = sa.text("""
    UPDATE record r SET removed_at = now(),
           changed_edition = (SELECT edition + 1 FROM collection WHERE id = :collection)
    WHERE r.collection_id = :collection AND r.removed_at IS NULL
      AND NOT EXISTS (SELECT FROM upload_row u WHERE u.upload_id = :upload AND u.key = r.key)
""")


@dataclass(frozen=True)
class Upload:
    """An upload: `mode` is `replace` (the file is the collection's new edition) or `merge`.

    One of pairs belongs to no collection.
    """

    id: int
    collection_id: int | None
    filename: str
    mode: str
    strict: bool
    rows: int

    def refusal(self, rows: int, refused: int) -> str | None:
        """Why nothing of a file is taken of which so many rows are refused; None if the rest is."""
        if self.strict and refused:
            return (
                f"{refused:,} of {rows:,} rows of {self.filename} are refused, and the import is "
                "strict: nothing was changed. Mend them, or leave out --strict."
            )
        if refused == rows:
            return f"All {rows:,} rows of {self.filename} are refused: nothing was changed."
        return None


@dataclass(frozen=True)
class CleanedRow:
    """A row after cleaning; `cleaned` is None where cleaning changed nothing."""

    number: int
    cleaned: str | None
    text_hash: bytes | None
    repaired: str | None
    code: str | None = None
    field: str | None = None
    message: str | None = None


@dataclass(frozen=True)
class Counts:
    """What an import comes to, in rows of the file; `removed` in records."""

    rows: int
    refused: int
    repaired: int
    new: int
    changed: int
    unchanged: int
    removed: int = 0


def find_upload(connection: sa.Connection, upload_id: int) -> Upload:
    """The upload of that id."""
    row = connection.execute(
        sa.text(
            "SELECT id, collection_id, filename, mode, strict, rows FROM upload WHERE id = :id"
        ),
        {"id": upload_id},
    ).one()
    return Upload(**row._mapping)


def open_job(connection: sa.Connection, collection: str) -> int | None:
    """The id of the newest import into that collection that has not ended; None: there is none."""
    return connection.execute(
        sa.text(
            "SELECT max(id) FROM job WHERE state IN ('queued', 'running', 'cancelling') "
            "AND kind = 'import' AND params ->> 'collection' = :name"
        ),
        {"name": collection},
    ).scalar()


def plan(
    connection: sa.Connection, upload_id: int, *, job_id: int, stage_id: int, size: int
) -> None:
    """Insert chunks of up to `size` rows for those that the reader did not refuse."""
    values = {"upload": upload_id, "job": job_id, "stage": stage_id, "size": size}
    connection.execute(_PLAN, values)


def texts(connection: sa.Connection, upload_id: int, numbers: list[int]) -> list[tuple[int, str]]:
    """Row number and text, as uploaded, of these rows."""
    rows = connection.execute(
        sa.text(
            "SELECT number, text FROM upload_row "
            "WHERE upload_id = :upload AND number = ANY(:numbers) ORDER BY number"
        ),
        {"upload": upload_id, "numbers": numbers},
    )
    return [(int(number), str(text)) for number, text in rows]


def store_cleaned(connection: sa.Connection, upload_id: int, rows: list[CleanedRow]) -> None:
    """Write what cleaning made of these rows."""
    values = {
        "upload": upload_id,
        "numbers": [row.number for row in rows],
        "cleaned": [row.cleaned for row in rows],
        "hashes": [row.text_hash for row in rows],
        "repaired": [row.repaired for row in rows],
        "codes": [row.code for row in rows],
        "fields": [row.field for row in rows],
        "messages": [row.message for row in rows],
    }
    connection.execute(_CLEANED, values)


def refuse(
    connection: sa.Connection, upload_id: int, numbers: list[int], *, code: str, message: str
) -> None:
    """Refuse these rows."""
    connection.execute(
        sa.text(
            "UPDATE upload_row SET code = :code, message = :message "
            "WHERE upload_id = :upload AND number = ANY(:numbers)"
        ),
        {"upload": upload_id, "numbers": numbers, "code": code, "message": message},
    )


def check(
    connection: sa.Connection, upload: Upload, *, job_id: int, stage_id: int, cleaner_version: int
) -> Counts:
    """Refuse duplicate keys, list all refused rows as the job's errors, and count.

    Takes the collection's lock: imports into one collection are applied one after the other.
    """
    values = {
        "upload": upload.id,
        "collection": upload.collection_id,
        "job": job_id,
        "stage": stage_id,
        "version": cleaner_version,
    }
    connection.execute(
        sa.text("SELECT FROM collection WHERE id = :collection FOR NO KEY UPDATE"), values
    )
    connection.execute(_DUPLICATES, values)
    list_faults(connection, upload.id, job_id=job_id, stage_id=stage_id)
    return Counts(**connection.execute(_COUNTS, values).one()._mapping)


def list_faults(connection: sa.Connection, upload_id: int, *, job_id: int, stage_id: int) -> None:
    """List all refused rows as the job's errors."""
    connection.execute(_FAULTS, {"upload": upload_id, "job": job_id, "stage": stage_id})


def apply(connection: sa.Connection, upload: Upload, *, cleaner_version: int) -> int:
    """Turn the upload's good rows into records; returns how many records were removed."""
    values = {
        "upload": upload.id,
        "collection": upload.collection_id,
        "version": cleaner_version,
    }
    connection.execute(_UPSERT, values)
    removed = 0
    if upload.mode == "replace":
        # Neither table's statistics know of the rows of this transaction: the planner would compare
        # each record with each row, which for 100,000 of either takes many minutes.
        connection.execute(sa.text("SET LOCAL enable_nestloop = off"))
        removed = connection.execute(_REMOVE, values).rowcount
        connection.execute(sa.text("SET LOCAL enable_nestloop = on"))
    connection.execute(
        sa.text(
            "UPDATE collection SET edition = edition + 1, updated_at = now() WHERE id = :collection"
        ),
        values,
    )
    # The planner would otherwise take a new collection for an empty one.
    connection.execute(sa.text("ANALYZE record"))
    return removed


def discard(connection: sa.Connection, upload_id: int) -> None:
    """Delete the uploaded rows; the upload itself stays as a note of what was imported."""
    connection.execute(
        sa.text("DELETE FROM upload_row WHERE upload_id = :upload"), {"upload": upload_id}
    )
