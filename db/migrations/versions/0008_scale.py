"""Reports at scale: quicker nearest neighbours and free texts, and jobs that show their pauses.

Revision 0008, after 0007.
"""

from alembic import op

from aparella.db import reporting

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    reporting.install_scale(op.get_bind())


def downgrade() -> None:
    reporting.remove_scale(op.get_bind())
