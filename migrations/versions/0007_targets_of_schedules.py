"""which twins of its experiment a schedule asks"""

import sqlalchemy as sa
from alembic import op

from pdsapp.models import Json

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = ("schedule", "schedule_revision")


def upgrade():
    for table in TABLES:
        op.add_column(table, sa.Column("target", Json, nullable=False, server_default="{}"))


def downgrade():
    for table in TABLES:
        op.drop_column(table, "target")
