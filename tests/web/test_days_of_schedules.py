"""Days on the screens of schedules: the year where it is another one, a first day that is over."""

import re
from datetime import date, datetime, timedelta

import pytest
from sqlalchemy import update

from pdsapp.models import Experiment, Schedule, utc_now
from pdsapp.services import schedules
from pdsapp.web.cadences import words_at
from tests.web.looking import words_of


@pytest.fixture
def schedule(rows, write):
    """An enabled schedule of the experiment, with its next slot far in another year."""
    with write() as session:
        found = session.get_one(Experiment, rows.experiment.id)
        wish = schedules.Wish("Daytime", found, cron="0 9 * * *", is_enabled=True)
        schedule = schedules.add_schedule(session, wish, utc_now())
        session.flush()
        far = datetime(2998, 12, 2, 8, tzinfo=utc_now().tzinfo)
        session.execute(update(Schedule).values(next_slot_at=far))
        return schedule


def test_a_slot_of_another_year_carries_its_year(researcher, schedule):
    for path in ("/admin/", "/admin/schedule/", f"/admin/schedule/details/?id={schedule.id}"):
        assert re.search(r"\w{3} 2 Dec 2998\b", words_of(researcher.get(path))), path


def test_a_day_of_this_year_carries_none(researcher, schedule, write):
    soon = utc_now() + timedelta(seconds=1)
    with write() as session:
        session.execute(update(Schedule).values(next_slot_at=soon))
    local = soon.astimezone(schedules.zone_of(schedule))
    assert f"{local:%a} {local.day} {local:%b}, {local:%H:%M %Z}" in words_of(researcher.get("/admin/"))


@pytest.mark.parametrize(
    ("first", "last", "words"),
    [
        ((2026, 11, 20), (2026, 11, 30), "09:00 daily, until 30 Nov 2026"),
        ((2026, 11, 20), None, "09:00 daily"),
        ((2026, 11, 20), (2026, 11, 25), "09:00 daily, until 25 Nov 2026"),
        ((2026, 11, 20), (2026, 11, 24), "09:00 daily, 20–24 Nov 2026"),
        ((2026, 11, 25), (2026, 11, 30), "09:00 daily, 25–30 Nov 2026"),
        ((2026, 11, 26), None, "09:00 daily, starting 26 Nov 2026"),
        (None, (2026, 11, 30), "09:00 daily, until 30 Nov 2026"),
    ],
    ids=["begun", "begun, open", "its last day", "over", "its first day", "to come", "no first day"],
)
def test_a_first_day_that_is_over_is_not_said(schedule, first, last, words):
    # 23:30 UTC on the 24th is the 25th in the schedule's zone.
    now = datetime(2026, 11, 24, 23, 30, tzinfo=utc_now().tzinfo)
    schedule.first_day, schedule.last_day = first and date(*first), last and date(*last)
    assert words_at(schedule, now) == words


def test_list_page_and_dashboard_say_until_when_and_revisions_what_was_wished(researcher, schedule, write):
    days = {"first_day": utc_now().date() - timedelta(days=9), "last_day": date(2998, 12, 5)}
    with write() as session:
        schedules.change_schedule(
            session,
            row := session.get_one(Schedule, schedule.id),
            schedules.Wish("Daytime", row.experiment, cron="0 9 * * *", is_enabled=True, **days),
            utc_now(),
            seen=row.edit_version,
        )
    said = "09:00 daily, until 5 Dec 2998"
    for path in ("/admin/", "/admin/schedule/", f"/admin/schedule/details/?id={schedule.id}"):
        assert said in words_of(researcher.get(path)), path
    revisions = words_of(researcher.get(f"/admin/schedule/details/?id={schedule.id}")).split("Revisions")[1]
    assert said not in revisions and "– 5 Dec 2998" in revisions
