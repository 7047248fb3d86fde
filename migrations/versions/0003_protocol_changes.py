"""protocol changes, families of experiments"""

import sqlalchemy as sa
from alembic import op

from pdsapp.models import Json, UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_PARTS = ("policy", "prompt", "persona", "model", "schedule")
_STATES = ("draft", "running", "paused", "ended", "archived")


def upgrade():
    op.create_table(
        "protocol_change",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("uuid", sa.Uuid(), nullable=False),
        sa.Column("experiment_id", sa.Integer(), nullable=False),
        sa.Column(
            "part", sa.Enum(*_PARTS, name="protocolpart", native_enum=False, length=24), nullable=False
        ),
        sa.Column(
            "state", sa.Enum(*_STATES, name="experimentstate", native_enum=False, length=24), nullable=False
        ),
        sa.Column("made_at", UtcDateTime(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=True),
        sa.Column("made_by", sa.String(length=255), nullable=False),
        sa.Column("summary", sa.String(length=500), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("before", Json, nullable=False),
        sa.Column("after", Json, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_protocol_change_account_id_account"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiment.id"], name=op.f("fk_protocol_change_experiment_id_experiment"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_protocol_change")),
        sa.UniqueConstraint("uuid", name=op.f("uq_protocol_change_uuid")),
    )  # fmt: skip
    for columns in (("experiment_id", "made_at"), ("experiment_id", "part", "id")):
        name = "_".join(column for column in columns if column != "id")
        op.create_index(f"ix_protocol_change_{name}", "protocol_change", list(columns))
    op.add_column("experiment", sa.Column("family_uuid", sa.Uuid(), nullable=True))
    op.create_index(op.f("ix_experiment_family_uuid"), "experiment", ["family_uuid"])


def downgrade():
    op.drop_index(op.f("ix_experiment_family_uuid"), "experiment")
    op.drop_column("experiment", "family_uuid")
    op.drop_table("protocol_change")
