"""The attention list reads a bounded part of the rows, however many there are: what SQLite means to do.

It is told the sizes of an installation with 1,000,000 attempts, since it chooses by them.
"""

import re
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from pdsapp.database import reading
from pdsapp.domain.reasons import SlotKind
from pdsapp.extensions import db
from pdsapp.models import Cadence, Downtime, Post, Schedule, ScheduleRevision, Slot, utc_now
from pdsapp.services import attention, attention_finds, notices, reports, reports_now
from pdsapp.services.ledger import of_last_day
from tests.builders import make_experiment, make_person, make_post, make_token, make_twin
from tests.conftest import TEST_DATABASE_URL

pytestmark = pytest.mark.skipif(
    TEST_DATABASE_URL is not None, reason="PostgreSQL chooses by statistics: SQLite's own test"
)
# What ANALYZE found where 1,000 twins made 1,000,000 attempts and 300 people wrote 30,000 posts in a week.
SIZES = {
    "ix_attempt_schedule_id_id": "1000000 50000 1",
    "ix_attempt_experiment_id_state_finished_at": "1000000 1000000 333334 1",
    "ix_attempt_experiment_id_id": "1000000 1000000 1",
    "ix_attempt_digital_twin_id_id": "1000000 1000 1",
    "ix_attempt_experiment_id_created_at": "1000000 1000000 1",
    "ix_attempt_created_at": "1000000 1",
    "ix_attempt_changed_at": "1000000 1",
    "ix_slot_revision_id": "864000 43200",
    "ix_slot_slot_at_kind": "864000 1 1",
    "ix_slot_experiment_id_slot_at": "864000 864000 1",
    "sqlite_autoindex_slot_1": "864000 43200 1 1",
    "ix_model_call_started_at": "444444 1",
    "ix_model_call_api_token_id_started_at": "444444 14815 1",
    "ix_post_by_hand_of_all": "30100 1 1",
    "ix_post_by_hand": "30100 30100 1 1",
    "ix_post_parent_id": "15000 15",
    "ix_post_created_at": "363433 1 1 1 1",
    "ix_post_experiment_id_created_at": "363433 363433 1 1 1 1",
    "ix_post_changed_at": "363433 1",
    "ix_post_user_profile_id_created_at": "363433 280 1",
    "ix_post_feed": "348333 348333 1 1",
    "sqlite_autoindex_post_1": "363433 1",
    "ix_author_tally_block": "36600 18300 1017",
    "sqlite_autoindex_author_tally_1": "36600 36600 18300 1017 1",
    "ix_user_profile_experiment_id_is_bot": "1301 1301 651",
    "ix_digital_twin_experiment_id_id": "1000 1000 1",
    "ix_digital_twin_api_token_id": "1000 34",
}
MANY = ("attempt", "slot", "post", "model_call", "author_tally", "user_profile")
# Partial indexes that hold what is due or at work: all of them is little.
SMALL = ("ix_attempt_due", "ix_attempt_due_experiment", "ix_attempt_lease", "uq_attempt_one_running_per_twin")


@pytest.fixture
def town(app, settings, write):
    """One of everything the list looks at, so that it sends every statement it has; its experiment."""
    now = utc_now()
    study = make_experiment()
    twin = make_twin(study, "ada", token=make_token(settings, "https://llm.example.org/v1", "lab"))
    person = make_person(study, "walt")
    parent = make_post(twin.user_profile, "Trains.", 9)
    intent = {"experiment_id": study.id, "cadence": Cadence.cron, "cron": "* * * * *"}
    with write() as session:
        for text, of in (("Are you a bot?", parent.id), ("@ada are you a bot?", None)):
            session.add(
                Post(
                    experiment_id=study.id, user_profile_id=person.id, text=text, parent_id=of,
                    created_at=now - timedelta(minutes=3), changed_at=now,
                )
            )  # fmt: skip
        session.add(Downtime(from_at=now - timedelta(hours=3), until_at=now - timedelta(hours=2)))
        schedule = Schedule(name="Talk", is_enabled=True, next_slot_at=now, **intent)
        session.add(schedule)
        session.flush()
        revision = ScheduleRevision(schedule_id=schedule.id, number=1, valid_from=now, **intent)
        session.add(revision)
        session.flush()
        for number in range(attention_finds.LAST_SLOTS):
            session.add(
                Slot(
                    schedule_id=schedule.id, revision_id=revision.id, experiment_id=study.id,
                    slot_at=now - timedelta(minutes=number + 1), kind=SlotKind.nobody_eligible,
                )
            )  # fmt: skip
    with write() as session:
        session.execute(sa.text("ANALYZE"))
        session.execute(sa.text("DELETE FROM sqlite_stat1"))
        for name, stat in SIZES.items():
            table = session.scalar(sa.text("SELECT tbl_name FROM sqlite_master WHERE name = :n"), {"n": name})
            assert table, f"{name} is gone: say what its successor is like"
            values = {"t": table, "n": name, "s": stat}
            session.execute(sa.text("INSERT INTO sqlite_stat1 VALUES (:t, :n, :s)"), values)
    db.engine.dispose()  # sizes are read when a connection is opened
    return study


def look(session, study, settings):
    """Every line of the list, of all experiments as notices see it, or of one."""
    now = utc_now()
    if study is None:
        return notices.current_lines(session, settings, now)
    found, twins = reports_now.now_of(session, now), reports.twin_counts(session, study)
    books = of_last_day(session, study, now)
    return attention.lines(session, settings, study, found, twins, books, now)


@pytest.mark.parametrize("is_of_all", [True, False], ids=["all", "one"])
def test_no_statement_goes_through_what_grows(town, settings, is_of_all):
    seen = []
    event.listen(db.engine, "before_cursor_execute", lambda *args: seen.append(args[2:4]))
    with reading() as session:
        keys = {line.key.partition(":")[0] for line in look(session, None if is_of_all else town, settings)}
        plans = {
            sql: [row[3] for row in session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)]
            for sql, values in list(seen)
            if sql.startswith("SELECT")
        }
    assert keys >= {"asked_if_human", "schedule_silent"}, "it has looked"
    for table in ("slot", "post", "author_tally", "downtime", "model_call"):
        assert any(f"FROM {table}" in sql or f"JOIN {table}" in sql for sql in plans), table
    bad = re.compile(rf"SCAN ({'|'.join(MANY)})\b|AUTOMATIC|post_1 \(attempt_id=\?\)$")
    found = {
        line: sql
        for sql, lines in plans.items()
        for line in lines
        if bad.search(line) and not line.endswith(SMALL)
    }
    assert found == {}


@pytest.mark.parametrize("is_of_all", [True, False], ids=["all", "one"])
def test_what_people_wrote_is_read_from_its_end_without_sorting(town, is_of_all):
    seen = []
    event.listen(db.engine, "before_cursor_execute", lambda *args: seen.append(args[2:4]))
    with reading() as session:
        assert len(attention_finds.questions(session, None if is_of_all else town, utc_now())) == 2
        sql, values = next(each for each in seen if "AS anon_1" in each[0])
        inner = re.search(r"FROM \((SELECT .* LIMIT \?(?: OFFSET \?)?)\) AS anon_1", sql, re.DOTALL)[1]
        given = values[: inner.count("?")]
        plan = [row[3] for row in session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {inner}", given)]
    wanted = "ix_post_by_hand_of_all (created_at>?)" if is_of_all else "ix_post_by_hand (experiment_id=? AND"
    assert plan[0].startswith(f"SEARCH post USING INDEX {wanted}")
    assert "USE TEMP B-TREE FOR ORDER BY" not in plan
