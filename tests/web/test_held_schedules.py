"""What every screen says of experiments and schedules while a pause holds them back."""

import re

import pytest

from pdsapp.models import Experiment, Schedule, utc_now
from pdsapp.services import pauses
from tests.web.looking import words_of

UNASKED = "paused: recorded, nobody is asked"


@pytest.fixture
def hold(rows, schedule, write):
    """`hold("everything", "stop")` pauses or stops that, with a reason."""

    def held(what, act="pause"):
        with write() as session:
            scope = {
                "everything": (),
                "experiment": (session.get_one(Experiment, rows.experiment.id),),
                "schedule": (session.get_one(Schedule, schedule.id),),
            }[what]
            getattr(pauses, f"{act}_{what}")(session, *scope, utc_now(), "exam week")

    return held


def top_of(page):
    return re.search(r'<section class="top".*?</section>', page.text, re.S)[0]


def pills_of(text):
    return re.findall(r'<span class="pill (\w+)">(?:<svg.*?</svg>)?([^<]+)</span>', text, re.S)


def state_of(page):
    return page.text.split('data-label="State">')[1].split("</td>")[0]


@pytest.mark.parametrize(("act", "word"), [("pause", "everything paused"), ("stop", "everything stopped")])
def test_nothing_says_running_while_everything_is_paused(researcher, rows, schedule, hold, act, word):
    hold("everything", act)
    for chosen in (rows.experiment.identifier, ""):
        page = researcher.get(f"/admin/persona/?experiment={chosen}")
        assert pills_of(top_of(page)) == [("paused", word)]
        assert "Pause this experiment" not in page.text
    state = state_of(researcher.get("/admin/experiment/"))
    assert pills_of(state) == [("paused", word.split()[1])] and "with everything<" in state
    details = researcher.get(f"/admin/experiment/details/?id={rows.experiment.id}")
    assert re.search(
        rf"State {word} Everything is .* exam week\. By itself it is running\.", words_of(details)
    )
    state = state_of(researcher.get("/admin/schedule/"))
    assert pills_of(state) == [("paused", word.split()[1])] and "with everything, itself enabled" in state


@pytest.mark.parametrize(
    ("what", "act", "pill", "claim"),
    [
        ("everything", "pause", "everything paused", "Everything is paused since "),
        ("everything", "stop", "everything stopped", "Everything is stopped since "),
        ("experiment", "pause", "experiment paused", "The experiment is paused since "),
        ("experiment", "stop", "experiment stopped", "The experiment is stopped since "),
        ("schedule", "pause", "paused", "This schedule is paused since "),
    ],
)
def test_next_slots_that_pass_unasked_say_so_and_by_which_pause(
    researcher, rows, schedule, hold, what, act, pill, claim
):
    address = f"/admin/schedule/details/?id={schedule.id}"
    for path in ("/admin/", address):
        assert UNASKED not in words_of(researcher.get(path)).lower(), path
    hold(what, act)
    page = researcher.get("/admin/")
    slots = page.text.split("Next slots")[1].split("</section>")[0]
    assert pills_of(slots) == [("paused", pill)]
    assert UNASKED in slots and not re.search(r">in \d", slots)
    page = researcher.get(address)
    card = page.text.split("Next slots")[1].split("</section>")[0]
    assert pills_of(card) == [("paused", pill)]
    assert re.search(rf"{claim}[^<]* by [^<]*: exam week\.", card)
    assert UNASKED.capitalize() + "." in card


def test_a_schedule_under_several_pauses_names_them_all(researcher, schedule, hold):
    for what in ("schedule", "experiment", "everything"):
        hold(what)
    card = researcher.get(f"/admin/schedule/details/?id={schedule.id}").text.split("Next slots")[1]
    claims = re.findall(r'class="reason">(.*?) since', card)
    assert claims == ["Everything is paused", "The experiment is paused", "This schedule is paused"]
