"""participants who withdrew"""

import sqlalchemy as sa
from alembic import op

from pdsapp.models import Json, UtcDateTime

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        "withdrawal",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("experiment_id", sa.Integer(), nullable=False),
        sa.Column("user_profile_id", sa.Integer(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=True),
        sa.Column("pseudonym", sa.String(length=30), nullable=False),
        sa.Column("texts", Json, nullable=True),
        sa.Column("names", Json, nullable=True),
        sa.Column("only_mentions", sa.Boolean(), nullable=False),
        sa.Column("progress", Json, nullable=False),
        sa.Column("counts", Json, nullable=False),
        sa.Column("asked_at", UtcDateTime(), nullable=False),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.Column("compacted_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiment.id"], name=op.f("fk_withdrawal_experiment_id_experiment"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["user_profile_id"], ["user_profile.id"], name=op.f("fk_withdrawal_user_profile_id_user_profile"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_withdrawal_account_id_account"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_withdrawal")),
        sa.UniqueConstraint("user_profile_id", name=op.f("uq_withdrawal_user_profile_id")),
    )  # fmt: skip
    op.create_index(op.f("ix_withdrawal_experiment_id"), "withdrawal", ["experiment_id"])


def downgrade():
    op.drop_table("withdrawal")
