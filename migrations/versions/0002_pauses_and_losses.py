"""pauses with who and when, jitter and days of schedules, lost leases, downtimes"""

import sqlalchemy as sa
from alembic import op

from pdsapp.models import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Added and dropped one by one: a batch would rebuild tables that others point at, which SQLite refuses.
_PAUSED_AT = ("paused_at", UtcDateTime(), None)
_PAUSED_BY = ("paused_by", sa.String(255), "")
_PAUSED_REASON = ("paused_reason", sa.String(255), "")
_STOPPED_AT = ("stopped_at", UtcDateTime(), None)
_JITTER = ("jitter_seconds", sa.Integer(), "0")
_FIRST_DAY, _LAST_DAY = ("first_day", sa.Date(), None), ("last_day", sa.Date(), None)
COLUMNS = {
    "api_token": (_PAUSED_BY,),
    "attempt": (("stop_asked_at", UtcDateTime(), None), ("delay_seconds", sa.Double(), None)),
    "experiment": (_STOPPED_AT, _PAUSED_AT, _PAUSED_BY),
    "installation": (_STOPPED_AT, _PAUSED_AT, _PAUSED_BY),
    "schedule": (_FIRST_DAY, _LAST_DAY, _JITTER, _PAUSED_AT, _PAUSED_BY, _PAUSED_REASON),
    "schedule_revision": (_FIRST_DAY, _LAST_DAY, _JITTER),
}


def upgrade():
    op.create_table(
        "downtime",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("from_at", UtcDateTime(), nullable=False),
        sa.Column("until_at", UtcDateTime(), nullable=False),
        sa.Column("found_by", sa.String(length=120), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_downtime")),
    )
    op.create_index(op.f("ix_downtime_until_at"), "downtime", ["until_at"])
    op.create_table(
        "lost_lease",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("attempt_id", sa.Integer(), nullable=False),
        sa.Column("lease_token", sa.Uuid(), nullable=False),
        sa.Column("worker", sa.String(length=120), nullable=False),
        sa.Column(
            "stage",
            sa.Enum(
                *("deciding", "asking", "rewriting", "saving"),
                name="attemptstage", native_enum=False, length=24,
            ),
            nullable=True,
        ),
        sa.Column("claimed_at", UtcDateTime(), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=False),
        sa.Column("taken_back_at", UtcDateTime(), nullable=False),
        sa.Column("returned_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["attempt_id"], ["attempt.id"], name=op.f("fk_lost_lease_attempt_id_attempt"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lost_lease")),
        sa.UniqueConstraint("lease_token", name=op.f("uq_lost_lease_lease_token")),
    )  # fmt: skip
    op.create_index(op.f("ix_lost_lease_attempt_id"), "lost_lease", ["attempt_id"])
    op.create_index("ix_slot_slot_at_kind", "slot", ["slot_at", "kind"])
    for table, columns in COLUMNS.items():
        for name, kind, default in columns:
            op.add_column(table, sa.Column(name, kind, nullable=default is None, server_default=default))


def downgrade():
    op.drop_index("ix_slot_slot_at_kind", "slot")
    for table, columns in COLUMNS.items():
        for name, _, _ in columns:
            op.drop_column(table, name)
    op.drop_table("lost_lease")
    op.drop_table("downtime")
