"""experiments that pause when the provider answers with another model, and which change paused one"""

import sqlalchemy as sa
from alembic import op

from pdsapp.models import UtcDateTime

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

FLAGS = (("experiment", "pauses_at_model_change"), ("model_seen", "is_pause_due"))


def upgrade():
    for table, name in FLAGS:
        op.add_column(table, sa.Column(name, sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("model_seen", sa.Column("paused_at", UtcDateTime(), nullable=True))
    op.create_index(
        "ix_model_seen_pause_due", "model_seen", ["experiment_id"],
        postgresql_where=sa.text("is_pause_due"), sqlite_where=sa.text("is_pause_due = 1"),
    )  # fmt: skip


def downgrade():
    op.drop_index("ix_model_seen_pause_due", "model_seen")
    op.drop_column("model_seen", "paused_at")
    for table, name in FLAGS:
        op.drop_column(table, name)
