"""The screen of schedules: cadence in words, next slots with zone, revisions, no surprise."""

import re
from datetime import UTC, date, datetime, timedelta

import pytest
from markupsafe import escape
from sqlalchemy import select, update

from pdsapp.admin.schedule_forms import ScheduleForm
from pdsapp.domain.reasons import SlotKind
from pdsapp.models import (
    Cadence,
    Experiment,
    MissedPolicy,
    OverlapPolicy,
    Schedule,
    ScheduleRevision,
    Slot,
    utc_now,
)
from pdsapp.scheduling.cadence import INTENT
from pdsapp.services import schedules
from tests.conftest import NOON
from tests.web.looking import fields_of, words_of


@pytest.fixture
def form(rows):
    """`form(name=…)` gives the fields of a usable schedule, with those values."""

    def fields(**values):
        return {
            "name": "Chatter",
            "experiment": rows.experiment.id,
            "kind": "every",
            "every": "15",
            "unit": "minutes",
            "anchor_at": "",
            "cron": "",
            "zone": "",
            "twins_per_slot": "3",
            "lane": "default",
            "missed_policy": "skip",
            "overlap_policy": "skip",
            "is_enabled": "y",
            "reason": "the course begins",
        } | values

    return fields


@pytest.fixture
def stored(session):
    """`stored()` gives the only schedule as it is now."""

    def read():
        session.rollback()
        return session.scalars(select(Schedule)).one()

    return read


@pytest.mark.parametrize(
    ("values", "expected", "words"),
    [
        ({}, (Cadence.interval, 900, ""), "every 15 min"),
        ({"unit": "hours", "every": "2"}, (Cadence.interval, 7200, ""), "every 2 h"),
        ({"unit": "seconds", "every": "90"}, (Cadence.interval, 90, ""), "every 90 s"),
        (
            {"kind": "cron", "cron": "*/15 9-17 * * 1-5"},
            (Cadence.cron, None, "*/15 9-17 * * 1-5"),
            "every 15 min",
        ),
        ({"kind": "cron", "cron": "@daily"}, (Cadence.cron, None, None), "00:00 daily"),
    ],
    ids=["minutes", "hours", "seconds", "cron", "daily"],
)
def test_each_way_of_saying_when_is_stored_and_shown_in_words(
    researcher, form, stored, values, expected, words
):
    answer = researcher.post("/admin/schedule/new/", data=form(**values), follow_redirects=True)
    schedule = stored()
    assert (schedule.cadence, schedule.interval_seconds) == expected[:2]
    assert expected[2] is None or schedule.cron == expected[2]
    assert (schedule.zone, schedule.twins_per_slot, schedule.is_enabled) == ("Europe/Rome", 3, True)
    assert schedule.next_slot_at > utc_now()
    assert words in answer.text
    assert words in researcher.get("/admin/schedule/").text


def test_the_page_shows_five_slots_with_their_zone_and_the_revisions(researcher, form, stored):
    answer = researcher.post(
        "/admin/schedule/new/",
        data=form(kind="cron", cron="0 9 * * *", zone="America/New_York"),
        follow_redirects=True,
    )
    ahead = answer.text.split('<ol class="plain ahead">')[1].split("</ol>")[0]
    assert ahead.count("09:00:00 E") == 5
    assert "America/New_York" in answer.text
    assert "It asks the only active twin, about one turn per twin every 1 d." in words_of(answer)
    researcher.post(
        f"/admin/schedule/edit/?id={stored().id}", data=form(kind="cron", cron="0 10 * * *", edit_version=1)
    )
    page = researcher.get(f"/admin/schedule/details/?id={stored().id}").text
    assert "09:00 daily" in page
    assert "10:00 daily" in page
    assert stored().revision_number == 2


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"kind": "cron", "cron": "0 0 31 2 *"}, "cron", ""),
        ({"kind": "cron", "cron": "0 0 0 1 1 *"}, "cron", ""),
        ({"kind": "cron", "cron": "٣ * * * *"}, "cron", ""),
        ({"kind": "cron", "cron": ""}, "cron", "Write a cron expression, or choose another way."),
        ({"every": ""}, "every", "Say after how many minutes, hours or seconds."),
        ({"every": "0"}, "every", ""),
        ({"unit": "hours", "every": "99999999999999999999"}, "every", ""),
        ({"anchor_at": "soon"}, "anchor_at", "Not a valid datetime value."),
        ({"anchor_at": "9999-12-31T23:59"}, "anchor_at", ""),
        ({"zone": "Mars/Olympus"}, "zone", "Mars/Olympus"),
        ({"twins_per_slot": "0"}, "twins_per_slot", "Ask 1 to 100,000 twins per slot."),
        ({"lane": "No Lane"}, "lane", "Name the lane"),
        ({"lane": "now"}, "lane", "is kept for what people ask for"),
        ({"experiment": ""}, "experiment", "This must not be empty."),
        ({"experiment": "all"}, "experiment", ""),
        ({"experiment": "999"}, "experiment", ""),
        ({"missed_policy": "explode"}, "missed_policy", ""),
        ({"overlap_policy": "pile up"}, "overlap_policy", ""),
        ({"first_day": "tomorrow"}, "first_day", "Not a valid date value."),
        ({"first_day": "2990-12-02", "last_day": "2990-12-01"}, "last_day", "choose the same day or a later"),
        ({"last_day": "2020-01-01"}, "last_day", "No slot is left: its last day is 1 Jan 2020."),
        ({"jitter_seconds": "901"}, "jitter_seconds", "as close as 15 min, and the jitter must not be"),
        ({"jitter_seconds": "-1"}, "jitter_seconds", "The jitter is a whole number of seconds"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_used_is_said_at_its_field_and_nothing_is_saved(
    researcher, form, session, values, field, words
):
    answer = researcher.post("/admin/schedule/new/", data=form(**values))
    assert answer.status_code == 400
    assert f'<div id="{field}-error">' in answer.text
    assert words in answer.text
    assert session.scalars(select(Schedule)).all() == []
    assert session.scalars(select(ScheduleRevision)).all() == []


def test_days_jitter_and_policies_are_stored_shown_and_edited(researcher, form, stored, session):
    values = form(
        kind="cron", cron="0 9,18 * * *", first_day="2998-12-01", last_day="2998-12-14",
        jitter_seconds="600", missed_policy="fire_once", overlap_policy="allow",
    )  # fmt: skip
    page = researcher.post("/admin/schedule/new/", data=values, follow_redirects=True).text
    row = stored()
    assert (row.first_day, row.last_day, row.jitter_seconds) == (date(2998, 12, 1), date(2998, 12, 14), 600)
    assert (row.missed_policy, row.overlap_policy) == (MissedPolicy.fire_once, OverlapPolicy.allow)
    words = "09:00 and 18:00 daily, 1–14 Dec 2998, each attempt up to 10 min later"
    assert words in page
    page = researcher.get(f"/admin/schedule/details/?id={row.id}").text
    assert page.count(words) >= 3, "above, among the facts, in the revision"
    for said in ("1 Dec 2998", "14 Dec 2998", "fire once afterwards", "fire it too"):
        assert said in page
    assert words in researcher.get("/admin/schedule/").text
    page = researcher.get(f"/admin/schedule/edit/?id={row.id}").text
    assert 'value="2998-12-01"' in page and 'value="2998-12-14"' in page and 'value="600"' in page
    values |= {"last_day": "2998-12-15", "zone": "Europe/Rome", "edit_version": 1}
    researcher.post(f"/admin/schedule/edit/?id={row.id}", data=values)
    assert (stored().revision_number, stored().last_day) == (2, date(2998, 12, 15))
    exported = researcher.get("/admin/schedule/export/csv/").text
    assert "2998-12-01,2998-12-15,600" in exported


def test_a_schedule_past_its_last_day_has_ended_on_it_and_is_not_broken(researcher, form, stored, write):
    researcher.post("/admin/schedule/new/", data=form(kind="cron", cron="0 9 * * *", last_day="2998-12-14"))
    with write() as own:
        own.execute(update(Schedule).values(next_slot_at=None, last_day=date(2020, 2, 1)))
    page = researcher.get("/admin/schedule/").text
    assert "ended" in page and "on 1 Feb 2020" in page
    assert "broken" not in page
    page = researcher.get(f"/admin/schedule/details/?id={stored().id}").text
    assert "No slot is left: its last day is 1 Feb 2020. To go on, give it a later one." in page
    assert "is broken" not in researcher.get("/admin/").text


OVER = {"next_slot_at": None, "last_day": date(2020, 2, 1)}
PAUSED = {"paused_at": NOON, "paused_by": "ann@example.org", "paused_reason": "exam week"}
BROKEN = {"broken_reason": "It never comes."}


@pytest.mark.parametrize(
    ("values", "words", "button"),
    [
        pytest.param({"is_enabled": True}, "enabled", True, id="enabled"),
        pytest.param({"is_enabled": False}, "disabled", False, id="disabled"),
        pytest.param(PAUSED, "paused Paused since", False, id="paused"),
        pytest.param(PAUSED | {"is_enabled": False}, "disabled Paused since", False, id="paused, disabled"),
        pytest.param(PAUSED | OVER, "ended on 1 Feb 2020", False, id="paused, past its last day"),
        pytest.param(OVER, "ended on 1 Feb 2020", False, id="past its last day"),
        pytest.param(PAUSED | BROKEN, "broken It never comes.", False, id="paused, broken"),
        pytest.param(PAUSED | {"is_archived": True, "is_enabled": False}, "archived", False, id="archived"),
    ],
)
def test_of_several_states_the_one_that_matters_is_shown(
    researcher, form, stored, write, values, words, button
):
    researcher.post("/admin/schedule/new/", data=form())
    with write() as own:
        own.execute(update(Schedule).values(**values))
    address = f"/admin/schedule/?archived={'yes' if values.get('is_archived') else ''}"
    page = researcher.get(address)
    state = page.text.split('data-label="State">')[1].split("</td>")[0]
    assert " ".join(re.sub(r"<[^>]+>", " ", state).split()).startswith(words)
    assert ("/admin/schedule/pause/?id=" in page.text) is button
    assert ("is paused" in words_of(researcher.get("/admin/"))) is (values == PAUSED)


def test_every_field_of_the_form_explains_itself_with_an_example(researcher, rows):
    page = researcher.get("/admin/schedule/new/").text
    for field in ScheduleForm():
        if field.short_name != "edit_version":
            assert "or example" in field.description, field.short_name
            assert escape(field.description) in page, field.short_name


def test_only_an_administrator_schedules_all_experiments(sign_in, form, stored):
    browser = sign_in("administrator")
    assert "all running experiments" in browser.get("/admin/schedule/new/").text
    assert browser.post("/admin/schedule/new/", data=form(experiment="all")).status_code == 302
    assert stored().experiment_id is None
    assert "all running experiments" in browser.get("/admin/schedule/?experiment=").text


def test_the_anchor_is_read_and_shown_in_the_schedules_zone(researcher, form, stored):
    researcher.post("/admin/schedule/new/", data=form(anchor_at="2026-01-05T09:30", unit="hours", every="2"))
    assert stored().anchor_at.isoformat() == "2026-01-05T08:30:00+00:00"
    page = researcher.get(f"/admin/schedule/edit/?id={stored().id}").text
    assert 'value="2026-01-05T09:30"' in page


def test_saving_without_a_change_of_intent_makes_no_revision(researcher, form, stored):
    researcher.post("/admin/schedule/new/", data=form(anchor_at="2026-01-05T09:30"))
    edited = form(name="Renamed", anchor_at="2026-01-05T09:30", zone="Europe/Rome", edit_version=1)
    researcher.post(f"/admin/schedule/edit/?id={stored().id}", data=edited)
    assert (stored().name, stored().revision_number) == ("Renamed", 1)


HALF_PAST_TWO_AGAIN = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)  # the clocks of Rome have gone back


@pytest.fixture
def opened(researcher, rows, write):
    """`opened(cron=…)` adds such a schedule; gives the address of its form and what that sends untouched."""

    def add(**wish):
        with write() as own:
            experiment = own.get_one(Experiment, rows.experiment.id)
            wish = schedules.Wish("Old", experiment, is_enabled=True, **wish)
            key = schedules.add_schedule(own, wish, utc_now()).id
        address = f"/admin/schedule/edit/?id={key}"
        return address, fields_of(researcher.get(address), "every")

    return add


@pytest.mark.parametrize(
    "wish",
    [
        pytest.param({"interval_seconds": 90}, id="90 s"),
        pytest.param({"interval_seconds": 3601}, id="3601 s"),
        pytest.param(
            {"interval_seconds": 900, "anchor_at": NOON.replace(second=37)}, id="an anchor with seconds"
        ),
        pytest.param(
            {"interval_seconds": 7200, "anchor_at": HALF_PAST_TWO_AGAIN}, id="an anchor in a repeated hour"
        ),
        pytest.param(
            {"interval_seconds": 900, "anchor_at": HALF_PAST_TWO_AGAIN.replace(second=7)}, id="both of them"
        ),
        pytest.param({"cron": "0  9 * * *", "jitter_seconds": 30}, id="cron"),
    ],
)
def test_saving_an_untouched_form_changes_nothing(researcher, stored, opened, wish):
    address, sent = opened(**wish)
    was = {key: getattr(stored(), key) for key in INTENT}
    assert researcher.post(address, data=sent | {"name": "Renamed"}).status_code == 302
    assert {key: getattr(stored(), key) for key in INTENT} == was
    assert (stored().name, stored().revision_number) == ("Renamed", 1)


def test_an_anchor_shows_its_seconds_and_is_read_anew_when_it_or_its_zone_is_another(
    researcher, stored, opened
):
    address, sent = opened(interval_seconds=7200, anchor_at=HALF_PAST_TWO_AGAIN.replace(second=7))
    assert sent["anchor_at"] == "2026-10-25T02:30:07"
    assert 'step="1"' in researcher.get(address).text
    researcher.post(address, data=sent | {"anchor_at": "2026-10-25T09:15:08", "reason": "x"})
    assert stored().anchor_at == datetime(2026, 10, 25, 8, 15, 8, tzinfo=UTC)
    sent = fields_of(researcher.get(address), "every")
    researcher.post(address, data=sent | {"zone": "America/New_York", "reason": "x"})
    assert stored().anchor_at == datetime(2026, 10, 25, 13, 15, 8, tzinfo=UTC)


def test_an_edit_of_what_somebody_else_changed_is_refused(researcher, form, stored):
    researcher.post("/admin/schedule/new/", data=form())
    researcher.post("/admin/schedule/disable/", data={"id": stored().id, "reason": "exams"})
    answer = researcher.post(
        f"/admin/schedule/edit/?id={stored().id}", data=form(name="Other", edit_version=1)
    )
    assert "Somebody else has saved this" in answer.text
    assert (stored().name, stored().is_enabled) == ("Chatter", False)


def test_enable_disable_and_archive_from_the_row(researcher, form, stored):
    data = form()
    data.pop("is_enabled")
    researcher.post("/admin/schedule/new/", data=data)
    row = {"id": stored().id, "url": "/admin/schedule/", "reason": "as planned"}
    answer = researcher.post("/admin/schedule/enable/", data=row, follow_redirects=True)
    assert "It fires with its next slot, not at once." in answer.text
    assert stored().is_enabled
    assert stored().next_slot_at > utc_now() - timedelta(seconds=5)
    researcher.post("/admin/schedule/pause/", data={**row, "reason": "holiday"})
    researcher.post("/admin/schedule/disable/", data=row)
    answer = researcher.post("/admin/schedule/enable/", data=row, follow_redirects=True)
    assert "is enabled and still paused. It fires after you resume it." in answer.text
    researcher.post("/admin/schedule/archive/", data=row)
    assert (stored().is_enabled, stored().is_archived) == (False, True)
    researcher.get("/admin/")  # the messages
    assert "Chatter" not in researcher.get("/admin/schedule/").text
    assert "Chatter" in researcher.get("/admin/schedule/?archived=yes").text
    answer = researcher.post("/admin/schedule/enable/", data=row, follow_redirects=True)
    assert "This schedule is archived. Make a new one." in answer.text
    assert researcher.get(f"/admin/schedule/edit/?id={row['id']}").status_code == 400


def test_switching_the_selected_names_them(researcher, rows, write, session):
    with write() as own:
        experiment = own.merge(rows.experiment)
        keys = [
            schedules.add_schedule(own, schedules.Wish(name, experiment, cron="@daily"), NOON).id
            for name in ("Morning", "Evening")
        ]
    answer = researcher.post(
        "/admin/schedule/action/",
        data={"action": "enable", "rowid": keys, "reason": "the course begins"},
        follow_redirects=True,
    )
    assert "Enabled: Morning, Evening." in answer.text
    assert session.scalars(select(Schedule.is_enabled)).all() == [True, True]


def test_the_list_shows_what_became_of_the_last_slot(researcher, rows, write):
    with write() as own:
        schedule = schedules.add_schedule(
            own, schedules.Wish("Chatter", own.merge(rows.experiment), cron="@hourly"), NOON
        )
        own.flush()
        revision = own.scalars(select(ScheduleRevision)).one()
        for hours, kind, count in ((1, SlotKind.fired, 1), (5, SlotKind.missed, 4)):
            own.add(
                Slot(
                    schedule_id=schedule.id,
                    revision_id=revision.id,
                    slot_at=NOON + timedelta(hours=hours),
                    kind=kind,
                    slot_count=count,
                )
            )
    page = researcher.get("/admin/schedule/").text
    assert "missed × 4" in page
    assert "</svg>fired" not in page  # the pill is the newest slot's; the one before it is a mark


def test_while_the_queue_is_down_the_schedule_is_saved_and_that_is_said(researcher, form, stored):
    answer = researcher.post("/admin/schedule/new/", data=form(), follow_redirects=True)
    assert "What you changed is saved: slots are claimed on time all the same" in answer.text
    assert stored().is_enabled
