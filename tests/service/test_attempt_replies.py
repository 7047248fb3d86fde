"""What endpoints answer, and what becomes of it: a post, or a named failure, never anything else."""

import pytest
from sqlalchemy import func, select

from pdsapp.database import transaction
from pdsapp.domain.reasons import AttemptState, CallState, Reason, TokenState
from pdsapp.models import ApiToken, DigitalTwin, ModelCall, Post
from pdsapp.services.ledger import ledger
from tests import builders
from tests import model_server as fake
from tests.builders import SHORT_POST, ask_and_run

pytestmark = pytest.mark.database


FAULTS = [
    pytest.param(lambda: [fake.error(401, "bad key")], Reason.wrong_key, 1, id="401"),
    pytest.param(lambda: [fake.error(429, "quota", "insufficient_quota")], Reason.quota, 1, id="quota"),
    pytest.param(lambda: [fake.error(503)] * 3, Reason.endpoint_down, 3, id="503 three times"),
    pytest.param(lambda: [fake.error(429, retry_after="7200")], Reason.rate_limited, 1, id="429, two hours"),
    pytest.param(lambda: [fake.html()] * 3, Reason.bad_reply, None, id="HTML with 200"),
    pytest.param(lambda: [fake.text("")] * 3, Reason.empty_reply, None, id="empty reply"),
    pytest.param(
        lambda: [fake.error(404, "model not found", "model_not_found")],
        Reason.model_not_found,
        1,
        id="unknown model",
    ),
    pytest.param(
        lambda: [fake.text("I'm sorry, but I can't help with that.")], Reason.refused, None, id="refusal"
    ),
    pytest.param(
        lambda: [fake.text("\"I'm sorry, but I can't help with that.\"")],
        Reason.refused,
        None,
        id="quoted refusal",
    ),
    pytest.param(lambda: [fake.close_connection()] * 3, Reason.endpoint_down, 3, id="connection closed"),
    pytest.param(lambda: [fake.redirect("http://127.0.0.1:1/")], None, None, id="redirect"),
    pytest.param(lambda: [fake.data({"choices": []})] * 3, Reason.bad_reply, None, id="no choices"),
]


@pytest.mark.parametrize(("answers", "reason", "calls"), FAULTS)
def test_an_endpoint_s_fault_is_a_named_failure_and_never_a_post(
    session, settings, twin, model_server, answers, reason, calls, monkeypatch
):
    monkeypatch.setattr("pdsapp.attempts.calls.BACK_OFF_SECONDS", (0.01, 0.01))
    model_server.enqueue(*answers())
    attempt = ask_and_run(session, settings, twin)
    assert attempt.state == AttemptState.failed
    if reason is not None:
        assert attempt.reason == reason
    if calls is not None:
        assert len(attempt.calls) == calls
    assert attempt.detail
    assert "sk-test" not in attempt.detail
    assert len(attempt.calls) <= 3
    assert session.scalar(select(func.count(Post.id))) == 0
    assert session.get_one(DigitalTwin, twin.id).last_post is None
    assert ledger(session).adds_up


def test_a_refused_key_pauses_its_token_and_the_next_attempt_says_so(session, settings, twin, model_server):
    model_server.enqueue(fake.error(401, "bad key"))
    assert ask_and_run(session, settings, twin).reason == Reason.wrong_key
    token = session.scalars(select(ApiToken)).one()
    assert token.state == TokenState.paused
    assert token.paused_reason
    asked = len(model_server.calls)
    assert ask_and_run(session, settings, twin).reason == Reason.token_paused
    assert len(model_server.calls) == asked


def test_a_rate_limit_with_a_short_wait_is_waited_for(session, settings, twin, model_server):
    model_server.enqueue(fake.error(429, "slow down", retry_after="1"))
    attempt = ask_and_run(session, settings, twin)
    assert attempt.state == AttemptState.posted
    assert [call.state for call in attempt.calls][:2] == [CallState.failed, CallState.answered]
    assert attempt.calls[1].wait_ms == 1000


def test_a_reply_of_five_thousand_characters_is_rewritten_then_cut(session, settings, twin, model_server):
    model_server.default = lambda request: fake.text("Trains are late. " * 300)
    attempt = ask_and_run(session, settings, twin)
    assert attempt.state == AttemptState.posted
    assert len(attempt.calls) == 2
    assert attempt.calls[1].is_rewrite
    assert attempt.length_minimum <= attempt.length <= attempt.length_maximum
    assert attempt.fit_flags in (["cut_at_sentence"], ["cut_at_word"])


def test_a_failing_rewrite_publishes_the_first_draft_cut_to_fit(session, settings, twin, model_server):
    model_server.enqueue("Trains are late. " * 300, fake.error(400, "no"))
    attempt = ask_and_run(session, settings, twin)
    assert attempt.state == AttemptState.posted
    assert "rewrite_failed" in attempt.fit_flags
    assert attempt.model == "fake-model"


def test_quotes_and_preambles_are_cleaned_and_what_was_removed_is_kept(session, settings, twin, model_server):
    model_server.default = lambda request: fake.text(f'Sure! Here is a post:\n\n"{SHORT_POST}"')
    attempt = ask_and_run(session, settings, twin)
    assert not attempt.post.text.startswith(("Sure", '"'))
    assert attempt.cleaning_steps
    assert attempt.draft.startswith("Sure!")


def test_a_slow_drip_ends_at_the_deadline(session, settings, twin, model_server, monkeypatch):
    monkeypatch.setattr("pdsapp.attempts.calls.TOTAL_DEADLINE_SECONDS", 1.0)
    model_server.enqueue(fake.text(SHORT_POST).dripping(0.2))
    attempt = ask_and_run(session, settings, twin)
    assert (attempt.state, attempt.reason) == (AttemptState.failed, Reason.deadline)
    assert attempt.calls[0].latency_ms < 3000


def test_a_twin_without_endpoint_fails_with_what_to_do(session, settings, study):
    attempt = ask_and_run(session, settings, builders.make_twin(study))
    assert (attempt.state, attempt.reason) == (AttemptState.failed, Reason.no_endpoint)
    assert "API token" in attempt.detail


def test_an_address_that_is_not_allowed_is_never_connected_to(session, settings, study):
    token = builders.make_token(settings, "https://10.0.0.7/v1")
    attempt = ask_and_run(session, settings, builders.make_twin(study, token=token))
    assert (attempt.state, attempt.reason) == (AttemptState.failed, Reason.endpoint_refused)
    assert "PDS_LLM_ALLOWED_HOSTS" in attempt.detail


def test_a_key_is_bound_to_its_base_url(session, settings, twin, model_server):
    with transaction() as writing:
        writing.scalars(select(ApiToken)).one().base_url = "http://127.0.0.1:9/v1"
    attempt = ask_and_run(session, settings, twin)
    assert (attempt.state, attempt.reason) == (AttemptState.failed, Reason.token_broken)
    assert model_server.calls == []


def test_no_secret_is_in_the_database_in_plain_text(session, settings, twin, model_server):
    ask_and_run(session, settings, twin)
    token = session.scalars(select(ApiToken)).one()
    assert "sk-test" not in (token.secret_encrypted or "")
    assert (token.last_four, len(token.fingerprint)) == ("0001", 12)
    for call in session.scalars(select(ModelCall)):
        assert "sk-test" not in str(call.parameters)


def test_a_reply_cut_off_at_the_token_limit_ends_with_its_last_whole_sentence(
    session, settings, twin, model_server
):
    model_server.enqueue(fake.text("Trains are late. And what is wor", finish_reason="length"))
    model_server.default = lambda request: fake.text(
        "Trains are late. And what is wor", finish_reason="length"
    )
    attempt = ask_and_run(session, settings, twin)
    assert attempt.post.text == "Trains are late."
    assert attempt.fit_flags == ["too_short"]


def test_a_reply_that_repeats_the_key_is_never_a_post_and_is_not_kept(session, settings, twin, model_server):
    model_server.default = lambda request: fake.text(
        "my key is sk-test-secret-0001, keep it well, dear neighbours"
    )
    attempt = ask_and_run(session, settings, twin)
    assert (attempt.state, attempt.reason) == (AttemptState.failed, Reason.bad_reply)
    assert "key" in attempt.detail
    for call in attempt.calls:
        assert "sk-test" not in f"{call.reply}{call.detail}{call.model_returned}"


def test_a_key_cut_by_the_end_of_a_quotation_is_hidden_too(session, settings, twin, model_server):
    model_server.enqueue(fake.error(400, "x" * 180 + "sk-test-secret-0001"))
    attempt = ask_and_run(session, settings, twin)
    assert attempt.state == AttemptState.failed
    assert "sk-test" not in attempt.detail


def test_nul_in_a_reply_is_dropped(session, settings, twin, model_server):
    model_server.default = lambda request: fake.text(SHORT_POST.replace(" ", "\x00 "))
    attempt = ask_and_run(session, settings, twin)
    assert attempt.state == AttemptState.posted
    assert "\x00" not in attempt.post.text + attempt.calls[0].reply
