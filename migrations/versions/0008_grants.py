"""which accounts see all experiments; those of before this version go on seeing them"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

COLUMN = "sees_all_experiments"


def upgrade():
    op.add_column("account", sa.Column(COLUMN, sa.Boolean(), server_default=sa.false(), nullable=False))
    op.execute(sa.text(f"UPDATE account SET {COLUMN} = true"))


def downgrade():
    op.drop_column("account", COLUMN)
