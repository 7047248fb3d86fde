"""roll-ups: attempts, model calls and posts counted in blocks of time, and how far that has come"""

import sqlalchemy as sa
from alembic import op

from pdsapp.models import UtcDateTime

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_TABLES = {
    "outcome_tally": (
        [
            sa.Column("is_rehearsal", sa.Boolean(), nullable=False),
            sa.Column("state", sa.String(length=24), nullable=False),
            sa.Column("reason_class", sa.String(length=24), nullable=False),
            sa.Column("reason", sa.String(length=24), nullable=False),
            sa.Column("verdict", sa.String(length=4), nullable=False),
        ],
        [
            sa.Column("attempt_count", sa.Integer(), nullable=False),
            sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
            sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
            sa.Column("post_count", sa.Integer(), nullable=False),
        ],
    ),
    "probability_tally": (
        [
            sa.Column("tenth", sa.Integer(), nullable=False),
            sa.Column("is_silent", sa.Boolean(), nullable=False),
        ],
        [
            sa.Column("attempt_count", sa.Integer(), nullable=False),
            sa.Column("probability_sum", sa.Double(), nullable=False),
        ],
    ),
    "length_tally": (
        [
            sa.Column("length_band", sa.String(length=40), nullable=False),
            sa.Column("fit", sa.String(length=8), nullable=False),
        ],
        [sa.Column("attempt_count", sa.Integer(), nullable=False)],
    ),
    "call_tally": (
        [
            sa.Column("endpoint", sa.String(length=500), nullable=False),
            sa.Column("model", sa.String(length=200), nullable=False),
            sa.Column("outcome", sa.String(length=24), nullable=False),
            sa.Column("latency_step", sa.Integer(), nullable=False),
        ],
        [
            sa.Column("call_count", sa.Integer(), nullable=False),
            sa.Column("latency_ms", sa.BigInteger(), nullable=False),
        ],
    ),
    "post_tally": (
        [
            sa.Column("is_bot", sa.Boolean(), nullable=False),
            sa.Column("is_reply", sa.Boolean(), nullable=False),
        ],
        [sa.Column("post_count", sa.Integer(), nullable=False)],
    ),
    "author_tally": (
        [sa.Column("user_profile_id", sa.Integer(), nullable=False)],
        [sa.Column("post_count", sa.Integer(), nullable=False)],
    ),
}

# Wide enough that authors are counted without looking at a post.
_WIDER = {
    "ix_post_experiment_id_created_at": ["experiment_id", "created_at"],
    "ix_post_created_at": ["created_at"],
}
_COUNTED = ["user_profile_id", "visibility", "is_rehearsal"]


def upgrade():
    for name, (keys, sums) in _TABLES.items():
        _create(name, keys, sums)
    op.create_table(
        "rollup_mark",
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("mark_at", UtcDateTime(), nullable=False),
        sa.Column("looked_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("source", name=op.f("pk_rollup_mark")),
    )
    op.create_index("ix_post_changed_at", "post", ["changed_at"])
    for name, columns in _WIDER.items():
        op.drop_index(name, "post")
        op.create_index(name, "post", [*columns, *_COUNTED])
    for column in ("started_at", "finished_at"):
        op.create_index(f"ix_model_call_{column}", "model_call", [column])


def _create(name: str, keys: list[sa.Column], sums: list[sa.Column]) -> None:
    block = [
        sa.Column("experiment_id", sa.Integer(), nullable=False),
        sa.Column("span_seconds", sa.Integer(), nullable=False),
        sa.Column("start_seconds", sa.BigInteger(), nullable=False),
    ]
    constraints = [
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiment.id"], name=op.f(f"fk_{name}_experiment_id_experiment"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(*(each.name for each in (*block, *keys)), name=op.f(f"pk_{name}")),
    ]  # fmt: skip
    if any(each.name == "user_profile_id" for each in keys):
        constraints.append(
            sa.ForeignKeyConstraint(
                ["user_profile_id"], ["user_profile.id"],
                name=op.f(f"fk_{name}_user_profile_id_user_profile"), ondelete="CASCADE",
            )
        )  # fmt: skip
    op.create_table(name, *block, *(each._copy() for each in (*keys, *sums)), *constraints)
    op.create_index(f"ix_{name}_block", name, ["span_seconds", "start_seconds"])


def downgrade():
    for column in ("started_at", "finished_at"):
        op.drop_index(f"ix_model_call_{column}", "model_call")
    op.drop_index("ix_post_changed_at", "post")
    for name, columns in _WIDER.items():
        op.drop_index(name, "post")
        op.create_index(name, "post", columns)
    for name in ("rollup_mark", *_TABLES):
        op.drop_table(name)
