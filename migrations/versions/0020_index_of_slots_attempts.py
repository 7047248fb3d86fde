"""index of a slot's attempts by state: what became of a slot is told without reading all it asked"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

NAME = "ix_attempt_slot_id_state"
OF_A_SLOT = sa.text("slot_id IS NOT NULL")


def upgrade():
    op.create_index(NAME, "attempt", ["slot_id", "state"], postgresql_where=OF_A_SLOT, sqlite_where=OF_A_SLOT)


def downgrade():
    op.drop_index(NAME, "attempt")
