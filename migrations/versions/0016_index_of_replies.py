"""an index of replies only: among posts that are none, SQLite takes one of all for useless"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

REPLIES = sa.text("parent_id IS NOT NULL")


def upgrade():
    op.drop_index("ix_post_parent_id", "post")
    op.create_index(
        "ix_post_parent_id", "post", ["parent_id"], postgresql_where=REPLIES, sqlite_where=REPLIES
    )


def downgrade():
    op.drop_index("ix_post_parent_id", "post")
    op.create_index("ix_post_parent_id", "post", ["parent_id"])
