"""Copying an experiment in the browser, and comparing it with its copies."""

from sqlalchemy import func, select, update

from pdsapp.domain.reasons import ExperimentState
from pdsapp.models import DigitalTwin, Experiment, ProtocolChange, Schedule
from pdsapp.services import schedules
from tests.conftest import NOON
from tests.web.looking import counted_queries, fields_of, words_of


def address(rows, page):
    return f"/admin/experiment/{page}/?id={rows.experiment.id}"


def copy(browser, rows, names="Section 1\nSection 2", **values):
    form = fields_of(browser.get(address(rows, "clone")), "names") | {"names": names} | values
    return browser.post(address(rows, "clone"), data=form, follow_redirects=True)


def count(session, kind=Experiment):
    session.rollback()
    return session.scalar(select(func.count(kind.id)))


def test_six_sections_are_made_in_one_go(researcher, rows, session):
    names = "\n".join(f"Section {number}" for number in range(1, 7))
    words = words_of(copy(researcher, rows, names))
    assert "Copied Campus climate" in words and "Their schedules are switched off." in words
    assert "Section 6" in words and "the same" in words
    assert (count(session), count(session, DigitalTwin)) == (7, 7)


def test_schedules_come_along_switched_off(researcher, rows, session, write):
    with write() as writing:
        row = writing.get_one(Experiment, rows.experiment.id)
        schedules.add_schedule(
            writing, schedules.Wish("Hourly", row, cron="0 * * * *", is_enabled=True), NOON
        )
    words = words_of(copy(researcher, rows, "Section 1"))
    assert "Copied Campus climate" in words
    session.rollback()
    found = session.execute(select(Schedule.name, Schedule.is_enabled).order_by(Schedule.id)).all()
    assert found == [("Hourly", True), ("Hourly", False)]


def test_names_that_cannot_be_used_keep_the_input_and_make_nothing(researcher, rows, session):
    answer = copy(researcher, rows, "Same\nsame")
    assert answer.status_code == 400
    assert "“Same” stands here twice" in words_of(answer)
    assert "Same\nsame</textarea>" in answer.text
    assert count(session) == 1


def test_a_policy_is_copied_to_the_chosen_ones_and_the_diff_is_shown_before(researcher, rows, session, write):
    copy(researcher, rows)
    with write() as writing:
        writing.execute(update(Experiment).values(state=ExperimentState.running))
    page = address(rows, "policy")
    form = fields_of(researcher.get(page), "share_cap") | {"share_cap": "50", "reason": "pilot"}
    researcher.post(page, data=form)
    shown = words_of(researcher.get(address(rows, "siblings")))
    assert "differs in 1" in shown and "Share cap 0.70 → 0.50" in shown
    first = session.scalars(select(Experiment.id).where(Experiment.name == "Section 1")).one()
    wish = {"id": rows.experiment.id, "target": [first], "part": "policy"}
    refused = researcher.post("/admin/experiment/copy-part/", data=wish, follow_redirects=True)
    assert "Say in a few words why" in words_of(refused)
    done = researcher.post(
        "/admin/experiment/copy-part/", data=wish | {"reason": "all sections alike"}, follow_redirects=True
    )
    assert "is now that of 1 experiment more" in words_of(done)
    assert count(session, ProtocolChange) == 2


def test_an_experiment_without_copies_says_what_they_are_good_for(viewer, rows):
    words = words_of(viewer.get(address(rows, "siblings")))
    assert "This experiment has no copies." in words
    assert "Copy …" not in words


def test_a_viewer_compares_and_copies_nothing(viewer, rows, session):
    assert viewer.get(address(rows, "clone")).status_code == 403
    assert viewer.post(address(rows, "clone"), data={"names": "A"}).status_code == 403
    wish = {"id": rows.experiment.id, "part": "policy", "target": "1", "reason": "x"}
    assert viewer.post("/admin/experiment/copy-part/", data=wish).status_code == 403
    assert count(session) == 1


def test_hostile_names_are_text(researcher, rows):
    evil = '<script>alert(1)</script>{{7*7}}"><img src=x>'
    answer = copy(researcher, rows, evil)
    assert "<script>alert" not in answer.text and "<img" not in answer.text
    assert evil in words_of(answer) or "&lt;script&gt;" in answer.text


def test_the_table_of_copies_costs_the_same_for_two_and_for_ten(researcher, rows):
    copy(researcher, rows, "A\nB")
    with counted_queries() as few:
        researcher.get(address(rows, "siblings"))
    copy(researcher, rows, "\n".join("CDEFGHIJ"))
    with counted_queries() as many:
        researcher.get(address(rows, "siblings"))
    assert len(few) == len(many)


def test_after_copying_one_click_leads_to_the_start_of_the_copies(researcher, rows, session):
    page = copy(researcher, rows, "\n".join(f"Hall {number}" for number in range(8)))
    keys = session.scalars(select(Experiment.id).where(Experiment.name.like("Hall%"))).all()
    start = f"/admin/experiment/start-several/?{'&amp;'.join(f'id={key}' for key in keys)}"
    assert f'<a href="{start}">Start …</a>' in page.text
    assert f'<a href="/admin/experiment/details/?id={keys[0]}">Hall 0' in page.text
    assert "and 2 more." in words_of(page)
    assert "Start 8 experiments" in words_of(researcher.get(start.replace("&amp;", "&")))
