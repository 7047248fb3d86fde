"""Pausing by hand: what the top bar offers whom, what stands on every page, and the page that asks why."""

import re
from datetime import date

import pytest
from sqlalchemy import func, select, update

from pdsapp.domain.reasons import AttemptState, ExperimentState, Reason, TokenState
from pdsapp.models import ApiToken, Attempt, AuditEvent, Experiment, Installation, Schedule, utc_now
from pdsapp.services import experiments, pauses, schedules
from pdsapp.web import frame
from tests import builders
from tests.web.looking import assert_nothing_inline, fields_of, words_of

PAGES = ("/admin/", "/activity", "/admin/persona/", "/admin/apitoken/", "/nowhere")


@pytest.fixture
def administrator(sign_in):
    """A browser of an administrator."""
    return sign_in("administrator")


def stored(session, kind):
    session.rollback()
    session.expire_all()
    return session.scalars(select(kind)).one()


def pausing_of(page):
    found = re.search(r'<details class="pausing">.*?</details>', page, re.S)
    return found[0] if found else ""


def test_everything_is_an_administrator_s_and_says_how_much_that_is(administrator, rows):
    page = administrator.get("/admin/persona/")
    assert_nothing_inline(page)
    panel = pausing_of(page.text)
    for words in (
        "Pause this experiment",
        "Stop now",
        "Pause everything (1 experiment)",
        "Stop everything now",
    ):
        assert words in panel
    builders.make_experiment("A second one")
    panel = pausing_of(administrator.get("/admin/persona/?experiment=").text)
    assert '<summary class="button">Pause everything (2 experiments)</summary>' in panel
    assert "Pause this experiment" not in panel


def test_a_researcher_is_offered_what_is_one_experiment_s(researcher, rows, session):
    panel = pausing_of(researcher.get("/admin/persona/").text)
    assert "Pause this experiment" in panel and "everything" not in panel
    for act in ("pause", "stop", "resume"):
        assert researcher.post(f"/everything/{act}").status_code == 403
    assert not stored(session, Installation).is_paused


def test_a_viewer_sees_who_paused_it_and_why_but_may_not_press(viewer, researcher, rows, session):
    identifier = rows.experiment.identifier
    researcher.post(f"/experiments/{identifier}/pause", data={"reason": "exam week"})
    page = viewer.get("/admin/persona/")
    assert re.search(
        r"This experiment is paused since \w{3} \d+ \w{3} \d{4}, \d\d:\d\d CES?T by researcher@example.org: "
        r"exam week\. No twin of it is asked\. A researcher can resume it\.",
        words_of(page),
    )
    assert pausing_of(page.text) == "" and "/resume" not in page.text
    for path in (f"/experiments/{identifier}/{act}" for act in ("pause", "stop", "resume")):
        assert viewer.post(path).status_code == 403
    assert viewer.get(f"/admin/experiment/pause/?id={rows.experiment.id}").status_code == 403
    assert stored(session, Experiment).state == ExperimentState.paused


def test_a_pause_of_everything_stands_on_every_page_until_it_is_resumed(administrator, rows, session):
    answer = administrator.post("/everything/pause", data={"reason": "<b>alarm</b>", "next": "/activity"})
    assert answer.location == "/activity"
    assert (stored(session, Installation).is_paused, stored(session, Installation).paused_by) == (
        True, "administrator@example.org",
    )  # fmt: skip
    for path in PAGES:
        page = administrator.get(path)
        assert "Everything is paused since " in words_of(page), path
        assert "by administrator@example.org: <b>alarm</b>." in words_of(page)
        assert "<b>alarm</b>" not in page.text
        assert "Resume everything" in page.text
    administrator.post("/everything/resume")
    assert "Everything is resumed." in words_of(administrator.get("/activity"))
    assert "Everything is paused" not in administrator.get("/activity").text


def test_stopping_says_what_became_of_attempts(administrator, rows, session, write):
    builders.add_attempt(rows.twin)
    administrator.post("/everything/stop", data={"reason": "wrong prompt"})
    words = words_of(administrator.get("/admin/persona/"))
    assert "1 waiting attempt was cancelled; none is being written." in words
    assert "Everything is stopped since " in words
    assert stored(session, Installation).is_stopped
    assert (stored(session, Attempt).state, stored(session, Attempt).reason) == (
        AttemptState.cancelled, Reason.paused,
    )  # fmt: skip


def test_a_stop_of_what_is_paused_has_a_reason_of_its_own(sign_in, researcher, rows, session):
    identifier = rows.experiment.identifier
    researcher.post(f"/experiments/{identifier}/pause", data={"reason": "exam week"})
    other = sign_in("researcher", "bob@example.org")
    page = other.get("/admin/persona/")
    assert_nothing_inline(page)
    form = re.search(rf'<form[^>]*action="/experiments/{identifier}/stop".*?</form>', page.text, re.S)[0]
    assert re.search(
        r'<label for="stop-reason-1">Reason .*<input id="stop-reason-1" name="reason"', form, re.S
    )
    other.post(f"/experiments/{identifier}/stop", data=fields_of(page, "reason") | {"reason": "wrong prompt"})
    row = stored(session, Experiment)
    assert (row.is_stopped, row.paused_by, row.paused_reason) == (True, "bob@example.org", "wrong prompt")
    assert 'id="stop-reason' not in other.get("/admin/persona/").text


def test_a_double_click_is_one_pause(researcher, rows, session):
    for _ in range(2):
        answer = researcher.post(f"/experiments/{rows.experiment.identifier}/pause", data={"next": "/admin/"})
        assert answer.status_code == 302
    query = select(func.count(AuditEvent.id)).where(AuditEvent.action == "pause")
    assert session.scalar(query) == 1


def test_what_is_over_says_so_instead_of_breaking(researcher, rows, session, write):
    with write() as writing:
        writing.get_one(Experiment, rows.experiment.id).state = ExperimentState.ended
    answer = researcher.post(
        f"/experiments/{rows.experiment.identifier}/stop", data={"next": "/activity"}, follow_redirects=True
    )
    assert "is ended and stays so." in words_of(answer)


def test_a_reason_too_long_changes_nothing(researcher, rows, session):
    answer = researcher.post(
        f"/experiments/{rows.experiment.identifier}/pause", data={"reason": "x" * 256}, follow_redirects=True
    )
    assert "at most 255 fit" in words_of(answer)
    assert stored(session, Experiment).state == ExperimentState.running


def test_over_all_experiments_the_paused_ones_are_named(researcher, rows, write):
    builders.make_experiment("A second one")
    with write() as session:
        pauses.pause_experiment(session, session.get_one(Experiment, rows.experiment.id), utc_now())
    words = words_of(researcher.get("/admin/persona/?experiment="))
    assert f"1 of 2 experiments is paused: Campus climate ({rows.experiment.identifier})." in words


def test_more_experiments_than_the_switcher_offers_are_counted_all_the_same(
    administrator, write, monkeypatch
):
    monkeypatch.setattr(frame, "MOST_OFFERED", 3)
    with write() as session:
        for number in range(12):
            study = experiments.add_experiment(session, f"E{number}", "UTC", utc_now())
            if number < 7:
                pauses.pause_experiment(session, study, utc_now())
    page = administrator.get("/admin/persona/?experiment=")
    assert "Pause everything (12 experiments)" in pausing_of(page.text)
    words = words_of(page)
    assert re.search(r"7 of 12 experiments are paused: E6 \(\w{5}\), .*E2 \(\w{5}\) and 2 more\. ", words)


def test_one_reason_goes_with_whichever_scope_is_pressed(administrator, rows, session):
    page = administrator.get("/admin/persona/")
    panel = pausing_of(page.text)
    assert panel.count('name="reason"') == panel.count("<form") == 1
    own = f"This experiment: Campus climate ({rows.experiment.identifier})"
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", panel) == [own, "Everything (1 experiment)"]
    acts = re.findall(r'formaction="([^"]+)"', panel)
    assert acts[2:] == ["/everything/pause", "/everything/stop"] and len(acts) == 4
    administrator.post(acts[2], data=fields_of(page, "reason") | {"reason": "a new server"})
    assert stored(session, Installation).paused_reason == "a new server"


def banners_of(page):
    return re.findall(r'<div class="attention .*?<div class="words">(.*?)</div>', page.text, re.S)


@pytest.mark.parametrize("act", ["pause", "stop"])
def test_a_pause_is_said_once_with_what_became_of_attempts(administrator, rows, act):
    builders.add_attempt(rows.twin)
    own = f"/experiments/{rows.experiment.identifier}/{act}"
    row = {"id": rows.experiment.id, "url": "/admin/persona/"}
    for path, data in (
        ("/everything/" + act, {"next": f"/admin/persona/edit/?id={rows.persona.id}"}),
        (own, {"next": "/admin/persona/"}),
        (f"/admin/experiment/{act}/", row),
    ):
        page = administrator.post(path, data=data, follow_redirects=True)
        lines = [
            line for line in banners_of(page) if " since " in line or "cancelled" in line or "waits" in line
        ]
        assert len(lines) == 1 and len(banners_of(page)) <= 2, banners_of(page)
        assert re.search(r" since .*(1 waiting attempt was cancelled|Nothing waits)", lines[0])
        for where in ("/everything/resume", f"/experiments/{rows.experiment.identifier}/resume"):
            administrator.post(where)
        administrator.get("/admin/persona/")


def test_a_pause_that_no_line_says_is_said_in_full(researcher, rows):
    builders.make_experiment("A second one")
    researcher.get("/admin/persona/?experiment=")
    data = {"id": rows.experiment.id, "url": "/admin/experiment/"}
    words = words_of(researcher.post("/admin/experiment/pause/", data=data, follow_redirects=True))
    assert "is paused. Its twins are asked no more until you resume it. Nothing waits or is written." in words


# rows


def test_the_page_of_a_row_asks_why_and_says_what_will_happen(researcher, rows, session):
    builders.add_attempt(rows.twin)
    page = researcher.get(f"/admin/experiment/pause/?id={rows.experiment.id}&url=/admin/experiment/")
    assert_nothing_inline(page)
    words = words_of(page)
    assert "1 waiting attempt is cancelled." in words
    assert "0 are being written at this moment" in words
    data = {"id": rows.experiment.id, "url": "/admin/experiment/", "reason": "wrong prompt"}
    assert researcher.post("/admin/experiment/stop/", data=data).location == "/admin/experiment/"
    row = stored(session, Experiment)
    assert (row.state, row.is_stopped, row.paused_reason) == (ExperimentState.paused, True, "wrong prompt")
    assert "stopped" in words_of(researcher.get("/admin/experiment/"))
    details = words_of(researcher.get(f"/admin/experiment/details/?id={rows.experiment.id}"))
    assert "Stopped since " in details and "by researcher@example.org: wrong prompt." in details


def test_a_schedule_is_paused_with_its_reason_and_resumed_from_its_row(researcher, rows, session, schedule):
    assert "Pause …" in researcher.get("/admin/schedule/").text
    page = researcher.get(f"/admin/schedule/pause/?id={schedule.id}")
    assert f"<h1>Pause “{schedule.name}”" in page.text
    assert "Pause schedule" in page.text and "Stop now" not in page.text.partition("<main")[2]
    researcher.post("/admin/schedule/pause/", data={"id": schedule.id, "reason": "holiday"})
    row = stored(session, Schedule)
    assert (row.paused_by, row.paused_reason, row.is_enabled) == ("researcher@example.org", "holiday", True)
    words = words_of(researcher.get("/admin/schedule/"))
    assert re.search(r"paused Paused since .* by researcher@example.org: holiday\.", words)
    assert "Schedule “Daytime” is paused since " in words_of(researcher.get("/admin/"))
    assert researcher.post("/admin/schedule/stop/", data={"id": schedule.id}).status_code == 404
    researcher.post("/admin/schedule/resume/", data={"id": schedule.id})
    assert stored(session, Schedule).paused_at is None


def test_what_is_paused_already_is_not_asked_about_again(researcher, rows, schedule):
    researcher.post("/admin/schedule/pause/", data={"id": schedule.id, "reason": "holiday"})
    page = researcher.get(f"/admin/schedule/pause/?id={schedule.id}", follow_redirects=True)
    assert page.request.path == "/admin/schedule/details/"
    words = words_of(page)
    assert "Daytime is paused already." in words and "holiday" in words and "Resume" in words
    address = f"/admin/experiment/pause/?id={rows.experiment.id}"
    researcher.post("/admin/experiment/pause/", data={"id": rows.experiment.id})
    page = researcher.get(address)
    assert f"<h1>Stop {rows.experiment.name}" in page.text and "Pause experiment" not in page.text
    researcher.post("/admin/experiment/stop/", data={"id": rows.experiment.id})
    assert "is stopped already." in words_of(researcher.get(address, follow_redirects=True))


def test_an_archived_token_stays_archived_and_offers_no_pause(researcher, rows, session):
    for state in ("pause", "archive"):
        researcher.post(f"/admin/apitoken/{state}/", data={"id": rows.token.id})
    for ask in (
        researcher.get(f"/admin/apitoken/pause/?id={rows.token.id}"),
        researcher.post("/admin/apitoken/pause/", data={"id": rows.token.id}),
    ):
        assert ask.status_code == 400
        assert (
            "Token “Lab” is archived: no twin is written with it, so there is nothing to pause."
            in words_of(ask)
        )
    assert stored(session, ApiToken).state == TokenState.archived
    page = researcher.get(f"/admin/apitoken/details/?id={rows.token.id}").text
    assert "/admin/apitoken/pause/" not in page and "/admin/apitoken/resume/" in page


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"is_enabled": False}, "“Daytime” is disabled: no slot of it comes due"),
        ({"is_archived": True}, "This schedule is archived. Make a new one."),
        ({"next_slot_at": None, "last_day": date(2020, 2, 1)}, "“Daytime” ended on 1 Feb 2020"),
    ],
    ids=["disabled", "archived", "ended"],
)
def test_a_schedule_that_fires_no_more_has_nothing_to_pause(
    researcher, session, write, schedule, values, words
):
    with write() as writing:
        writing.execute(update(Schedule).values(**values))
    answer = researcher.post("/admin/schedule/pause/", data={"id": schedule.id})
    assert answer.status_code == 400 and words in words_of(answer)
    assert stored(session, Schedule).paused_at is None


@pytest.fixture
def of_all(write):
    """The id of an enabled schedule of all experiments."""
    with write() as session:
        wish = schedules.Wish("All", None, cron="0 9 * * *", zone="UTC", is_enabled=True)
        return schedules.add_schedule(session, wish, utc_now()).id


ADDRESSES = ("pause/?id=", "disable/", "archive/", "fire/", "edit/?id=")


def test_a_researcher_is_not_offered_what_only_administrators_may(
    researcher, administrator, rows, of_all, write
):
    for page in ("/admin/schedule/?experiment=", f"/admin/schedule/details/?id={of_all}"):
        assert [each for each in ADDRESSES if f"/admin/schedule/{each}" in researcher.get(page).text] == []
        assert all(f"/admin/schedule/{each}" in administrator.get(page).text for each in ADDRESSES)
    for asks in ("pause", "edit"):
        assert researcher.get(f"/admin/schedule/{asks}/?id={of_all}").status_code == 403
        assert administrator.get(f"/admin/schedule/{asks}/?id={of_all}").status_code == 200
    administrator.post("/admin/schedule/pause/", data={"id": of_all})
    assert "/admin/schedule/resume/" not in researcher.get("/admin/schedule/?experiment=").text
    with write() as writing:
        writing.execute(update(Schedule).values(broken_reason="It never comes."))
    assert "See it" in researcher.get("/admin/").text and "Mend it" not in researcher.get("/admin/").text
    assert "Mend it" in administrator.get("/admin/").text


def test_a_schedule_of_all_experiments_is_not_a_researcher_s_to_pause(researcher, session, of_all):
    answer = researcher.post("/admin/schedule/pause/", data={"id": of_all}, follow_redirects=True)
    assert "Only administrators pause or resume a schedule of all experiments." in words_of(answer)
    assert stored(session, Schedule).paused_at is None


def test_a_token_s_row_says_who_paused_it(researcher, rows, session):
    researcher.post("/admin/apitoken/pause/", data={"id": rows.token.id, "reason": "new key"})
    assert stored(session, ApiToken).paused_by == "researcher@example.org"
    details = words_of(researcher.get(f"/admin/apitoken/details/?id={rows.token.id}"))
    assert "by researcher@example.org: new key." in details
