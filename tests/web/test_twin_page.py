"""A twin's page: what the rule says now, where its endpoint comes from, when it posts; and its preview."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from pdsapp.domain.reasons import TokenState
from pdsapp.models import ApiToken, Attempt, DigitalTwin, Experiment, ModelCall, Post, Schedule, utc_now
from pdsapp.services import twins
from tests import builders
from tests.web.looking import assert_nothing_inline, words_of


def page_of(browser, twin):
    return browser.get(f"/admin/digitaltwin/details/?id={twin.id}")


def section(answer, name):
    part = re.search(rf'<section class="card[^"]*" id="{name}">.*?</section>', answer.text, re.S)
    return words_of(type("Part", (), {"text": part[0]}))


@pytest.fixture
def busy(rows, write, session):
    """The twin posted two hours and ten minutes ago, and three of the last twenty posts are its own."""
    twin = session.get_one(DigitalTwin, rows.twin.id)
    for number in range(16):
        builders.make_post(rows.person, f"Person's {number}.", minutes=200 + number)
    for minutes in (130, 180, 190):
        builders.make_post(twin.user_profile, f"Own of {minutes}.", minutes=minutes)
    with write() as own:
        own.get_one(DigitalTwin, twin.id).last_post = utc_now() - timedelta(minutes=130)
    return twin


def test_the_rule_of_this_moment_is_a_bar_without_a_draw_and_a_sentence(researcher, rows, busy):
    answer = page_of(researcher, rows.twin)
    words = section(answer, "now")
    assert "Last post 2 h 10 min ago: 0.50; 3 of the last 20 posts are its own: 0.15." in words
    assert "Skip probability 0.65." in words
    bar = re.search(r'<svg class="draw big".*?</svg>', answer.text, re.S)[0]
    assert 'aria-label="skip probability 0.65"' in bar and 'class="tick"' not in bar
    assert "drew" not in bar
    assert_nothing_inline(answer)


def test_what_holds_it_back_is_said_whatever_the_draw(researcher, rows, write):
    with write() as session:
        twins.set_twin_active(session, session.get_one(DigitalTwin, rows.twin.id), False, utc_now())
    assert "The twin is not active." in section(page_of(researcher, rows.twin), "now")


def test_endpoint_model_and_parameters_say_where_they_come_from(researcher, rows, write):
    with write() as session:
        twin = session.get_one(DigitalTwin, rows.twin.id)
        twin.parameters = {"temperature": 0.5}
        session.get_one(ApiToken, rows.token.id).parameters = {"temperature": 0.9, "max_tokens": 300}
    words = section(page_of(researcher, rows.twin), "origins")
    assert "Endpoint https://llm.example.org/v1 token “Lab”" in words
    assert "Model small token “Lab”, its default" in words
    assert "temperature 0.5 the twin" in words and "max_tokens 300 token “Lab”" in words
    with write() as session:
        session.get_one(DigitalTwin, rows.twin.id).llm_model = "large"
    assert "Model large the twin" in section(page_of(researcher, rows.twin), "origins")


def test_a_twin_without_anything_says_so(researcher, rows, write):
    with write() as session:
        session.get_one(DigitalTwin, rows.twin.id).api_token = None
    words = section(page_of(researcher, rows.twin), "origins")
    assert "Endpoint none" in words and "give the twin an API token or a URL" in words


def test_its_rhythm_counts_posts_by_hour_and_weekday_of_the_experiment(researcher, rows, session, write):
    twin = session.get_one(DigitalTwin, rows.twin.id)
    assert "there is no rhythm" in section(page_of(researcher, twin), "rhythm")
    posts = [builders.make_post(twin.user_profile, f"At {n}.") for n in range(3)]
    with write() as own:
        for post, at in zip(posts, ("2026-11-02T07:10", "2026-11-09T07:50", "2026-11-08T23:30"), strict=True):
            own.get_one(Post, post.id).created_at = datetime.fromisoformat(at).replace(tzinfo=UTC)
    answer = page_of(researcher, twin)
    body = re.search(r'<table class="rhythm">.*?</table>', answer.text, re.S)[0]
    hours = {
        row[0]: re.findall(r'<td class="heat-(\d)">(\d*)</td>', row[1])
        for row in re.findall(r'<th scope="row">(\d\d)</th>(.*?)</tr>', body, re.S)
    }
    assert hours["08"][0] == ("4", "2")  # Mondays, 08:10 and 08:50 in Rome
    assert hours["00"][0] == ("2", "1")  # Sunday 23:30 UTC is Monday there
    assert sum(int(count or 0) for row in hours.values() for _, count in row) == 3
    assert "Europe/Rome" in section(answer, "rhythm")


def test_its_latest_posts_lead_to_the_feed(researcher, rows, busy):
    answer = page_of(researcher, rows.twin)
    words = section(answer, "posts")
    assert "Own of 130." in words and "Person" not in words
    assert f"/experiments/{rows.experiment.identifier}/feed?start=" in answer.text
    (all_of_them,) = re.findall(
        r'<a href="([^"]+)">All of them</a>', answer.text.split('id="posts"')[1].split("</section>")[0]
    )
    assert "Own of 130." in words_of(researcher.get(all_of_them))


def test_the_page_asks_the_database_no_more_for_more_posts_and_attempts(
    researcher, rows, session, count_queries
):
    twin, counts = session.get_one(DigitalTwin, rows.twin.id), []
    for number in (1, 8):
        for _ in range(number):
            builders.make_post(twin.user_profile)
            builders.add_attempt(twin)
        with count_queries() as statements:
            page_of(researcher, twin)
        counts.append(len(statements))
    assert counts[0] == counts[1]


def test_a_preview_shows_the_messages_to_the_letter_and_stores_nothing(viewer, rows, busy, session):
    answer = viewer.get(f"/admin/digitaltwin/preview/?id={rows.twin.id}")
    words = words_of(answer)
    assert "No model is asked, nothing is stored or published." in words
    assert "You drove buses for thirty years." in words and "Own of 130." in words
    assert re.search(r"drew 0\.\d+ [<≥] 0\.65", words)
    assert session.scalar(select(func.count(Attempt.id))) == 0
    assert session.scalar(select(func.count(ModelCall.id))) == 0
    assert_nothing_inline(answer)
    assert "/preview/?id=" in page_of(viewer, rows.twin).text


def test_a_preview_sees_a_paused_token_and_names_paused_schedules(researcher, rows, schedule, write):
    with write() as session:
        session.get_one(ApiToken, rows.token.id).state = TokenState.paused
        found = session.get_one(Schedule, schedule.id)
        found.paused_at, found.paused_reason = utc_now(), "exam week"
    words = words_of(researcher.get(f"/admin/digitaltwin/preview/?id={rows.twin.id}"))
    assert "Would be held back" in words and "Token “Lab” is paused" in words
    assert "Daytime paused since" in words and "exam week" in words


def test_a_preview_of_nobody_is_not_found(researcher, rows):
    assert researcher.get("/admin/digitaltwin/preview/?id=999").status_code == 404
    assert researcher.get("/admin/digitaltwin/preview/").status_code == 404


def test_a_demo_s_twin_is_written_by_the_offline_writer(researcher, rows, write):
    with write() as session:
        session.get_one(DigitalTwin, rows.twin.id).api_token = None
        session.get_one(Experiment, rows.experiment.id).is_demo = True
    assert "the offline writer the experiment is a demo" in section(page_of(researcher, rows.twin), "origins")
