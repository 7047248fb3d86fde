"""slots that ask all active twins, made piece by piece; which twins could be asked when one was claimed"""

import sqlalchemy as sa
from alembic import op

from pdsapp.models.base import Json

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

INTENTS = ("schedule", "schedule_revision")
MARKED = ("experiment", "digital_twin")
STAGES = sa.Enum(
    "expanding",
    "stopping",
    "working",
    name="slotstage",
    native_enum=False,
    create_constraint=False,
    length=24,
)
COUNTS = ("gone_count", "stopped_count")
VALUES = ("draw", "cursor", "ends")
OPEN = sa.text("stage IS NOT NULL")


def upgrade():
    for table in INTENTS:
        op.add_column(table, sa.Column("asks_all", sa.Boolean(), server_default=sa.false(), nullable=False))
    for table in MARKED:
        op.add_column(table, sa.Column("rank_mark", sa.Integer(), server_default="0", nullable=False))
    op.add_column("slot", sa.Column("stage", STAGES, nullable=True))
    for name in COUNTS:
        op.add_column("slot", sa.Column(name, sa.Integer(), server_default="0", nullable=False))
    for name in VALUES:
        op.add_column("slot", sa.Column(name, Json, nullable=True))
    op.create_index("ix_slot_stage", "slot", ["stage"], postgresql_where=OPEN, sqlite_where=OPEN)
    # With the twin in it, so that those of a tag are found without looking at the table.
    op.create_index("ix_twin_tag_tag_digital_twin_id", "twin_tag", ["tag", "digital_twin_id"])
    op.drop_index("ix_twin_tag_tag", "twin_tag")


def downgrade():
    op.create_index("ix_twin_tag_tag", "twin_tag", ["tag"])
    op.drop_index("ix_twin_tag_tag_digital_twin_id", "twin_tag")
    op.drop_index("ix_slot_stage", "slot")
    for name in (*VALUES, *COUNTS, "stage"):
        op.drop_column("slot", name)
    for table in MARKED:
        op.drop_column(table, "rank_mark")
    for table in INTENTS:
        op.drop_column(table, "asks_all")
