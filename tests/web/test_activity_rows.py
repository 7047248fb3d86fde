"""A row of the stream opened in place: what it fetches, for whom, and at what price."""

import re
from datetime import timedelta

import pytest

from pdsapp.domain.reasons import CallState, Reason
from pdsapp.models import Attempt, Membership, ModelCall, Post, utc_now
from pdsapp.services import accounts
from tests.attempt_rows import add_row
from tests.builders import make_experiment, make_twin
from tests.web.looking import assert_nothing_inline, counted_queries, words_of


def ago(**spans):
    return utc_now() - timedelta(**spans)


@pytest.fixture
def twin(app):
    return make_twin(make_experiment("Campus climate", "Europe/Rome"), "dr_okafor")


@pytest.fixture
def brief_of(viewer, write):
    """The answer for an attempt's brief, as a viewer gets it."""
    return lambda number: viewer.get(f"/attempts/{_uuid(write, number)}/brief")


def add_call(write, number, **values):
    with write() as session:
        attempt = session.get_one(Attempt, number)
        session.add(
            ModelCall(
                attempt_id=number, experiment_id=attempt.experiment_id, endpoint="https://llm.example.org/v1",
                started_at=attempt.created_at, finished_at=attempt.created_at,
                **{"state": CallState.answered, "http_status": 200, "latency_ms": 1400, "prompt_tokens": 412,
                   "completion_tokens": 31, "reply": "Secret reply.", "model_asked": "gpt", **values},
            )
        )  # fmt: skip


def test_each_row_leads_to_its_attempt_and_says_where_it_is_told_in_short(viewer, twin, write):
    uuid = _uuid(write, add_row(twin, "posted", "drawn", ago(minutes=9), draw=0.9))
    page = viewer.get("/activity")
    link = re.search(r'<a class="opener"[^>]*>', page.text)[0]
    assert f'href="/attempts/{uuid}"' in link and f'data-brief-url="/attempts/{uuid}/brief"' in link
    assert 'aria-label="What happened: @dr_okafor"' in link
    polled = viewer.get("/activity/rows?since=0.0.0")
    assert link in polled.text
    assert "opener" not in viewer.get("/admin/").text, "only the stream's rows are opened in place"


def test_a_post_is_told_with_decision_draw_and_calls(brief_of, twin, write):
    number = add_row(
        twin, "posted", "drawn", ago(minutes=9), "The bus came.", draw=0.9, age_hours=2, own_count=3
    )
    add_call(write, number)
    add_call(
        write, number, is_rewrite=True, state=CallState.failed, http_status=503, error=Reason.endpoint_down
    )
    answer = brief_of(number)
    words = words_of(answer)
    assert "The bus came. 13 characters, asked for about 112" in words
    assert (
        "Last post 2 h ago: 0.50; 3 of the last 20 posts are its own: 0.15; drew 0.90 ≥ 0.65: posts." in words
    )
    assert "First call HTTP 200, 1.4 s, 412 tokens in, 31 out" in words
    assert re.search(r"Second call, a rewrite HTTP 503, 1.4 s, 412 tokens in, 31 out, \w+", words)
    assert "Secret reply." not in words, "what came back stands on the attempt's page"
    assert answer.text.count("<svg") == 1 and "drew 0.90" in answer.text
    assert f'href="/attempts/{_uuid(write, number)}">See the whole attempt' in answer.text
    assert "<html" not in answer.text
    assert_nothing_inline(answer)


@pytest.mark.parametrize(
    ("state", "reason", "values", "said", "bars"),
    [
        ("skipped", "recency", {"draw": 0.1, "age_hours": 0.5}, "The draw kept it silent: it posted", 1),
        ("skipped", "twin_busy", {"detail": "It was still at work."}, "It was still at work.", 0),
        ("failed", "deadline", {"draw": 0.9, "detail": "No answer in 90 s."}, "The rule said post.", 1),
        ("due", None, {}, "Nothing has been decided yet.", 0),
        ("running", None, {"stage": "asking"}, "Asking the model …", 0),
        ("skipped", "recency", {"draw": 0.0, "age_hours": 0.5}, "drew 0.00 < 0.80: skips.", 1),
    ],
    ids=["rule", "busy", "failed", "due", "running", "nothing but the draw"],
)  # fmt: skip
def test_silence_is_told_with_why_and_a_draw_only_where_there_was_one(
    brief_of, twin, state, reason, values, said, bars
):
    answer = brief_of(add_row(twin, state, reason, ago(minutes=9), **values))
    assert said in words_of(answer)
    assert answer.text.count('class="draw big') == bars
    assert "Model calls" not in words_of(answer)


def test_an_attempt_asked_whatever_the_draw_says_who_asked(brief_of, twin):
    number = add_row(twin, "posted", "forced", ago(minutes=9), draw=0.1, age_hours=0.5, is_forced=True)
    words = words_of(brief_of(number))
    assert "drew 0.10 < 0.80: skips, but it was asked to post whatever the draw." in words
    assert "The rule was bypassed" in words


def test_hostile_text_stays_text(brief_of, twin, write):
    number = add_row(twin, "posted", "drawn", ago(minutes=1), "<img src=x onerror=alert(1)>", draw=0.9)
    add_call(write, number, model_asked="<script>alert(2)</script>")
    failed = add_row(twin, "failed", "bad_reply", ago(minutes=1), detail="<svg onload=alert(3)>")
    for answer in (brief_of(number), brief_of(failed)):
        assert not re.search(r"<(img|script|svg onload)", answer.text)
        assert_nothing_inline(answer)
    assert "&lt;img src=x onerror=alert(1)&gt;" in brief_of(number).text
    assert "&lt;svg onload=alert(3)&gt;" in brief_of(failed).text


def test_a_brief_costs_the_same_queries_however_many_calls_there_were(twin, write, viewer):
    def cost(number):
        address = f"/attempts/{_uuid(write, number)}/brief"
        with counted_queries() as found:
            assert viewer.get(address).status_code == 200
        return len(found)

    few = add_row(twin, "posted", "drawn", ago(minutes=9), draw=0.9)
    many = add_row(twin, "posted", "drawn", ago(minutes=8), draw=0.9)
    add_call(write, few)
    for _ in range(3):
        add_call(write, many)
    assert cost(many) == cost(few) <= 12


@pytest.mark.parametrize("text", ["x", "00000000-0000-0000-0000-000000000000", "%00", "a" * 300])
def test_what_is_no_attempt_is_not_found(viewer, app, text):
    assert viewer.get(f"/attempts/{text}/brief").status_code == 404


def test_a_stranger_gets_nothing(client, twin, write):
    number = add_row(twin, "posted", "drawn", ago(minutes=9), draw=0.9)
    assert client.get(f"/attempts/{_uuid(write, number)}/brief").status_code in (302, 401)


def test_another_experiments_attempt_is_not_there_for_who_is_not_granted_it(twin, sign_in, write):
    own = make_twin(make_experiment("Own"), "ada")
    browser = sign_in("viewer", sees_all=False)
    with write() as session:
        account = accounts.find_account(session, "viewer@example.org")
        session.add(Membership(account_id=account.id, experiment_id=own.experiment_id))
    foreign, mine = (add_row(each, "posted", "drawn", ago(minutes=9), draw=0.9) for each in (twin, own))
    assert browser.get(f"/attempts/{_uuid(write, mine)}/brief").status_code == 200
    answer = browser.get(f"/attempts/{_uuid(write, foreign)}/brief")
    assert answer.status_code == 404 and "dr_okafor" not in answer.text


def test_what_became_of_a_post_that_is_gone(brief_of, twin, write):
    number = add_row(twin, "posted", "drawn", ago(minutes=9), "The bus came.", draw=0.9)
    with write() as session:
        session.query(Post).one().attempt_id = None
    assert "It posted, but the post is no longer there." in words_of(brief_of(number))


def _uuid(write, number):
    with write() as session:
        return session.get_one(Attempt, number).uuid
