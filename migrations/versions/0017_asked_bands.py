"""the length band somebody chose when asking a twin"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("attempt", sa.Column("asked_band", sa.String(length=40), nullable=True))


def downgrade():
    op.drop_column("attempt", "asked_band")
