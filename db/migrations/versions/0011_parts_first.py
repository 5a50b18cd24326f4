"""What is left of a chunk that was bisected is sent for before chunks that nobody has tried.

Revision 0011, after 0010.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_UNSENT = sa.text("state = 'ready' AND sent_at IS NULL")


def upgrade() -> None:
    op.drop_index("ix_chunk_unsent", table_name="chunk")
    op.create_index(
        "ix_chunk_unsent",
        "chunk",
        ["stage_id", sa.text("(parent_id IS NULL)"), "id"],
        postgresql_where=_UNSENT,
    )


def downgrade() -> None:
    op.drop_index("ix_chunk_unsent", table_name="chunk")
    op.create_index("ix_chunk_unsent", "chunk", ["stage_id", "id"], postgresql_where=_UNSENT)
