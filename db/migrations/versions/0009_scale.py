"""Reports at scale: quicker nearest neighbours and free texts, and jobs that show their pauses.

Revision 0009, after 0008.
"""

from alembic import op

from aparella.db import reporting

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    reporting.install_scale(op.get_bind())


def downgrade() -> None:
    reporting.remove_scale(op.get_bind())
