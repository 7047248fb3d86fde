"""rehearsals, start, end and deletion of experiments"""

import sqlalchemy as sa
from alembic import op

from pdsapp.models import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

MARKED = ("attempt", "post")
TIMES = ("started_at", "ends_at", "ended_at", "delete_asked_at")


def upgrade():
    for table in MARKED:
        op.add_column(
            table, sa.Column("is_rehearsal", sa.Boolean(), server_default=sa.false(), nullable=False)
        )
    for name in TIMES:
        op.add_column("experiment", sa.Column(name, UtcDateTime(), nullable=True))
    # Until now an experiment ran from the moment it was added.
    op.execute("UPDATE experiment SET started_at = created_at WHERE state <> 'draft'")


def downgrade():
    for name in TIMES:
        op.drop_column("experiment", name)
    for table in MARKED:
        op.drop_column(table, "is_rehearsal")
