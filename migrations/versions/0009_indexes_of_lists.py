"""indexes for the lists of posts and twins"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

BY_PERSONA = "ix_digital_twin_persona_version_id_experiment_id"


def upgrade():
    op.create_index("ix_post_experiment_id_created_at", "post", ["experiment_id", "created_at"])
    op.create_index("ix_post_created_at", "post", ["created_at"])
    op.drop_index("ix_post_experiment_id", "post")
    op.create_index("ix_digital_twin_experiment_id_id", "digital_twin", ["experiment_id", "id"])
    op.create_index(BY_PERSONA, "digital_twin", ["persona_version_id", "experiment_id"])
    op.drop_index("ix_digital_twin_persona_version_id", "digital_twin")


def downgrade():
    op.create_index("ix_digital_twin_persona_version_id", "digital_twin", ["persona_version_id"])
    op.drop_index(BY_PERSONA, "digital_twin")
    op.drop_index("ix_digital_twin_experiment_id_id", "digital_twin")
    op.create_index("ix_post_experiment_id", "post", ["experiment_id"])
    op.drop_index("ix_post_created_at", "post")
    op.drop_index("ix_post_experiment_id_created_at", "post")
