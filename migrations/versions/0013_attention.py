"""what the attention list remembers: models as endpoints named them, and lines called fine"""

import sqlalchemy as sa
from alembic import op

from pdsapp.models import UtcDateTime

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        "model_seen",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("experiment_id", sa.Integer(), nullable=False),
        sa.Column("asked_key", sa.String(length=64), nullable=False),
        sa.Column("seen_key", sa.String(length=64), nullable=False),
        sa.Column("endpoint", sa.String(length=500), nullable=False),
        sa.Column("model_asked", sa.String(length=200), nullable=False),
        sa.Column("model_returned", sa.String(length=200), nullable=False),
        sa.Column("system_fingerprint", sa.String(length=200), nullable=False),
        sa.Column("model_before", sa.String(length=200), nullable=True),
        sa.Column("fingerprint_before", sa.String(length=200), nullable=True),
        sa.Column("since", UtcDateTime(), nullable=False),
        sa.Column("uuid", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiment.id"], name=op.f("fk_model_seen_experiment_id_experiment"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_seen")),
        sa.UniqueConstraint("experiment_id", "seen_key", name=op.f("uq_model_seen_experiment_id_seen_key")),
        sa.UniqueConstraint("uuid", name=op.f("uq_model_seen_uuid")),
    )  # fmt: skip
    op.create_index(
        "ix_model_seen_experiment_id_asked_key", "model_seen", ["experiment_id", "asked_key", "id"]
    )
    op.create_index("ix_model_seen_since", "model_seen", ["since"])
    op.create_table(
        "settled_line",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("experiment_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=80), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=True),
        sa.Column("settled_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiment.id"], name=op.f("fk_settled_line_experiment_id_experiment"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_settled_line_account_id_account"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_settled_line")),
        sa.UniqueConstraint("key", name=op.f("uq_settled_line_key")),
    )  # fmt: skip
    op.create_index("ix_settled_line_experiment_id", "settled_line", ["experiment_id"])


def downgrade():
    op.drop_table("settled_line")
    op.drop_table("model_seen")
