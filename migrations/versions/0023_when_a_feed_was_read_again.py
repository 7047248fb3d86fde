"""when the feed was read that an attempt was shown, if later than it was decided"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("attempt", sa.Column("feed_read_at", sa.DateTime(timezone=True), nullable=True))


def downgrade():
    op.drop_column("attempt", "feed_read_at")
