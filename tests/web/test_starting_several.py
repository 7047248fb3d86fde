"""Starting several drafts on one page: what it says of each, what it starts, who may."""

import pytest
from sqlalchemy import select, update

from pdsapp.domain.reasons import ExperimentState
from pdsapp.models import AuditEvent, Experiment, Membership, Post, ProtocolChange, Schedule, utc_now
from pdsapp.scheduling import projection
from pdsapp.services import accounts, cloning, schedules
from pdsapp.web import queue_sign
from tests.web.looking import assert_nothing_inline, counted_queries, fields_of, words_of

pytestmark = pytest.mark.database
PAGE = "/admin/experiment/start-several/"
LIST = "/admin/experiment/"
DRAFT, RUNNING = ExperimentState.draft, ExperimentState.running


@pytest.fixture
def sections(rows, write):
    """Three drafts with a twin and a schedule that is off; they are copies of an experiment that runs."""
    with write() as session:
        source = session.get_one(Experiment, rows.experiment.id)
        schedules.add_schedule(session, schedules.Wish("Daytime", source, cron="0 9 * * *"), utc_now())
        names = ["Section 1", "Section 2", "Section 3"]
        found = cloning.clone(session, source, names, utc_now(), with_twins=True, with_schedules=True)
        session.flush()
        return [each.id for each in found]


def put(write, key, **values):
    with write() as session:
        session.execute(update(Experiment).where(Experiment.id == key).values(**values))


def states(session, keys):
    """(state, whether its schedule is on) of each."""
    session.rollback()
    session.expire_all()
    query = select(Experiment.state, Schedule.is_enabled).join(Schedule).where(Experiment.id.in_(keys))
    return [tuple(found) for found in session.execute(query.order_by(Experiment.id))]


def start(browser, keys, **values):
    data = {"id": keys, "archives_rehearsal": "y", "accepts_warnings": "y", "switches_on": "y"} | values
    return browser.post(PAGE, data={name: value for name, value in data.items() if value})


def test_ticked_drafts_lead_to_a_page_that_says_of_each_what_is_in_its_way(researcher, rows, sections, write):
    put(write, sections[2], active_twin_count=0)
    picked = {"action": "start", "rowid": [rows.experiment.id, *sections], "url": LIST}
    answer = researcher.post(f"{LIST}action/", data=picked, follow_redirects=True)
    assert_nothing_inline(answer)
    words = words_of(answer)
    assert "Start 3 experiments" in words and "2 to accept, 1 cannot start" in words
    assert "look Worker: None is alive." in words
    assert "missing Twins: No twin is active, so there is nobody to ask." in words
    assert "Ready: Twins, Schedules, Time zone, Disclosure." in words and "Host llm.example.org" in words
    assert "Only drafts are started: Campus climate" in words and "is running." in words
    assert "2 schedules that are off, named above" in words
    assert words.count("Switched on with it: Daytime.") == 2, "not that of the one that cannot start"
    assert "Start 2 experiments" in words
    assert fields_of(answer, "switches_on")["id"] == str(sections[2]), "the last of three, no running one"


def test_one_button_starts_them_with_their_schedules_and_tells_the_queue(
    researcher, sections, session, write, monkeypatch
):
    told = []
    monkeypatch.setattr(queue_sign, "tell", lambda do: do(None) is None)
    monkeypatch.setattr(projection, "put", lambda _connection, schedule: told.append(schedule.experiment_id))
    with write() as own:
        own.execute(update(Post).values(experiment_id=sections[0], is_rehearsal=True))
    answer = start(researcher, sections)
    assert answer.location == LIST
    page = researcher.get(answer.location)
    words = words_of(page)
    assert "are running. 3 schedules switched on. 1 post of the rehearsal was archived." in words
    for key in sections:
        assert f'<a href="/admin/experiment/details/?id={key}">Section' in page.text
    assert states(session, sections) == [(RUNNING, True)] * 3
    assert told == sections
    lines = session.scalars(
        select(ProtocolChange.summary).filter_by(experiment_id=sections[0]).order_by("id")
    )
    assert lines.all()[-2:] == ["Schedule “Daytime”: state", "Started; the rehearsal was archived"]
    started = session.scalars(select(AuditEvent.after).filter_by(action="start")).all()
    assert [each["state"] for each in started] == ["running"] * 3


def test_without_the_tick_schedules_stay_off_and_that_has_to_be_accepted(researcher, sections, session):
    answer = start(researcher, sections, switches_on=None, accepts_warnings=None)
    assert answer.status_code == 400
    assert "look Schedules: None is enabled" in words_of(answer)
    assert "switches_on" not in fields_of(answer, "archives_rehearsal"), "the tick that was taken away"
    assert start(researcher, sections, switches_on=None).status_code == 302
    assert states(session, sections) == [(RUNNING, False)] * 3


def test_without_the_tick_what_has_to_be_accepted_is_named_once_and_nothing_starts(
    researcher, sections, session
):
    answer = start(researcher, sections, accepts_warnings=None)
    words = words_of(answer)
    assert answer.status_code == 400
    assert words.count("Not started: Section 1") == 2, "in the summary and at its field"
    assert "Mend this, or say that it is meant: API token “Lab”, Worker, Scheduler." in words
    assert states(session, sections) == [(DRAFT, False)] * 3


def test_one_that_cannot_start_is_named_and_keeps_its_schedules_off(researcher, sections, session, write):
    put(write, sections[1], active_twin_count=0)
    answer = start(researcher, sections)
    assert answer.status_code == 200
    words = words_of(answer)
    assert "are running. 2 schedules switched on." in words
    assert "Not started: Section 2" in words and "Twins: No twin is active" in words
    assert "Start 1 experiment" in words, "the one that is left, to be mended"
    assert states(session, sections) == [(RUNNING, True), (DRAFT, False), (RUNNING, True)]


def test_a_schedule_that_cannot_run_any_more_is_named_and_led_to(researcher, sections, session, write):
    with write() as own:
        found = own.scalars(select(Schedule).filter_by(experiment_id=sections[0])).one()
        found.first_day = found.last_day = utc_now().date().replace(year=2020)
        key = found.id
    page = researcher.get(PAGE, query_string={"id": sections})
    assert "Schedule “Daytime”: It cannot be switched on: No slot is left" in words_of(page)
    assert f'href="/admin/schedule/details/?id={key}"' in page.text
    words = words_of(start(researcher, sections))
    assert "Schedule “Daytime” cannot be switched on: No slot is left" in words
    assert states(session, sections) == [(DRAFT, False), (RUNNING, True), (RUNNING, True)]


def test_one_that_somebody_else_has_started_meanwhile_is_named_and_the_others_start(
    researcher, sections, session, write
):
    put(write, sections[0], state=RUNNING, started_at=utc_now())
    answer = start(researcher, sections)
    words = words_of(researcher.get(answer.location))
    assert "Not started: Section 1" in words and "is running: only a draft is started." in words
    assert states(session, sections) == [(RUNNING, False), (RUNNING, True), (RUNNING, True)]


def test_where_nothing_is_a_draft_the_list_says_so(researcher, rows):
    for keys, words in (([rows.experiment.id], "is running."), ([], "Select at least one"), ([99], "Select")):
        answer = researcher.get(PAGE, query_string={"id": keys}, follow_redirects=True)
        assert words in words_of(answer)


def test_a_viewer_neither_sees_nor_starts_anything(viewer, sections, session):
    assert viewer.get(PAGE, query_string={"id": sections}).status_code == 403
    assert start(viewer, sections).status_code == 403
    assert viewer.post(f"{LIST}action/", data={"action": "start", "rowid": sections}).status_code == 403
    assert "bulk-action" not in viewer.get(LIST).text
    assert states(session, sections) == [(DRAFT, False)] * 3


def test_a_researcher_starts_granted_ones_only(sign_in, sections, session, write):
    browser = sign_in("researcher", sees_all=False)
    with write() as own:
        account = accounts.find_account(own, "researcher@example.org")
        own.add(Membership(account_id=account.id, experiment_id=sections[0]))
    words = words_of(browser.get(PAGE, query_string={"id": sections}))
    assert "Start 1 experiment" in words and "Section 2" not in words
    start(browser, sections)
    assert states(session, sections) == [(RUNNING, True), (DRAFT, False), (DRAFT, False)]


def test_each_draft_costs_the_same_and_too_many_are_refused(researcher, rows, sections, write):
    def cost(keys):
        with counted_queries() as found:
            assert researcher.get(PAGE, query_string={"id": keys}).status_code == 200
        return len(found)

    cost(sections)
    one, two, three = (cost(sections[:number]) for number in (1, 2, 3))
    assert three - two <= two - one <= 20
    with write() as own:
        source = own.get_one(Experiment, rows.experiment.id)
        names = [f"Hall {number}" for number in range(50)]
        cloning.clone(own, source, names, utc_now(), with_twins=False, with_schedules=False)
    answer = researcher.get(PAGE, query_string={"id": list(range(1, 60))})
    assert (answer.status_code, "at most 50 are started at once" in words_of(answer)) == (400, True)
