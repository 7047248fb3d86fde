"""indexes of the posts no attempt wrote: what people say is found without going through what twins say"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

BY_HAND = sa.text("(attempt_id IS NULL) IS TRUE")
INDEXES = {
    "ix_post_by_hand": ["experiment_id", "created_at", "id"],
    "ix_post_by_hand_of_all": ["created_at", "id"],
}


def upgrade():
    for name, columns in INDEXES.items():
        op.create_index(name, "post", columns, postgresql_where=BY_HAND, sqlite_where=BY_HAND)


def downgrade():
    for name in INDEXES:
        op.drop_index(name, "post")
