"""What the dashboard says after a night without a scheduler, and of schedules edited into nonsense."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import update

from pdsapp.database import transaction
from pdsapp.models import Downtime, Schedule, utc_now
from pdsapp.services.attention import stretch_words
from tests.builders import make_experiment, make_twin
from tests.service.slot_helpers import claim, make_schedule
from tests.web.looking import words_of

pytestmark = pytest.mark.database
EAST = ZoneInfo("America/New_York")


@pytest.fixture
def study(app):
    """A running experiment in New York with a twin."""
    experiment = make_experiment("Campus climate", "America/New_York")
    make_twin(experiment)
    return experiment


def sleep_for(hours, until=None):
    until = until or utc_now()
    with transaction() as session:
        session.add(Downtime(from_at=until - timedelta(hours=hours), until_at=until))


def test_a_costly_sleep_is_told_with_its_hours_zone_and_missed_slots(viewer, study):
    now = utc_now()
    schedule = make_schedule(study, now=now - timedelta(hours=3), name="Daytime")
    claim(now)
    sleep_for(3, now)
    page = viewer.get(f"/admin/?experiment={study.identifier}")
    words = words_of(page)
    assert ", 179 slots missed. No scheduler lived then" in words or ", 180 slots missed." in words
    assert f"–{now.astimezone(EAST):%H:%M %Z}, " in words and "Asleep " in words
    assert f"/admin/schedule/details/?id={schedule.id}" in page.text
    details = words_of(viewer.get(f"/admin/schedule/details/?id={schedule.id}"))
    assert "Latest slots the marks oldest to newest, the table newest first" in details
    assert "Passed before a scheduler claimed it." in details


def test_a_sleep_that_cost_nothing_and_one_of_another_experiment_are_not_told(viewer, study):
    other = make_experiment("Other", "UTC")
    make_twin(other)
    now = utc_now()
    make_schedule(other, now=now - timedelta(hours=3))
    claim(now)
    sleep_for(3, now)
    assert "Asleep" not in viewer.get(f"/admin/?experiment={study.identifier}").text
    assert "Asleep" in viewer.get("/admin/?experiment=").text


@pytest.mark.parametrize(
    ("start", "end", "now", "words"),
    [
        ("2026-11-25T04:10", "2026-11-25T12:42", "2026-11-25T13:00", "23:10–07:42 EST"),
        ("2026-11-25T04:10", "2026-11-25T12:42", "2026-11-26T12:00",
         "Tue 24 Nov 23:10 – Wed 25 Nov 07:42 EST"),
        ("2026-11-24T14:10", "2026-11-24T15:42", "2026-11-25T12:00", "Tue 24 Nov 09:10–10:42 EST"),
        ("2026-11-21T23:00", "2026-11-25T13:05", "2026-11-25T13:06",
         "Sat 21 Nov 18:00 – Wed 25 Nov 08:05 EST"),
        ("2026-11-01T03:10", "2026-11-01T12:42", "2026-11-01T13:00", "23:10 EDT – 07:42 EST"),
    ],
    ids=["the night before", "told a day later", "within yesterday", "days", "over a clock change"],
)  # fmt: skip
def test_a_stretch_names_its_days_only_where_they_are_needed(start, end, now, words):
    start, end, now = (datetime.fromisoformat(at).replace(tzinfo=UTC) for at in (start, end, now))
    assert stretch_words(start, end, EAST, now) == words


NONSENSE = {
    "a zone that does not exist": {"zone": "Mars/Base"},
    "a cron expression that is none": {"cron": "61 * * * *"},
    "a negative number of twins": {"twins_per_slot": -4},
    "an absurd interval": {"cadence": "interval", "interval_seconds": 2_000_000_000},
    "no cadence at all": {"cadence": "interval", "interval_seconds": None, "anchor_at": None},
}


@pytest.mark.parametrize("values", NONSENSE.values(), ids=NONSENSE.keys())
def test_a_schedule_edited_into_nonsense_is_shown_as_broken_on_every_screen(viewer, study, values):
    schedule = make_schedule(study, now=utc_now() - timedelta(minutes=2), name="Daytime")
    with transaction() as session:
        session.execute(update(Schedule).where(Schedule.id == schedule.id).values(**values))
    for _ in range(2):  # before and after a scheduler has seen it
        details = words_of(viewer.get(f"/admin/schedule/details/?id={schedule.id}"))
        assert viewer.get("/admin/schedule/").status_code == 200
        words = words_of(viewer.get("/admin/"))
        claim(utc_now())
    assert "This schedule is broken. It was changed without leaving a revision. Save it again." in details
    assert "Schedule “Daytime” is broken." in words
