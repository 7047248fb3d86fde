"""indexes for the slots of a schedule's revision, and for counting posts and people of experiments"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade():
    op.create_index("ix_slot_revision_id", "slot", ["revision_id"])
    op.create_index("ix_post_experiment_id_is_rehearsal", "post", ["experiment_id", "is_rehearsal"])
    op.create_index("ix_user_profile_experiment_id_is_bot", "user_profile", ["experiment_id", "is_bot"])


def downgrade():
    op.drop_index("ix_user_profile_experiment_id_is_bot", "user_profile")
    op.drop_index("ix_post_experiment_id_is_rehearsal", "post")
    op.drop_index("ix_slot_revision_id", "slot")
