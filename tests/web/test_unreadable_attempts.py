"""An attempt whose row somebody has edited in the database: its page says so instead of breaking."""

import pytest
import sqlalchemy as sa

from pdsapp.models import Attempt
from tests.attempt_rows import add_row
from tests.conftest import NOON, TEST_DATABASE_URL
from tests.web.looking import words_of


@pytest.fixture
def attempt(session, rows):
    """A skipped attempt with all factors of its decision."""
    key = add_row(rows.twin, "skipped", "recency", NOON, draw=0.1, age_hours=0.5, selection_key="k",
                  candidate_count=3, drawn_rank=1)  # fmt: skip
    return session.get_one(Attempt, key)


def edit(write, attempt, column, value):
    with write() as session:
        session.execute(sa.text("PRAGMA ignore_check_constraints = ON"))
        session.execute(sa.text(f'UPDATE attempt SET "{column}" = {value} WHERE id = {attempt.id}'))


@pytest.mark.skipif(TEST_DATABASE_URL is not None, reason="PostgreSQL refuses what a column is not for")
@pytest.mark.parametrize(
    ("column", "value"),
    [("state", "'nonsense'"), ("trigger", "'nonsense'"), ("created_at", "'soon'"), ("reason", "'because'")],
)
def test_what_no_column_can_hold_is_said_on_the_page(viewer, write, attempt, column, value):
    edit(write, attempt, column, value)
    for part in ("", "/state", "/brief"):
        answer = viewer.get(f"/attempts/{attempt.uuid}{part}")
        assert answer.status_code == 409
        assert "The row of this attempt cannot be read" in words_of(answer)


@pytest.mark.skipif(TEST_DATABASE_URL is not None, reason="PostgreSQL refuses what a column is not for")
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("draw", "NULL"), ("skip_probability", "NULL"), ("decided_at", "NULL"), ("own_count", "NULL"),
        ("draw", "'nonsense'"), ("window_count", "'nonsense'"), ("cleaning_steps", "'[1, {]'"),
        ("cleaning_steps", "'3'"), ("target_length", "'x'"), ("candidate_count", "'x'"),
        ("detail", "x'ff00'"),
        ("policy_id", "NULL"), ("selection_key", "7"),
    ],
)  # fmt: skip
def test_no_edited_value_breaks_the_page(viewer, write, attempt, column, value):
    edit(write, attempt, column, value)
    assert viewer.get(f"/attempts/{attempt.uuid}").status_code in (200, 409)
