"""when the feed was read that an attempt was shown, if later than decided; an index of those that wait"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


DECIDED = sa.text("state = 'due' AND decided_at IS NOT NULL")


def upgrade():
    op.add_column("attempt", sa.Column("feed_read_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_attempt_due_decided",
        "attempt",
        ["digital_twin_id"],
        postgresql_where=DECIDED,
        sqlite_where=DECIDED,
    )


def downgrade():
    op.drop_index("ix_attempt_due_decided", "attempt")
    op.drop_column("attempt", "feed_read_at")
