"""Bearer tokens of the API, and functions for what only the tables' owner may do.

Revision 0006, after 0005. Vectors' partitions and their indexes come and go while jobs run. The
functions do that with their owner's rights, so that the API and the workers need not own a table
(docs/decisions/0018). Their search_path is pinned: no caller can slip an object of their own under.
"""

from contextlib import closing

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from aparella.db import reporting
from aparella.db.tables import DIMENSIONS

revision = "0006"
down_revision = "0005"


MAKE_PARTITION = """
    CREATE FUNCTION make_partition(model_id bigint, collection_id bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = @search_path@
    AS $body$
    DECLARE
        parent text := format('embedding_%s', model_id);
        child text := format('embedding_%s_%s', model_id, collection_id);
        maintain text := CASE WHEN current_setting('server_version_num')::integer >= 170000
                              THEN ', MAINTAIN' ELSE '' END;
    BEGIN
        PERFORM pg_advisory_xact_lock(hashtext('aparella partition'));
        -- ATTACH takes a weaker lock on the parent than CREATE ... PARTITION OF: readers go on.
        EXECUTE format('CREATE TABLE IF NOT EXISTS %I (LIKE embedding INCLUDING ALL) '
                       'PARTITION BY LIST (collection_id)', parent);
        IF NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass(parent)) THEN
            EXECUTE format('ALTER TABLE embedding ATTACH PARTITION %I FOR VALUES IN (%s)',
                           parent, model_id);
        END IF;
        EXECUTE format('CREATE TABLE IF NOT EXISTS %I (LIKE embedding INCLUDING ALL)', child);
        IF NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass(child)) THEN
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES IN (%s)',
                           parent, child, collection_id);
        END IF;
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'aparella_worker') THEN
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE%s ON %I, %I TO aparella_worker',
                           maintain, parent, child);
        END IF;
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'aparella_api') THEN
            EXECUTE format('GRANT SELECT ON %I, %I TO aparella_api', parent, child);
        END IF;
    END
    $body$
"""
DROP_VECTORS = """
    CREATE FUNCTION drop_vectors(model_id bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = @search_path@
    AS $body$
    BEGIN
        IF EXISTS (SELECT FROM model m WHERE m.id = drop_vectors.model_id
                   AND m.status = 'promoted') THEN
            RAISE EXCEPTION 'the vectors of the promoted model stay'
                USING ERRCODE = 'insufficient_privilege';
        END IF;
        EXECUTE format('DROP TABLE IF EXISTS %I', format('embedding_%s', model_id));
    END
    $body$
"""
BUILD_INDEX = """
    CREATE FUNCTION build_index(model_id bigint, collection_id bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = @search_path@
    AS $body$
    DECLARE
        child text := format('embedding_%s_%s', model_id, collection_id);
    BEGIN
        EXECUTE format('CREATE INDEX %I ON %I USING hnsw ((embedding::halfvec(@dimensions@)) '
                       'halfvec_cosine_ops) WITH (m = 16, ef_construction = 64)',
                       format('ix_%s_hnsw_new', child), child);
    END
    $body$
"""
END_INDEX = """
    -- Drops an index of a partition's vectors, or gives it another name.
    CREATE FUNCTION end_index(model_id bigint, collection_id bigint, old text, new text)
    RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = @search_path@
    AS $body$
    DECLARE
        child text := format('embedding_%s_%s', model_id, collection_id);
        prefix text := format('ix_%s_hnsw', child);
    BEGIN
        IF NOT starts_with(old, prefix) OR NOT starts_with(coalesce(new, prefix), prefix)
           OR NOT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass(quote_ident(old))
                          AND indrelid = to_regclass(child)) THEN
            RAISE EXCEPTION '% is no index of the vectors in %', old, child
                USING ERRCODE = 'insufficient_privilege';
        END IF;
        IF new IS NULL THEN
            EXECUTE format('DROP INDEX %I', old);
        ELSE
            EXECUTE format('ALTER INDEX %I RENAME TO %I', old, new);
        END IF;
    END
    $body$
"""
FUNCTIONS = {
    "make_partition(bigint, bigint)": MAKE_PARTITION,
    "drop_vectors(bigint)": DROP_VECTORS,
    "build_index(bigint, bigint)": BUILD_INDEX,
    "end_index(bigint, bigint, text, text)": END_INDEX,
}


def upgrade() -> None:
    _create_table()
    connection = op.get_bind()
    path = reporting.search_path(connection)
    for signature, definition in FUNCTIONS.items():
        text = definition.replace("@search_path@", path).replace("@dimensions@", str(DIMENSIONS))
        with closing(connection.connection.cursor()) as cursor:
            cursor.execute(text)  # the driver itself: percent signs are no parameters
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
    attach = "report_internal.attach(bigint, bigint)"
    op.execute(f"ALTER FUNCTION {attach} SECURITY DEFINER")
    op.execute(f"ALTER FUNCTION {attach} SET search_path = {path}")


def _create_table() -> None:
    op.create_table(
        "token",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("handle", sa.Text(), nullable=False, comment="The token's public part"),
        sa.Column(
            "digest", postgresql.BYTEA(), nullable=False, comment="SHA-256 of the whole token"
        ),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column(
            "created_by", sa.Text(), comment="Name of the token that made it; NULL: an operator"
        ),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("revoked_at", sa.TIMESTAMP(timezone=True)),
        sa.CheckConstraint("scope IN ('read', 'submit', 'admin')", name="scope"),
        sa.PrimaryKeyConstraint("id", name="pk_token"),
        sa.UniqueConstraint("handle", name="uq_token_handle"),
    )
    op.create_index(
        "ix_token_name_in_use",
        "token",
        ["name"],
        unique=True,
        postgresql_where=sa.text("revoked_at IS NULL"),
    )


def downgrade() -> None:
    for signature in FUNCTIONS:
        op.execute(f"DROP FUNCTION {signature}")
    op.drop_table("token")
