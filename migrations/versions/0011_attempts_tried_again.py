"""which failed attempt another one is a new try of"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

FOREIGN_KEY = "fk_attempt_retry_of_id_attempt"


def upgrade():
    # In words of SQL: SQLite adds such a column in place, and Alembic would rather copy the table for it.
    op.execute(
        f"ALTER TABLE attempt ADD COLUMN retry_of_id INTEGER CONSTRAINT {FOREIGN_KEY} REFERENCES attempt (id)"
    )
    op.create_index("ix_attempt_retry_of_id", "attempt", ["retry_of_id"])


def downgrade():
    op.drop_index("ix_attempt_retry_of_id", "attempt")
    op.drop_column("attempt", "retry_of_id")
