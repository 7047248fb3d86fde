"""Limits on the screens: set with the posting policy, shown in words, named on the attempt's page."""

import re
from datetime import timedelta

import pytest
from sqlalchemy import select

from pdsapp.database import transaction
from pdsapp.models import Attempt, Experiment, ProtocolChange, utc_now
from pdsapp.services import limits
from tests import model_server as fake
from tests.attempt_rows import add_row
from tests.builders import SHORT_POST, add_attempt, make_experiment, make_token, make_twin, run_due
from tests.web.looking import fields_of, words_of

ALL = {
    "quiet_from": "22:00",
    "quiet_until": "7:00",
    "posts_per_day": "3",
    "min_gap_seconds": "15 min",
    "max_draft_age_seconds": "600",
}


def page_of(experiment):
    return f"/admin/experiment/policy/?id={experiment.id}"


def save(browser, experiment, **values):
    """Sends the form of the policy with other values, as a person who looked at it."""
    form = fields_of(browser.get(page_of(experiment)), "share_cap")
    return browser.post(page_of(experiment), data=form | {"reason": "as agreed"} | values)


def stored(session):
    session.rollback()
    return (
        session.scalars(select(Experiment).execution_options(populate_existing=True))
        .one()
        .policy.body.get("limits", {})
    )


def test_limits_are_set_with_the_policy_and_shown_in_words(researcher, rows, session):
    assert save(researcher, rows.experiment, **ALL).status_code == 302
    assert stored(session) == {
        "quiet_from": "22:00",
        "quiet_until": "07:00",
        "posts_per_day": 3,
        "min_gap_seconds": 900,
        "max_draft_age_seconds": 600,
    }
    words = words_of(researcher.get(f"/admin/experiment/details/?id={rows.experiment.id}"))
    assert "Quiet hours 22:00–07:00 in Europe/Rome" in words
    assert "Posts a day at most 3 of each twin, days of Europe/Rome" in words
    assert "Gap at least 15 min between two posts of a twin" in words
    assert "Age of a draft at most 10 min after the decision" in words


def test_limits_are_changed_and_taken_away_through_the_form(researcher, rows, session):
    save(researcher, rows.experiment, posts_per_day="3", min_gap_seconds="90")
    shown = researcher.get(page_of(rows.experiment)).text
    assert re.search(r'name="posts_per_day"[^>]*value="3"', shown)
    assert re.search(r'name="min_gap_seconds"[^>]*value="1 min 30 s"', shown)
    save(researcher, rows.experiment, posts_per_day="", min_gap_seconds=" none ")
    assert stored(session) == {}
    changes = session.scalars(select(ProtocolChange).order_by(ProtocolChange.id)).all()
    assert [change.after.get("limits", {}) for change in changes] == [
        {"posts_per_day": 3, "min_gap_seconds": 90},
        {},
    ]


def test_the_experiment_s_own_form_keeps_the_limits(researcher, rows, session):
    save(researcher, rows.experiment, posts_per_day="3")
    page = f"/admin/experiment/edit/?id={rows.experiment.id}"
    form = fields_of(researcher.get(page), "zone") | {"name": "Other"}
    assert researcher.post(page, data=form).status_code == 302
    assert stored(session) == {"posts_per_day": 3}


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"quiet_from": "22:00"}, "quiet_until", "fill in both, or neither"),
        ({"quiet_from": "22:00", "quiet_until": "22:00"}, "quiet_until", "begin and end at the same time"),
        ({"quiet_from": "10 pm", "quiet_until": "07:00"}, "quiet_from", "Write a time of day as HH:MM"),
        ({"posts_per_day": "0"}, "posts_per_day", "whole number from 1 to 10,000"),
        ({"posts_per_day": "three"}, "posts_per_day", "Write a whole number of posts"),
        ({"min_gap_seconds": "soon"}, "min_gap_seconds", "15 min, 90 s or 2 h"),
        ({"min_gap_seconds": "99 d"}, "min_gap_seconds", "between 1 second and 31 days"),
        ({"max_draft_age_seconds": "1 s"}, "max_draft_age_seconds", "between 10 seconds and 7 days"),
        ({"max_draft_age_seconds": "\x00"}, "max_draft_age_seconds", "Write a span of time"),
    ],
)
def test_limits_that_cannot_be_used_are_said_at_their_field_and_change_nothing(
    researcher, rows, session, values, field, words
):
    answer = save(researcher, rows.experiment, **values)
    assert answer.status_code == 400
    error = re.search(rf'id="{field}-error">(.*?)</div>', answer.text, re.S)[1]
    assert words in error
    assert stored(session) == {}
    assert session.scalars(select(Experiment.name)).one() == "Campus climate"


def test_a_viewer_sees_limits_and_cannot_set_them(viewer, rows, session):
    assert "Quiet hours none" in words_of(viewer.get(f"/admin/experiment/details/?id={rows.experiment.id}"))
    answer = viewer.post(page_of(rows.experiment), data={"edit_version": "1", "posts_per_day": "3"})
    assert answer.status_code == 403
    assert stored(session) == {}


@pytest.fixture
def limited(app, settings, model_server):
    """A twin that may post once a day."""
    study = make_experiment("Campus climate")
    with transaction() as session:
        row = session.get_one(Experiment, study.id)
        limits.change_limits(session, row, {"posts_per_day": 1}, utc_now())
    return make_twin(study, "dr_okafor", make_token(settings, model_server.base_url))


def test_post_now_says_at_once_that_a_limit_holds_it_back(researcher, settings, session, limited):
    press = {"id": limited.id, "request_id": "web-" + "a" * 32}
    first = researcher.post("/admin/digitaltwin/post-now/", data=press, follow_redirects=True)
    assert "A limit holds it back" not in first.text
    run_due(settings)
    press["request_id"] = "web-" + "b" * 32
    words = words_of(researcher.post("/admin/digitaltwin/post-now/", data=press, follow_redirects=True))
    assert "A limit holds it back as things are. It has posted once today, and 1 a day is the most." in words
    run_due(settings)
    attempt = session.scalars(select(Attempt).order_by(Attempt.id.desc())).first()
    answer = researcher.get(f"/attempts/{attempt.uuid}")
    words = words_of(answer)
    assert "@dr_okafor stayed silent" in words
    assert "It has posted once today, and 1 a day is the most. The next day begins on" in words
    assert f'href="/admin/experiment/details/?id={limited.experiment_id}#limits"' in answer.text
    assert "The twin was held back by the daily limit all the same." in words
    assert 'class="draw big hatched"' in answer.text


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("daily_limit", "the daily limit"),
        ("min_gap", "the least gap between its posts"),
        ("quiet_hours", "quiet hours"),
    ],
)
@pytest.mark.parametrize(("draw", "said"), [(0.9, "post"), (0.1, "stay silent")])
def test_the_page_of_an_attempt_says_what_the_rule_said_and_what_held_it_back(
    viewer, session, limited, reason, words, draw, said
):
    at = utc_now() - timedelta(minutes=5)
    number = add_row(limited, "skipped", reason, at, draw=draw, age_hours=2)
    answer = viewer.get(f"/attempts/{session.get_one(Attempt, number).uuid}")
    shown = words_of(answer)
    assert f"The rule said {said}; held back by {words}." in shown
    would = "posted" if said == "post" else "skipped"
    assert f"held back by {words}; the rule would have {would}" in shown
    assert 'class="draw big hatched"' in answer.text
    timeline = re.search(r'<ol class="timeline">.*?</ol>', answer.text, re.S)[0]
    assert f"The rule said {said}" in timeline and "Decided to" not in timeline


def test_a_draft_that_was_called_off_shows_its_text_and_the_limit(
    app, viewer, settings, session, model_server, limited
):
    def write(_request):
        with app.app_context(), transaction() as writing:
            row = writing.get_one(Experiment, limited.experiment_id)
            changes = {"posts_per_day": None, "max_draft_age_seconds": 10}
            limits.change_limits(writing, row, changes, utc_now())
            writing.scalars(select(Attempt)).one().decided_at = utc_now() - timedelta(minutes=3)
        return fake.text(SHORT_POST)

    model_server.default = write
    number = add_attempt(limited, False)
    run_due(settings)
    answer = viewer.get(f"/attempts/{session.get_one(Attempt, number).uuid}")
    words = words_of(answer)
    assert "@dr_okafor was called off" in words
    assert "It read the feed 3 min" in words and "no draft older than 10 s is published." in words
    assert "The rule said post; held back by the age of its draft." in words
    assert SHORT_POST in words
    assert "See the experiment’s limits" in words


def test_the_dashboard_counts_what_limits_held_back_and_leaves_it_out_of_the_skip_rate(viewer, limited):
    at = utc_now() - timedelta(minutes=30)
    add_row(limited, "skipped", "quiet_hours", at, draw=0.1, age_hours=2)
    add_row(limited, "skipped", "daily_limit", at, draw=0.9, age_hours=2)
    add_row(limited, "skipped", "recency", at, draw=0.1, age_hours=2)
    add_row(limited, "cancelled", "too_late", at, draw=0.9, age_hours=2)
    words = words_of(viewer.get("/admin/"))
    assert "Held back 3 3 limits, 0 operational" in words
    assert "50 % of 2 unforced draws" in words
    assert "Held back by limits 3" in words
    assert (
        "quiet hours 1" in words and "daily limit reached 1" in words and "the draft came too late 1" in words
    )
