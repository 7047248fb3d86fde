"""the steps of a token's last test, and the models its endpoint offers"""

import sqlalchemy as sa
from alembic import op

from pdsapp.models import Json

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

COLUMNS = ("last_test_steps", "last_test_models")


def upgrade():
    for name in COLUMNS:
        op.add_column("api_token", sa.Column(name, Json, nullable=True))


def downgrade():
    for name in COLUMNS:
        op.drop_column("api_token", name)
