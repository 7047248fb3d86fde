"""The form of a schedule: three ways to say when, patterns, and what it would do beside them."""

import re
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select, update

from pdsapp.admin import schedule_editing
from pdsapp.domain.reasons import ExperimentState
from pdsapp.models import Account, Experiment, ProtocolChange, Schedule, utc_now
from pdsapp.services import schedules
from tests import builders
from tests.web.looking import assert_nothing_inline, fields_of, words_of

NEW = "/admin/schedule/new/"
PART = {"X-Part": "effect"}
PICKED = {"kind": "times", "time_1": "18:30", "time_2": "09:30", "day_1": "y", "day_5": "y"}


@pytest.fixture
def typed(researcher, rows):
    """`typed(kind=…)` gives what the new form sends, with those values."""
    fields = fields_of(researcher.get(NEW), "cron") | {"experiment": str(rows.experiment.id)}
    return lambda **values: fields | {"name": "Chatter"} | values


@pytest.fixture
def opened(rows, write):
    """`opened("0 9 * * *")` adds such a schedule; the address of its form."""

    def add(cron, **wish):
        with write() as own:
            experiment = own.get_one(Experiment, rows.experiment.id)
            wish = schedules.Wish("Old", experiment, cron=cron, is_enabled=True, **wish)
            return f"/admin/schedule/edit/?id={schedules.add_schedule(own, wish, utc_now()).id}"

    return add


@pytest.fixture
def at(monkeypatch):
    """`at(2026, 11, 28, 12)` is the time at which forms are looked at, in UTC."""
    return lambda *when: monkeypatch.setattr(schedule_editing, "utc_now", lambda: datetime(*when, tzinfo=UTC))


def the_only(session):
    session.rollback()
    session.expire_all()
    return session.scalars(select(Schedule)).one()


def checked(answer):
    return re.search(r'<input(?=[^>]*checked)[^>]*name="kind"[^>]*value="(\w+)"', answer.text)[1]


def test_picked_times_and_days_are_saved_as_cron_and_open_as_they_were_picked(researcher, typed, session):
    answer = researcher.post(NEW, data=typed(**PICKED, reason="why not"), follow_redirects=True)
    assert the_only(session).cron == "30 9,18 * * 1,5"
    assert "09:30 and 18:30, Mondays and Fridays" in words_of(answer)
    form = researcher.get(f"/admin/schedule/edit/?id={the_only(session).id}")
    fields = fields_of(form, "cron")
    assert checked(form) == "times"
    assert (fields["time_1"], fields["time_2"], fields["time_3"]) == ("09:30", "18:30", "")
    assert {name for name in fields if name.startswith("day_")} == {"day_1", "day_5"}


@pytest.mark.parametrize(
    ("cron", "way"),
    [
        ("0 9 * * MON-FRI", "times"),
        ("@daily", "times"),
        ("0,30 9-14 * * *", "times"),
        ("*/15 9-17 * * 1-5", "cron"),
        ("0 * * * *", "cron"),
        ("0 9 1 * *", "cron"),
    ],
)
def test_what_pickers_can_say_opens_in_them_and_is_not_spelled_anew_by_saving(
    researcher, opened, session, cron, way
):
    address = opened(cron)
    answer = researcher.get(address)
    assert checked(answer) == way
    saved = researcher.post(address, data=fields_of(answer, "cron") | {"name": "Renamed"})
    assert saved.status_code == 302
    assert (the_only(session).name, the_only(session).cron) == ("Renamed", cron)
    assert the_only(session).revision_number == 1


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"kind": "times"}, "time_1", "Choose at least one time of day."),
        ({"kind": "times", "time_1": "25:00"}, "time_1", "Write a time of day."),
        ({"kind": "times", "time_1": "09:00", "time_2": "18:30"}, "time_1", "be due at 09:30, 18:00 too"),
        ({"kind": "cron", "cron": ""}, "cron", "Write a cron expression"),
        ({"kind": "cron", "cron": "0 0 31 2 *"}, "cron", "never fires"),
        ({"kind": "weekly"}, "kind", ""),
        ({"reason": ""}, "reason", "Say in a few words why"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_said_at_its_field_and_kept(researcher, typed, session, values, field, words):
    answer = researcher.post(NEW, data=typed(**{"reason": "why not"} | values))
    assert answer.status_code == 400
    assert words in re.search(rf'<div id="{field}-error">(.*?)</div>', answer.text, re.S)[1]
    assert f'href="#{field}"' in answer.text and f'id="{field}"' in answer.text
    if field != "kind":
        assert fields_of(answer, "cron")[field] == values.get(field, "").strip() or field == "time_1"
    assert session.scalar(select(func.count(Schedule.id))) == 0


def test_a_way_that_is_not_chosen_is_not_looked_at(researcher, typed, session):
    data = typed(kind="cron", cron="0 9 * * *", every="soon", time_1="25:00", anchor_at="x", reason="why not")
    assert researcher.post(NEW, data=data).status_code == 302
    assert (the_only(session).cron, the_only(session).interval_seconds) == ("0 9 * * *", None)


def test_the_preview_says_what_it_does_and_stores_nothing(researcher, typed, session, at):
    at(2026, 11, 28, 6, 20)
    data = typed(kind="cron", cron="30 9 * * *", name="", preview="1")
    whole, part = researcher.post(NEW, data=data), researcher.post(NEW, data=data, headers=PART)
    for answer in (whole, part):
        assert answer.status_code == 200
        words = words_of(answer)
        assert "When it is due Europe/Rome 09:30 daily" in words
        assert "Sat 28 Nov 2026, 09:30:00 CET in 2 h 10 min" in words
        assert words.count("09:30:00 CET") == 5
        assert "It asks the only active twin, about one turn per twin every 1 d." in words
        assert_nothing_inline(answer)
    assert "<html" in whole.text and "<html" not in part.text
    assert "must not be empty" not in words_of(whole), "one looks before one names it"
    assert session.scalar(select(func.count(Schedule.id))) == 0


def test_the_preview_shows_the_viewer_s_own_zone_where_the_account_has_one(researcher, typed, write, at):
    at(2026, 11, 28, 6, 20)
    data = typed(kind="cron", cron="30 9 * * *", preview="1")
    assert "yours:" not in words_of(researcher.post(NEW, data=data, headers=PART))
    with write() as own:
        own.execute(update(Account).values(zone="Asia/Tokyo"))
    assert words_of(researcher.post(NEW, data=data, headers=PART)).count("17:30 JST") == 5
    with write() as own:
        own.execute(update(Account).values(zone="Europe/Rome"))
    assert "yours:" not in words_of(researcher.post(NEW, data=data, headers=PART))


@pytest.mark.parametrize(
    ("when", "values", "flagged"),
    [
        pytest.param(
            (2026, 3, 28, 12), {"kind": "cron", "cron": "30 2 * * *"},
            "1 wall time does not exist: 02:30 (clocks jump from 02:00 to 03:00)", id="a missing time",
        ),
        pytest.param(
            (2026, 10, 24, 12), {"kind": "cron", "cron": "30 2 * * *"},
            "02:30 comes twice; only the first fires", id="a time that comes twice",
        ),
        pytest.param(
            (2026, 10, 24, 12), {"kind": "cron", "cron": "0 9 * * *"},
            "The clocks go back before it.", id="later that day",
        ),
        pytest.param(
            (2026, 3, 29, 0, 30), {"kind": "every", "every": "2", "unit": "hours"},
            "The clocks go forward before it.", id="an interval",
        ),
    ],
)  # fmt: skip
def test_changes_of_clocks_are_flagged(researcher, typed, at, when, values, flagged):
    at(*when)
    words = words_of(researcher.post(NEW, data=typed(**values, preview="1"), headers=PART))
    assert words.count(flagged) == 1


def test_the_preview_says_what_makes_no_schedule(researcher, typed):
    data = typed(kind="cron", cron="0 0 31 2 *", preview="1")
    words = words_of(researcher.post(NEW, data=data, headers=PART))
    assert words.startswith("This makes no schedule yet Cron expression:") and "never fires" in words
    whole = researcher.post(NEW, data=data)
    assert (
        whole.status_code == 200
        and "never fires" in re.search(r'id="cron-error">.*?</div>', whole.text, re.S)[0]
    )
    data = typed(kind="every", every="15", unit="minutes", jitter_seconds="901", preview="1")
    assert "Jitter, in seconds: Slots of it" in words_of(researcher.post(NEW, data=data, headers=PART))


def test_a_refused_form_says_beside_it_what_else_is_wrong(researcher, typed):
    answer = researcher.post(NEW, data=typed(name="", kind="cron", cron="0 0 31 2 *", reason="why not"))
    assert answer.status_code == 400
    assert re.findall(r'<div id="(\w+)-error">', answer.text) == ["name"]
    assert "This makes no schedule yet Cron expression:" in words_of(answer)


def test_an_edit_is_looked_at_without_a_reason_and_changes_nothing(researcher, opened, session, viewer):
    address = opened("0 9 * * *")
    data = fields_of(researcher.get(address), "cron") | {"time_1": "11:00", "preview": "1"}
    assert "11:00 daily" in words_of(researcher.post(address, data=data, headers=PART))
    assert the_only(session).cron == "0 9 * * *"
    assert viewer.post(address, data=data, headers=PART).status_code == 403


def test_who_is_asked_is_counted_and_says_whether_the_experiment_runs(researcher, typed, write, rows):
    for _ in range(3):
        builders.make_twin(rows.experiment)
    data = typed(kind="every", every="30", unit="minutes", preview="1")
    words = words_of(researcher.post(NEW, data=data, headers=PART))
    assert "It asks one of 4 active twins, about one turn per twin every 2 h." in words
    with write() as own:
        own.get_one(Experiment, rows.experiment.id).state = ExperimentState.paused
    words = words_of(researcher.post(NEW, data=data, headers=PART))
    assert "every 2 h, while the experiment is running." in words


def test_of_all_experiments_the_administrator_sees_which_are_asked(sign_in, researcher, typed, rows):
    other = builders.make_experiment("Second study")
    builders.make_twin(other)
    builders.make_experiment("Nobody in it")
    data = typed(experiment="all", kind="every", every="30", unit="minutes", zone="UTC", preview="1")
    words = words_of(sign_in("administrator").post(NEW, data=data, headers=PART))
    assert "It asks one of 2 active twins" in words
    assert f"Second study ({other.identifier}) 1 active Campus climate" in words
    assert "Nobody in it" not in words
    refused = words_of(researcher.post(NEW, data=data, headers=PART))
    assert "Not a valid choice" in refused
    assert "Second study" not in refused


PATTERNS = [
    ("daily", {}, {"kind": "times", "time_1": "09:00", "time_2": ""}, "09:00 daily"),
    (
        "hours", {}, {"kind": "times", "time_1": "09:00", "time_9": "17:00", "time_10": ""},
        "hourly 9–17, every day",
    ),
    ("weekdays", {}, {"kind": "times", "time_1": "09:00"}, "09:00, weekdays"),
    ("weekdays", {"kind": "times", "time_1": "11:30"}, {"time_1": "11:30"}, "11:30, weekdays"),
    ("hours", {"kind": "times", "time_1": "11:30", "day_6": "y"}, {"time_9": "17:00"}, "9–17, Saturdays"),
    (
        "weekdays", {"kind": "times"} | {f"time_{n + 1}": f"{9 + n:02}:00" for n in range(9)},
        {"time_9": "17:00", "day_5": "y", "day_6": ""}, "hourly 9–17, weekdays",
    ),
    ("randomised", {"every": "15", "unit": "minutes"}, {"jitter_seconds": "600"}, "up to 10 min"),
    ("randomised", {"every": "1", "unit": "minutes"}, {"jitter_seconds": "30"}, "up to 30 s"),
    ("randomised", {"kind": "times", "time_1": "09:00"}, {"jitter_seconds": "3600"}, "up to 1 h"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "given", "filled", "words"), PATTERNS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_a_pattern_fills_the_form_keeps_the_rest_and_saves_nothing(
    researcher, typed, session, pattern, given, filled, words
):  # fmt: skip
    answer = researcher.post(NEW, data=typed(**given, twins_per_slot="7", pattern=pattern))
    fields = fields_of(answer, "cron")
    assert {name: fields.get(name, "") for name in filled} == filled
    assert (fields["name"], fields["twins_per_slot"]) == ("Chatter", "7")
    assert words in words_of(answer)
    assert 'data-guard="unsaved"' in answer.text, "it is not saved yet"
    assert session.scalar(select(func.count(Schedule.id))) == 0
    assert researcher.post(NEW, data=fields | {"reason": "pattern"}).status_code == 302
    assert words in words_of(researcher.get(f"/admin/schedule/details/?id={the_only(session).id}"))


def test_each_pattern_says_on_which_days_it_asks(researcher, rows):
    words = words_of(researcher.get(NEW))
    assert "Daily at 09:00, every day Working hours hourly 9–17, every day" in words
    assert "Weekdays only Monday to Friday" in words and "They add up" in words


def test_the_first_button_of_the_form_saves(researcher, rows):
    form = re.search(r'<form class="form editor schedule".*?</form>', researcher.get(NEW).text, re.S)[0]
    assert re.findall(r"<button[^>]*>", form)[0] == (
        '<button class="only-heard" type="submit" tabindex="-1" aria-hidden="true">'
    )


def test_the_reason_is_asked_for_where_it_may_be_needed(researcher, opened, rows, write, session):
    address = opened("0 9 * * *")
    assert "This study has begun" in words_of(researcher.get(address))
    assert "If the study has begun" in words_of(researcher.get(NEW))
    assert "Reason for the change optional" not in words_of(researcher.get(NEW)), "the only study has begun"
    data = fields_of(researcher.get(address), "cron") | {"time_1": "11:00"}
    assert researcher.post(address, data=data).status_code == 400
    assert the_only(session).cron == "0 9 * * *"
    page = researcher.post(address, data=data | {"reason": "too early"}, follow_redirects=True)
    assert "11:00 daily" in words_of(page)
    words = words_of(researcher.get(f"/admin/experiment/protocol/?id={rows.experiment.id}"))
    assert "Schedule “Old”: cron" in words and "too early" in words
    assert "cron 0 9 * * * → 0 11 * * *" in words
    with write() as own:
        own.get_one(Experiment, rows.experiment.id).state = ExperimentState.draft
    assert 'name="reason"' not in researcher.get(address).text
    data = fields_of(researcher.get(address), "cron") | {"time_1": "12:00"}
    assert researcher.post(address, data=data).status_code == 302
    changes = session.scalars(select(ProtocolChange.reason).order_by(ProtocolChange.id)).all()
    assert changes[-2:] == ["too early", ""]
