"""Collections and their records, and the uploads they come from."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA, JSONB

from aparella.db.tables.base import identity, json, metadata, one_of, reference, time

collection = sa.Table(
    "collection",
    metadata,
    identity(),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column(
        "edition",
        sa.Integer,
        nullable=False,
        server_default="0",
        comment="Counts the imports that were applied",
    ),
    time("created_at", now=True),
    time("updated_at", now=True),
)

record = sa.Table(
    "record",
    metadata,
    identity(),
    reference("collection_id"),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False, comment="Cleaned, once, at import"),
    sa.Column("original", sa.Text, comment="The text before cleaning, where cleaning changed it"),
    sa.Column("text_hash", BYTEA, nullable=False, comment="16 bytes, of the cleaned text"),
    sa.Column("cleaner_version", sa.SmallInteger, nullable=False),
    json("attributes"),
    time("created_at", now=True),
    time("updated_at", now=True),
    time("removed_at"),
    sa.Column(
        "text_changed_at",
        sa.TIMESTAMP(timezone=True),
        comment="When it last got another text; NULL: never since it was created",
    ),
    sa.Column(
        "changed_edition",
        sa.Integer,
        nullable=False,
        server_default="0",
        comment="Its collection's edition when its text, or whether it is there, last changed",
    ),
    sa.UniqueConstraint("collection_id", "key"),
    sa.Index(None, "text_hash", "collection_id"),
    # For reports: a free text by trigrams and by words, and filters on attributes.
    sa.Index(
        "ix_record_text_trigrams",
        sa.literal_column("report_internal.plain(text)").label("plain"),
        postgresql_using="gin",
        postgresql_ops={"plain": "gin_trgm_ops"},
    ),
    sa.Index(
        "ix_record_text_words",
        sa.text("to_tsvector('simple'::regconfig, report_internal.plain(text))"),
        postgresql_using="gin",
    ),
    sa.Index(
        "ix_record_attributes",
        "attributes",
        postgresql_using="gin",
        postgresql_ops={"attributes": "jsonb_path_ops"},
    ),
)

upload = sa.Table(
    "upload",
    metadata,
    identity(),
    reference("collection_id", nullable=True),
    sa.Column("filename", sa.Text, nullable=False),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("strict", sa.Boolean, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False, server_default="0"),
    time("created_at", now=True),
    one_of("mode", "replace", "merge"),
)

upload_row = sa.Table(
    "upload_row",
    metadata,
    reference("upload_id"),
    sa.Column("number", sa.BigInteger, nullable=False, comment="Line or row in the file"),
    sa.Column("key", sa.Text),
    sa.Column("text", sa.Text, comment="As uploaded"),
    sa.Column("attributes", JSONB),
    sa.Column("cleaned", sa.Text),
    sa.Column("text_hash", BYTEA),
    sa.Column("repaired", sa.Text, comment="Name of the encoding repair, if one was made"),
    sa.Column("code", sa.Text, comment="Why the row is refused; NULL where it is not"),
    sa.Column("field", sa.Text),
    sa.Column("message", sa.Text),
    sa.PrimaryKeyConstraint("upload_id", "number"),
)
