"""an index for the slots of a schedule's revision: deleting revisions looks for them"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade():
    op.create_index("ix_slot_revision_id", "slot", ["revision_id"])


def downgrade():
    op.drop_index("ix_slot_revision_id", "slot")
