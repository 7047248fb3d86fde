"""Whom a schedule asks, on its form, its page, the list and the export."""

import re
from html import unescape

import pytest
import sqlalchemy as sa
from sqlalchemy import select
from werkzeug.datastructures import MultiDict

from pdsapp.domain.reasons import SlotKind
from pdsapp.domain.targets import Target
from pdsapp.models import DigitalTwin, Experiment, Schedule, ScheduleRevision, Slot, utc_now
from pdsapp.services import edits, schedules, twins
from pdsapp.services.schedule_wishes import Wish
from tests import builders
from tests.conftest import TEST_DATABASE_URL
from tests.web.looking import assert_nothing_inline, counted_queries, fields_of, words_of

pytestmark = pytest.mark.database
NEW = "/admin/schedule/new/"


@pytest.fixture
def cast(rows, write):
    """The experiment has @maya_reads and four more, two of them tagged morning, @kim inactive."""
    found = {"maya_reads": rows.twin}
    for name in ("jon", "kim", "ada_l", "bo"):
        found[name] = builders.make_twin(rows.experiment, name)
    with write() as session:
        for name in ("jon", "kim"):
            edits.set_tags(session, session.get_one(DigitalTwin, found[name].id), "morning")
        edits.set_tags(session, session.get_one(DigitalTwin, found["bo"].id), "<b>loud</b>")
        twins.set_twin_active(session, session.get_one(DigitalTwin, found["kim"].id), False, utc_now())
    return found


@pytest.fixture
def typed(researcher, rows, cast):
    """`typed(target="tags", tags=["morning"])` is what the form sends, with those values."""
    fields = fields_of(researcher.get(NEW), "cron") | {
        "experiment": str(rows.experiment.id), "name": "Chatter", "reason": "why not",
    }  # fmt: skip
    return lambda **values: MultiDict(fields | values)


@pytest.fixture
def opened(rows, write):
    """`opened(target)` adds such a schedule; its id."""

    def add(target, **wish):
        with write() as session:
            experiment = session.get_one(Experiment, rows.experiment.id)
            wish = Wish("Old", experiment, cron="0 9 * * *", target=target, is_enabled=True, **wish)
            return schedules.add_schedule(session, wish, utc_now()).id

    return add


def the_only(session):
    session.rollback()
    session.expire_all()
    return session.scalars(select(Schedule)).one()


def ticked(answer, name):
    boxes = re.findall(rf'<input type="checkbox" name="{name}" value="([^"]*)"( checked)?', answer.text)
    return [unescape(value) for value, is_ticked in boxes if is_ticked]


def offered(answer, name):
    return [
        unescape(v) for v in re.findall(rf'<input type="checkbox" name="{name}" value="([^"]*)"', answer.text)
    ]


def test_more_twins_than_a_statement_takes_are_refused_with_the_limit(researcher, typed, session):
    answer = researcher.post(NEW, data=typed(target="twins", twins=[f"twin_{n}" for n in range(33_000)]))
    assert answer.status_code == 400
    assert "These are 33,000 twins; at most 500 are chosen by hand." in words_of(answer)
    assert session.scalars(select(Schedule)).all() == []


def test_ticked_and_typed_twins_are_saved_and_open_as_ticked(researcher, typed, session, cast):
    data = typed(target="twins", twins=["jon"], more_twins="@BO, maya_reads\n@jon")
    answer = researcher.post(NEW, data=data, follow_redirects=True)
    assert "one of 3 chosen twins" not in words_of(answer)
    assert "Which twins @bo, @jon, @maya_reads" in words_of(answer)
    row = the_only(session)
    assert row.target == Target.chosen(cast[name].uuid for name in ("bo", "jon", "maya_reads")).to_dict()
    form = researcher.get(f"/admin/schedule/edit/?id={row.id}")
    assert ticked(form, "twins") == ["bo", "jon", "maya_reads"]
    assert not any(str(twin.uuid) in form.text for twin in cast.values()), "no UUID is shown"
    saved = MultiDict(fields_of(form, "cron"))
    saved.setlist("twins", ["bo"])
    saved["reason"] = "one is enough"
    assert researcher.post(f"/admin/schedule/edit/?id={row.id}", data=saved).status_code == 302
    assert the_only(session).target == {"twins": [str(cast["bo"].uuid)]}
    assert the_only(session).revision_number == 2


def test_tags_of_the_experiment_are_offered_with_their_counts_and_saved(researcher, typed, session):
    answer = researcher.post(NEW, data=typed(target="tags", find="1"))
    assert offered(answer, "tags") == ["<b>loud</b>", "morning"] and "<b>loud</b>" not in answer.text
    assert "morning 2 twins, 1 active" in words_of(answer)
    assert_nothing_inline(answer)
    assert researcher.post(NEW, data=typed(target="tags", tags=["morning"])).status_code == 302
    assert the_only(session).target == {"tags": ["morning"]}


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"target": "tags"}, "tags", "Tick at least one tag"),
        ({"target": "twins"}, "twins", "Tick or write at least one twin"),
        ({"target": "twins", "more_twins": "@joon"}, "more_twins", "Did you mean @jon?"),
        ({"target": "twins", "more_twins": "@ada"}, "more_twins", "is a person, not a twin"),
        ({"target": "twins", "twins": ["elsewhere"]}, "twins", "has no twin @elsewhere"),
        ({"target": "twins", "twins": ["\x00"]}, "twins", "has no twin"),
        ({"target": "tags", "tags": ["x" * 41]}, "tags", "41 characters"),
        ({"target": "tags", "tags": ["a\x07b"]}, "tags", "control character"),
        ({"target": "somebody"}, "target", ""),
    ],
)  # fmt: skip
def test_what_is_no_target_is_said_at_its_field_and_kept(researcher, typed, session, values, field, words):
    builders.make_twin(builders.make_experiment("Other"), "elsewhere")
    answer = researcher.post(NEW, data=typed(**values))
    assert answer.status_code == 400
    assert words in unescape(re.search(rf'<div id="{field}-error">(.*?)</div>', answer.text, re.S)[1])
    assert f'href="#{field}"' in answer.text and f'id="{field}"' in answer.text
    if "more_twins" in values:
        assert fields_of(answer, "cron")["more_twins"].strip() == values["more_twins"]
    if values.get("twins") == ["elsewhere"]:
        assert ticked(answer, "twins") == ["elsewhere"] and "no twin of this experiment" in words_of(answer)
    assert session.scalars(select(Schedule)).all() == []


def test_what_is_not_chosen_is_not_looked_at(researcher, typed, session):
    data = typed(target="everybody", tags=["x" * 99], more_twins="@nobody_at_all")
    assert researcher.post(NEW, data=data).status_code == 302
    assert the_only(session).target == {}


def test_a_schedule_of_all_experiments_asks_all_their_twins(administrator, typed, session, cast):
    answer = administrator.post(NEW, data=typed(experiment="all", target="tags", tags=["morning"]))
    assert answer.status_code == 400 and "Choose one experiment." in words_of(answer)
    assert session.scalars(select(Schedule)).all() == []


def test_the_preview_says_whom_it_asks(researcher, typed):
    def effect(**values):
        data = typed(every="60", preview="1", **values)
        return words_of(researcher.post(NEW, data=data, headers={"X-Part": "effect"}))

    assert "It asks one of 4 active twins" in effect(target="everybody")
    assert "It asks the only active twin tagged “morning” (1 more is not active)" in effect(
        target="tags", tags=["morning"]
    )
    assert "It asks one of the 2 chosen twins, about one turn per twin every 2 h" in effect(
        target="twins", more_twins="jon bo"
    )
    assert "nobody yet: the chosen twin is not active" in effect(target="twins", twins=["kim"])


def test_twins_are_found_by_name_in_the_part_the_page_fetches(researcher, typed, rows):
    data = typed(target="twins", twins=["bo"], find_twins="@J", preview="1")
    answer = researcher.post(NEW, data=data, headers={"X-Part": "choices"})
    assert offered(answer, "twins") == ["bo", "jon"] and ticked(answer, "twins") == ["bo"]
    assert "<html" not in answer.text
    other = researcher.post(NEW, data=typed(experiment="999", preview="1"), headers={"X-Part": "choices"})
    assert offered(other, "twins") == [] and "Choose an experiment first" in words_of(other)


def test_list_page_export_and_simulation_say_whom_it_asks(researcher, opened, cast):
    opened(Target.tagged(["morning"]), twins_per_slot=2)
    key = opened(Target.chosen([cast["bo"].uuid, cast["jon"].uuid]))
    listed = words_of(researcher.get("/admin/schedule/"))
    assert "2 twins tagged “morning”" in listed and "1 of 2 chosen twins" in listed
    export = researcher.get("/admin/schedule/export/csv/").text
    assert "twins tagged “morning”" in export and "'@bo, @jon" in export
    page = words_of(researcher.get(f"/admin/schedule/details/?id={key}"))
    assert "It asks one of the 2 chosen twins" in page and "1 of @bo, @jon" in page
    simulated = words_of(researcher.get(f"/admin/schedule/simulate/?id={key}"))
    assert "1 of the 2 twins it may ask now" in simulated


def test_the_list_costs_as_many_queries_for_many_targets_as_for_one(researcher, opened, cast):
    counts = []
    for _ in range(2):
        for twin in list(cast.values())[:3]:
            opened(Target.chosen([twin.uuid]))
        with counted_queries() as sent:
            researcher.get("/admin/schedule/")
        counts.append(len(sent))
    assert counts[0] == counts[1]


def add_slots(write, key, slots):
    with write() as session:
        revision = session.scalars(select(ScheduleRevision).where(ScheduleRevision.schedule_id == key)).one()
        at = utc_now().replace(microsecond=0)
        for number, (kind, count) in enumerate(slots):
            session.add(
                Slot(schedule_id=key, revision_id=revision.id, kind=kind, slot_count=count,
                     experiment_id=revision.experiment_id,
                     slot_at=at.replace(year=2025, month=1, day=number + 1))
            )  # fmt: skip


def test_the_last_slots_are_marks_with_words_oldest_first_and_a_run_is_one(researcher, opened, write):
    key = opened(Target())
    add_slots(write, key, [(SlotKind.paused, 1)] * 5 + [(SlotKind.missed, 14), (SlotKind.overlap, 1)]
              + [(SlotKind.clock_change, 1), (SlotKind.nobody_eligible, 1)] * 8)  # fmt: skip
    page = researcher.get("/admin/schedule/")
    strip = re.search(r'<ol class="plain slot-marks" aria-label="([^"]*)">(.*?)</ol>', page.text, re.S)
    words = re.findall(r'<span class="only-heard">([^<]*)</span>', strip[2])
    assert strip[1] == "last 33 slots, oldest to newest" and len(words) == 20
    assert words[0].endswith(": paused") and words[-1].endswith(": nobody to ask")
    assert (
        words[2].endswith("14 slots, missed")
        and '<span class="many" aria-hidden="true">14</span>' in strip[2]
    )
    legend = re.search(r'<ul class="legend marks-legend".*?</ul>', page.text, re.S)[0]
    assert "change of clocks" in legend and "fired" not in legend
    details = researcher.get(f"/admin/schedule/details/?id={key}")
    assert strip[2] in details.text


@pytest.mark.skipif(TEST_DATABASE_URL is not None, reason="PostgreSQL refuses what a column is not for")
@pytest.mark.parametrize("column", ["kind", "slot_at", "covers_until", "slot_count", "expanded_count"])
def test_a_slot_edited_by_hand_breaks_no_page(researcher, opened, write, column):
    key = opened(Target())
    add_slots(write, key, [(SlotKind.paused, 1), (SlotKind.missed, 2)])
    with write() as session:
        session.execute(sa.text("PRAGMA ignore_check_constraints = ON"))
        session.execute(sa.text(f"UPDATE slot SET {column} = 'nonsense' WHERE kind = 'missed'"))
    details = researcher.get(f"/admin/schedule/details/?id={key}")
    assert details.status_code == 200 and "1 row of slots cannot be read" in words_of(details)
    assert "paused" in words_of(details)
    for address in ("/admin/schedule/", "/admin/"):
        assert researcher.get(address).status_code == 200
