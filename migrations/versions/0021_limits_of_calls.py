"""limits of calls to endpoints, breakers of endpoints that do not work, and claiming by experiment"""

import sqlalchemy as sa
from alembic import op

from pdsapp.models import UtcDateTime

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

LIMITS = ("max_at_once", "max_per_minute", "max_tokens_per_minute")
DUE = sa.text("state = 'due'")


def upgrade():
    for name in LIMITS:
        op.add_column("api_token", sa.Column(name, sa.Integer(), nullable=True))
    op.add_column("attempt", sa.Column("waits_for", sa.String(length=300), server_default="", nullable=False))
    op.create_index(
        "ix_attempt_due_experiment", "attempt", ["lane", "experiment_id", "not_before", "id"],
        postgresql_where=DUE, sqlite_where=DUE,
    )  # fmt: skip
    op.create_table(
        "endpoint_breaker",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("uuid", sa.Uuid(), nullable=False),
        sa.Column("place", sa.String(length=520), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("detail", sa.String(length=500), nullable=False),
        sa.Column("failed_at", UtcDateTime(), nullable=False),
        sa.Column("opened_at", UtcDateTime(), nullable=True),
        sa.Column("next_probe_at", UtcDateTime(), nullable=True),
        sa.Column("probe_until", UtcDateTime(), nullable=True),
        sa.Column("probe_key", sa.Uuid(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_endpoint_breaker")),
        sa.UniqueConstraint("place", name=op.f("uq_endpoint_breaker_place")),
        sa.UniqueConstraint("uuid", name=op.f("uq_endpoint_breaker_uuid")),
    )


def downgrade():
    op.drop_table("endpoint_breaker")
    op.drop_index("ix_attempt_due_experiment", "attempt")
    op.drop_column("attempt", "waits_for")
    for name in LIMITS:
        op.drop_column("api_token", name)
