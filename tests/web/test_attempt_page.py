"""The attempt page: what was decided and why, what was asked and answered, and that it can be shown."""

import json
import re
import shlex
from datetime import timedelta
from html import unescape
from uuid import uuid4

import pytest

from pdsapp.domain.reasons import AttemptStage, AttemptState
from pdsapp.models import ApiToken, Attempt, Post, PostRevision, ProcessKind, utc_now
from pdsapp.services import heartbeats
from tests.attempt_rows import add_row
from tests.builders import (
    add_attempt,
    make_experiment,
    make_person,
    make_post,
    make_token,
    make_twin,
    run_due,
)
from tests.model_server import error, html, text
from tests.web.looking import assert_nothing_inline, counted_queries, titles_of, words_of


@pytest.fixture
def study(app):
    return make_experiment("Campus climate", "America/Indiana/Indianapolis")


@pytest.fixture
def twin(study, settings, model_server):
    """A twin whose token leads to the model server."""
    return make_twin(study, "dr_okafor", make_token(settings, model_server.base_url, "lab"))


@pytest.fixture
def quick(monkeypatch):
    """Retries without waiting."""
    monkeypatch.setattr("pdsapp.attempts.calls.BACK_OFF_SECONDS", (0.0, 0.0))


def within(request):
    """A text of the length that was asked for."""
    low = int(re.search(r"between (\d+) and", request.messages[-1]["content"])[1])
    return text(("The bus came late again today and nobody was told. " * 9)[:low].rstrip().ljust(low, "!"))


def ran(settings, session, twin, forced=True):
    """An attempt of the twin, run to its end."""
    number = add_attempt(twin, forced)
    run_due(settings)
    session.expire_all()
    session.rollback()
    return session.get_one(Attempt, number)


def uuid_of(session, number):
    return session.get_one(Attempt, number).uuid


def decided(session, twin, state="skipped", reason="recency", **values):
    """The address of an attempt with a decision by the default rule."""
    at = utc_now() - timedelta(minutes=5)
    return f"/attempts/{uuid_of(session, add_row(twin, state, reason, at, **values))}"


def test_a_post_is_shown_with_everything_it_came_from(viewer, settings, session, model_server, study, twin):
    make_post(make_person(study, "walt"), "Bread is dear.")
    model_server.default = within
    attempt = ran(settings, session, twin)
    answer = viewer.get(f"/attempts/{attempt.uuid}")
    words = words_of(answer)
    assert "@dr_okafor posted" in words
    assert re.search(r"\w{3} \d+ \w{3} 20\d\d, \d\d:\d\d:\d\d E[SD]T", words)
    assert attempt.post.text in words
    assert f"{attempt.length} characters, asked for about {attempt.target_length}" in words
    assert titles_of(answer) == ["Asked for", "Claimed", "Decided to post", "Asked fake-model", "Posted"]
    assert "HTTP 200" in words and "100 tokens in, 20 out" in words
    for fact in (
        "Persona",
        "API token “lab”",
        "fake-model",
        "fp_fake",
        attempt.decision_key,
        attempt.policy.hash[:12],
    ):
        assert fact in words
    assert "@walt 5 min ago Bread is dear." in words
    assert (
        f'href="/experiments/{study.identifier}/feed?start={attempt.post.uuid}#post-{attempt.post.uuid}"'
        in answer.text
    )


def test_the_messages_are_those_that_were_sent(viewer, settings, session, model_server, twin):
    model_server.default = within
    attempt = ran(settings, session, twin)
    answer = viewer.get(f"/attempts/{attempt.uuid}")
    assert f"SHA-256 {attempt.messages_sha256[:12]} is that of what was sent" in words_of(answer)
    for message in model_server.history[-1].messages:
        assert " ".join(message["content"].split()) in words_of(answer)
    assert "Likes trains. Dislikes delays." in answer.text


def test_the_first_call_can_be_copied_as_a_command_without_the_key(
    viewer, settings, session, model_server, twin
):
    model_server.default = within
    attempt = ran(settings, session, twin)
    page = viewer.get(f"/attempts/{attempt.uuid}").text
    command = unescape(re.search(r'<pre class="msg" tabindex="0">(curl .*?)</pre>', page, re.S)[1])
    parts = shlex.split(command)
    assert parts[:2] == ["curl", f"{model_server.base_url}/chat/completions"]
    assert "Authorization: Bearer $API_KEY" in parts and "sk-test" not in command
    sent = model_server.history[-1]
    assert json.loads(parts[-1])["messages"] == sent.messages
    assert json.loads(parts[-1]) == sent.json


def test_what_became_of_the_draft_is_shown_word_by_word(viewer, settings, session, model_server, twin):
    model_server.default = lambda request: text(f'Sure! Here is a post:\n"{"So it goes. " * 8}"')
    attempt = ran(settings, session, twin)
    page = viewer.get(f"/attempts/{attempt.uuid}").text
    assert "The draft, and what was posted of it" in page
    diff = re.search(r'<div class="diff"[^>]*>(.*?)</div>', page, re.S)[1]
    after = unescape(re.sub(r"<del>.*?</del>|</?ins>", "", diff, flags=re.S))
    assert "<del>Sure" in diff and after == attempt.post.text


def test_replay_gives_the_same(viewer, settings, session, model_server, twin):
    model_server.default = within
    attempt = ran(settings, session, twin)
    assert "Replay same" in words_of(viewer.get(f"/attempts/{attempt.uuid}"))


def test_a_text_that_was_changed_behind_our_back_is_noticed(
    viewer, settings, session, write, model_server, study, twin
):
    post = make_post(make_person(study, "walt"), "Bread is dear.")
    model_server.default = within
    attempt = ran(settings, session, twin)
    with write() as other:
        other.get_one(PostRevision, (post.id, 1)).text = "Bread is cheap."
    words = words_of(viewer.get(f"/attempts/{attempt.uuid}"))
    assert "but not what was sent" in words
    assert "Replay different" in words


def test_a_service_that_is_not_here_makes_it_not_reproducible(viewer, session, twin):
    answer = viewer.get(decided(session, twin, draw=0.41, age_hours=0.5, service="lab:Quiet"))
    assert "Replay not reproducible It was decided by lab:Quiet" in words_of(answer)


def test_a_customised_service_that_breaks_is_told_and_not_a_crash(
    viewer, monkeypatch, settings, session, model_server, twin
):
    model_server.default = within
    attempt = ran(settings, session, twin)

    def broken(*_):
        raise KeyError("mood")

    monkeypatch.setattr("pdsapp.dt_service.DTService.build_messages", broken)
    words = words_of(viewer.get(f"/attempts/{attempt.uuid}"))
    assert "cannot be rebuilt: KeyError: 'mood'" in words
    assert "Replay not reproducible" in words


def test_silence_is_a_sum_a_threshold_and_a_draw(viewer, session, twin):
    address = decided(
        session, twin, reason="recency_and_share", draw=0.41, age_hours=2 + 10 / 60, own_count=3
    )
    answer = viewer.get(address)
    words = words_of(answer)
    assert "@dr_okafor stayed silent" in words
    assert "Decision drew 0.41 < 0.65: skips" in words
    assert "Last post 2 h 10 min ago between 1 h and 4 h 0.50" in words
    assert "3 of the last 20 posts are its own share 0.15, at most 0.70 0.15" in words
    assert "Skip probability 0.65" in words
    assert 'class="draw big"' in answer.text
    assert "it posted recently, and often" in words


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"age_hours": None}, "Never posted before 0.00"),
        ({"age_hours": 0.1}, "Last post 6 min ago under 1 h 0.80"),
        ({"age_hours": 9}, "Last post 9 h ago 8 h or more 0.00"),
        ({"age_hours": -1}, "the last post lies in the future and counts as just now 0.80"),
        ({"window_count": 0}, "No posts in the experiment yet 0.00"),
        ({"window_count": 1, "own_count": 1}, "The only post is its own share 1.00, at most 0.70 0.70"),
        (
            {"window_count": 13, "own_count": 1},
            "1 of the last 13 posts is its own share 0.0769, at most 0.70 0.0769",
        ),
    ],
)
def test_every_factor_has_its_words(viewer, session, twin, values, words):
    assert words in words_of(viewer.get(decided(session, twin, draw=0.05, **values)))


def test_a_sum_above_1_is_said_to_count_as_1(viewer, session, twin):
    words = words_of(viewer.get(decided(session, twin, draw=0.99, age_hours=0.5, own_count=10)))
    assert "the sum is 1.30: more than 1, counts as 1 1.00" in words


def test_a_forced_post_says_what_the_rule_would_have_done(viewer, session, twin):
    address = decided(session, twin, "posted", "forced", draw=0.1, age_hours=0.5, is_forced=True)
    answer = viewer.get(address)
    words = words_of(answer)
    assert "The rule was bypassed by a button: the draw did not count. It would have stayed silent." in words
    assert "forced; the rule would have skipped (drew 0.10 < 0.80)" in words
    assert 'class="draw big hatched"' in answer.text


def test_a_limit_says_that_the_rule_had_said_post(viewer, session, twin):
    words = words_of(viewer.get(decided(session, twin, "skipped", "daily_limit", draw=0.9)))
    assert "The rule said post; held back by the daily limit." in words
    assert "held back by the daily limit; the rule would have posted (drew 0.90 ≥ 0.00)" in words


def test_where_nothing_was_drawn_there_is_no_bar(viewer, session, twin):
    at = utc_now()
    number = add_row(
        twin, "skipped", "inactive", at, detail="The twin is not active. Activate it to let it post."
    )
    answer = viewer.get(f"/attempts/{uuid_of(session, number)}")
    words = words_of(answer)
    assert "Activate it to let it post. See the twin" in words
    assert 'class="draw' not in answer.text
    assert "Decision nothing was drawn It ended before the rule was asked." in words


def test_a_rewrite_is_shown_with_both_requests(viewer, settings, session, model_server, twin):
    model_server.enqueue("No.")
    model_server.default = within
    attempt = ran(settings, session, twin)
    words = words_of(viewer.get(f"/attempts/{attempt.uuid}"))
    assert "First call" in words and "Second call, a rewrite" in words
    assert "assistant, the draft it was asked to rewrite No." in words
    assert "Your post has 3 characters." in words


def test_what_cleaning_removed_is_said(viewer, settings, session, model_server, twin):
    model_server.default = lambda request: text(f'Sure! Here is a post:\n"{"So it goes. " * 8}"')
    attempt = ran(settings, session, twin)
    answer = viewer.get(f"/attempts/{attempt.uuid}")
    assert "Removed: a preamble" in words_of(answer) and "quotation marks around it" in words_of(answer)
    assert "Sure! Here is a post:" in words_of(answer)  # the reply stays raw
    assert "Cleaned and fitted" in titles_of(answer)


def test_a_failure_says_what_came_back_and_what_to_do(viewer, settings, session, model_server, twin, quick):
    model_server.enqueue(error(503), error(503), error(503))
    attempt = ran(settings, session, twin)
    answer = viewer.get(f"/attempts/{attempt.uuid}")
    words = words_of(answer)
    assert "@dr_okafor failed to post" in words
    assert "The endpoint has an error of its own (503)" in words and "Tried 3 times." in words
    assert "Check that the endpoint runs and that its address is right" in words
    assert words.count("HTTP 503") >= 3
    assert "The rule said post. What failed came after it." in words or "The rule was bypassed" in words
    assert titles_of(answer)[-1] == "Failed"


def test_a_reply_that_is_a_web_page_stays_text(viewer, settings, session, model_server, twin):
    model_server.enqueue(html("<script>alert(1)</script>"))
    attempt = ran(settings, session, twin)
    answer = viewer.get(f"/attempts/{attempt.uuid}")
    assert "<script>alert" not in answer.text
    assert_nothing_inline(answer)


def test_hostile_replies_and_posts_stay_text(viewer, settings, session, model_server, study, twin):
    make_post(make_person(study, "eve"), "</pre><script>alert(1)</script>{{ 7*7 }}")
    model_server.default = lambda request: text("<img src=x onerror=alert(2)> " + "and so on. " * 12)
    attempt = ran(settings, session, twin)
    answer = viewer.get(f"/attempts/{attempt.uuid}")
    assert "<script>alert" not in answer.text and "<img" not in answer.text
    assert "{{ 7*7 }}" in answer.text


def test_an_erased_post_leaves_the_page_standing(viewer, session, write, twin):
    number = add_row(twin, "posted", "drawn", utc_now(), draw=0.9)
    with write() as other:
        post = other.query(Post).filter_by(attempt_id=number).one()
        other.query(PostRevision).filter_by(post_id=post.id).delete()
        other.delete(post)
    words = words_of(viewer.get(f"/attempts/{uuid_of(session, number)}"))
    assert "It posted, but the post is no longer there." in words


# while it is waiting


def beating(write, lanes):
    with write() as session:
        heartbeats.beat(session, ProcessKind.worker, "w1", utc_now(), lanes)


def test_with_nobody_to_work_on_it_the_page_says_so(viewer, session, twin):
    answer = viewer.get(f"/attempts/{uuid_of(session, add_attempt(twin))}")
    words = words_of(answer)
    assert "@dr_okafor is about to be asked" in words
    assert "No worker serves lane “now”, so nobody will ask this twin." in words
    assert "flask worker --lanes now" in words
    assert ">Refresh</a>" in answer.text


def test_a_worker_of_another_lane_does_not_count(viewer, session, twin, write):
    beating(write, "default")
    assert "No worker serves lane" in words_of(viewer.get(f"/attempts/{uuid_of(session, add_attempt(twin))}"))


def test_a_token_without_a_model_leads_to_the_token(viewer, settings, session, twin, write):
    with write() as other:
        token = other.get_one(ApiToken, twin.api_token_id)
        token.default_model = ""
        key = token.id
    attempt = ran(settings, session, twin)
    answer = viewer.get(f"/attempts/{attempt.uuid}")
    assert "names no default model. Give it one." in words_of(answer)
    assert re.search(rf'apitoken/details/\?id={key}">Give the token a default model', answer.text)


def test_while_it_runs_the_page_says_what_is_done_and_renews_itself(viewer, session, twin, write):
    beating(write, "now")
    number = add_attempt(twin)
    with write() as other:
        attempt = other.get_one(Attempt, number)
        attempt.state, attempt.stage, attempt.claimed_at = (
            AttemptState.running,
            AttemptStage.asking,
            utc_now(),
        )
        attempt.lease_token = uuid4()
    answer = viewer.get(f"/attempts/{uuid_of(session, number)}")
    assert "Asking the model, at work since" in words_of(answer)
    assert 'data-renew="2"' in answer.text and "data-check-url" in answer.text


def state_of(browser, answer):
    """What polling gets with the cursor of the page."""
    address = re.search(r'data-check-url="([^"]*)"', answer.text)[1]
    cursor = re.search(r'data-cursor="([^"]*)"', answer.text)[1]
    return browser.get(f"{address}?since={cursor}", headers={"Accept": "application/json"})


def test_polling_says_nothing_until_something_changes(viewer, settings, session, twin, write, model_server):
    beating(write, "now")
    model_server.default = within
    number = add_attempt(twin)
    page = viewer.get(f"/attempts/{uuid_of(session, number)}")
    assert (state_of(viewer, page).status_code, state_of(viewer, page).data) == (204, b"")
    run_due(settings)
    answer = state_of(viewer, page)
    assert answer.status_code == 200
    assert (answer.json["state"], answer.json["is_over"]) == ("posted", True)
    assert "data-renew" not in viewer.get(f"/attempts/{uuid_of(session, number)}").text


def test_polling_notices_that_the_worker_died(viewer, session, twin, write):
    beating(write, "now")
    page = viewer.get(f"/attempts/{uuid_of(session, add_attempt(twin))}")
    with write() as other:
        heartbeats.farewell(other, "w1", utc_now())
    assert state_of(viewer, page).status_code == 200


@pytest.mark.parametrize("text", ["nonsense", "00000000-0000-0000-0000-000000000000", "%00", "1"])
def test_an_attempt_that_is_none_is_not_there(viewer, text):
    for address in (f"/attempts/{text}", f"/attempts/{text}/state"):
        answer = viewer.get(address)
        assert answer.status_code == 404
        assert "There is no such attempt." in words_of(answer)


def test_a_stranger_sees_no_attempt(client, session, twin):
    uuid = uuid_of(session, add_attempt(twin))
    assert client.get(f"/attempts/{uuid}").status_code == 302
    assert client.get(f"/attempts/{uuid}/state", headers={"Accept": "application/json"}).status_code == 401


def test_a_page_costs_a_bounded_number_of_queries(viewer, settings, session, model_server, study, twin):
    person = make_person(study, "walt")
    for minutes in range(20, 0, -1):
        make_post(person, minutes=minutes)
    model_server.default = within
    attempt = ran(settings, session, twin)
    with counted_queries() as found:
        viewer.get(f"/attempts/{attempt.uuid}")
    assert len(found) <= 22, len(found)
