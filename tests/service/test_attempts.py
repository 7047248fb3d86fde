"""One attempt end to end, against a real database and a real HTTP endpoint."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from pdsapp.attempts import claim
from pdsapp.attempts.batch import Batch
from pdsapp.attempts.replay import replay
from pdsapp.attempts.run import run_attempt
from pdsapp.attempts.workshop import make_workshop
from pdsapp.database import transaction
from pdsapp.domain.reasons import AttemptState, CallState, ExperimentState, Reason, TokenState, Trigger
from pdsapp.dt_service import DTService
from pdsapp.models import ApiToken, Attempt, DigitalTwin, ModelCall, Post, utc_now
from pdsapp.services import experiments, twins
from pdsapp.services.ledger import ledger
from tests import builders
from tests import model_server as fake

pytestmark = pytest.mark.database
SHORT_POST = (
    "The early train was on time for once, and nobody on the platform knew what to do with the minutes."
)


@pytest.fixture
def study(app):
    return builders.make_experiment()


@pytest.fixture
def twin(study, settings, model_server):
    token = builders.make_token(settings, model_server.base_url)
    return builders.make_twin(study, "maya", token)


def _one(session, settings, twin, **options):
    attempt_id = builders.add_attempt(twin, **options)
    builders.run_due(settings)
    return builders.load_attempt(session, attempt_id)


def test_a_forced_twin_posts_what_the_model_wrote(session, settings, twin, model_server):
    model_server.default = lambda request: fake.text(SHORT_POST)
    attempt = _one(session, settings, twin)
    assert attempt.state == AttemptState.posted
    assert attempt.post.text == SHORT_POST[: len(attempt.post.text)]
    assert attempt.reason == Reason.forced
    assert attempt.digital_twin.last_post == attempt.post.created_at
    assert attempt.model == "fake-model"
    assert (attempt.prompt_tokens or 0) > 0
    assert not attempt.is_stand_in
    call = attempt.calls[0]
    assert (call.state, call.http_status, call.model_asked) == (CallState.answered, 200, "fake-model")
    assert model_server.calls[0].key == "sk-test-secret-0001"
    assert ledger(session).adds_up


def test_a_twin_that_just_posted_may_skip_and_says_why(session, settings, twin, model_server):
    with transaction() as writing:
        writing.get_one(DigitalTwin, twin.id).last_post = utc_now() - timedelta(minutes=30)
    states = [_one(session, settings, twin, forced=False, trigger=Trigger.cli) for _ in range(12)]
    skipped = [attempt for attempt in states if attempt.state == AttemptState.skipped]
    assert skipped, "twelve draws at 0.8 and none skipped"
    for attempt in skipped:
        assert attempt.draw < attempt.skip_probability
        assert attempt.reason in (Reason.recency, Reason.recency_and_share)
        assert "drew" in attempt.detail
        assert attempt.calls == []
        assert attempt.post is None


def test_the_feed_is_shown_oldest_first_with_own_posts_marked(session, settings, study, twin, model_server):
    walt = builders.make_person(study)
    for number in range(12):
        builders.make_post(walt, f"Post number {number}.", minutes=60 - number)
    attempt = _one(session, settings, twin)
    assert [item.position for item in attempt.context] == list(range(1, 11))
    user = model_server.calls[0].messages[1]["content"]
    assert "[1] @walt" in user
    assert user.index("Post number 2.") < user.index("Post number 11.")
    assert "Post number 1." not in user


def test_a_stored_attempt_replays_to_the_same(session, settings, twin):
    attempt = _one(session, settings, twin)
    again = replay(session, attempt, DTService())
    assert again.verdict == "same"
    assert {check.name for check in again.checks} >= {"verdict", "length band", "target length", "messages"}


def test_replay_says_why_it_cannot_when_another_service_decided(session, settings, twin):
    attempt = _one(session, settings, twin)

    class Other(DTService):
        pass

    again = replay(session, attempt, Other())
    assert again.verdict == "not reproducible"
    assert "was decided by pdsapp.dt_service:DTService" in again.causes[0]


def test_replay_finds_a_tampered_row(session, settings, twin):
    attempt = _one(session, settings, twin)
    attempt.draw = 0.123
    assert replay(session, attempt, DTService()).verdict == "different"


FAULTS = [
    pytest.param(lambda: [fake.error(401, "bad key")], Reason.wrong_key, 1, id="401"),
    pytest.param(lambda: [fake.error(429, "quota", "insufficient_quota")], Reason.quota, 1, id="quota"),
    pytest.param(lambda: [fake.error(503)] * 3, Reason.endpoint_down, 3, id="503 three times"),
    pytest.param(lambda: [fake.error(429, retry_after="3600")], Reason.rate_limited, 1, id="429 for an hour"),
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
    attempt = _one(session, settings, twin)
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
    assert _one(session, settings, twin).reason == Reason.wrong_key
    token = session.scalars(select(ApiToken)).one()
    assert token.state == TokenState.paused
    assert token.paused_reason
    asked = len(model_server.calls)
    assert _one(session, settings, twin).reason == Reason.token_paused
    assert len(model_server.calls) == asked


def test_a_rate_limit_with_a_short_wait_is_waited_for(session, settings, twin, model_server):
    model_server.enqueue(fake.error(429, "slow down", retry_after="1"))
    attempt = _one(session, settings, twin)
    assert attempt.state == AttemptState.posted
    assert [call.state for call in attempt.calls][:2] == [CallState.failed, CallState.answered]
    assert attempt.calls[1].wait_ms == 1000


def test_a_reply_of_five_thousand_characters_is_rewritten_then_cut(session, settings, twin, model_server):
    model_server.default = lambda request: fake.text("Trains are late. " * 300)
    attempt = _one(session, settings, twin)
    assert attempt.state == AttemptState.posted
    assert len(attempt.calls) == 2
    assert attempt.calls[1].is_rewrite
    assert attempt.length_minimum <= attempt.length <= attempt.length_maximum
    assert attempt.fit_flags in (["cut_at_sentence"], ["cut_at_word"])


def test_a_failing_rewrite_publishes_the_first_draft_cut_to_fit(session, settings, twin, model_server):
    model_server.enqueue("Trains are late. " * 300, fake.error(400, "no"))
    attempt = _one(session, settings, twin)
    assert attempt.state == AttemptState.posted
    assert "rewrite_failed" in attempt.fit_flags
    assert attempt.model == "fake-model"


def test_quotes_and_preambles_are_cleaned_and_what_was_removed_is_kept(session, settings, twin, model_server):
    model_server.default = lambda request: fake.text(f'Sure! Here is a post:\n\n"{SHORT_POST}"')
    attempt = _one(session, settings, twin)
    assert not attempt.post.text.startswith(("Sure", '"'))
    assert attempt.cleaning_steps
    assert attempt.draft.startswith("Sure!")


def test_a_slow_drip_ends_at_the_deadline(session, settings, twin, model_server, monkeypatch):
    monkeypatch.setattr("pdsapp.attempts.calls.TOTAL_DEADLINE_SECONDS", 1.0)
    model_server.enqueue(fake.text(SHORT_POST).dripping(0.2))
    attempt = _one(session, settings, twin)
    assert (attempt.state, attempt.reason) == (AttemptState.failed, Reason.deadline)
    assert attempt.calls[0].latency_ms < 3000


def test_a_twin_without_endpoint_fails_with_what_to_do(session, settings, study):
    attempt = _one(session, settings, builders.make_twin(study))
    assert (attempt.state, attempt.reason) == (AttemptState.failed, Reason.no_endpoint)
    assert "API token" in attempt.detail


def test_an_address_that_is_not_allowed_is_never_connected_to(session, settings, study):
    token = builders.make_token(settings, "https://10.0.0.7/v1")
    attempt = _one(session, settings, builders.make_twin(study, token=token))
    assert (attempt.state, attempt.reason) == (AttemptState.failed, Reason.endpoint_refused)
    assert "PDS_LLM_ALLOWED_HOSTS" in attempt.detail


def test_a_key_is_bound_to_its_base_url(session, settings, twin, model_server):
    with transaction() as writing:
        writing.scalars(select(ApiToken)).one().base_url = "http://127.0.0.1:9/v1"
    attempt = _one(session, settings, twin)
    assert (attempt.state, attempt.reason) == (AttemptState.failed, Reason.token_broken)
    assert model_server.calls == []


@pytest.mark.parametrize("forced", [False, True], ids=["respecting the rule", "forced"])
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param("pause", Reason.paused, id="experiment paused"),
        pytest.param("deactivate", Reason.inactive, id="twin inactive"),
        pytest.param("ban", Reason.banned, id="profile banned"),
    ],
)
def test_nothing_bypasses_a_pause_inactivity_or_a_ban(
    session, settings, twin, model_server, spoil, reason, forced
):
    with transaction() as writing:
        row = writing.get_one(DigitalTwin, twin.id)
        if spoil == "pause":
            experiments.set_state(writing, row.experiment, ExperimentState.paused, utc_now())
        elif spoil == "deactivate":
            twins.set_twin_active(writing, row, False, utc_now())
        else:
            twins.set_banned(writing, row.user_profile, True, utc_now())
    attempt = _one(session, settings, twin, forced=forced)
    assert (attempt.state, attempt.reason) == (AttemptState.skipped, reason)
    assert model_server.calls == []


def test_a_request_id_asked_twice_is_one_attempt(session, twin):
    assert builders.add_attempt(twin, request_id="double-click") == builders.add_attempt(
        twin, request_id="double-click"
    )
    assert session.scalar(select(func.count(Attempt.id))) == 1


def test_one_twin_never_runs_twice_at_once(session, settings, twin, write):
    first, second = builders.add_attempt(twin), builders.add_attempt(twin)
    with write() as writing:
        leases = claim.claim(writing, "w1", utc_now(), 10)
    assert [lease.attempt_id for lease in leases] == [first]
    waiting = builders.load_attempt(session, second)
    assert waiting.state == AttemptState.due
    assert waiting.not_before > utc_now()


def test_a_scheduled_attempt_of_a_busy_twin_is_skipped(session, twin, write):
    builders.add_attempt(twin)
    second = builders.add_attempt(twin, trigger=Trigger.schedule)
    with write() as writing:
        claim.claim(writing, "w1", utc_now(), 10)
    assert builders.load_attempt(session, second).reason == Reason.twin_busy


def test_a_lost_worker_s_attempt_is_due_again_and_fails_at_the_third_strike(session, twin, write):
    attempt_id = builders.add_attempt(twin)
    for strike in (1, 2, 3):
        later = utc_now() + timedelta(minutes=strike)
        with write() as writing:
            assert len(claim.claim(writing, "w", later, 1)) == 1
        with write() as writing:
            assert claim.reap(writing, later + claim.LEASE + timedelta(seconds=1)) == 1
        attempt = builders.load_attempt(session, attempt_id)
        assert attempt.strikes == strike
    assert (attempt.state, attempt.reason) == (AttemptState.failed, Reason.worker_lost)


def test_a_worker_that_lost_its_lease_changes_nothing(session, settings, twin, write, model_server):
    attempt_id = builders.add_attempt(twin)
    with write() as writing:
        stale = claim.claim(writing, "frozen", utc_now(), 1)[0]
    with write() as writing:
        claim.reap(writing, utc_now() + timedelta(minutes=2))
    shop = make_workshop(settings, DTService())
    assert asyncio.run(run_attempt(stale, shop)) is None
    attempt = builders.load_attempt(session, attempt_id)
    assert attempt.state == AttemptState.due
    assert session.scalar(select(func.count(Post.id))) == 0


def test_a_second_worker_reuses_the_stored_decision(session, settings, twin, write):
    attempt_id = builders.add_attempt(twin)

    class Killed(DTService):
        """Stands for a process that dies after the decision was committed."""

        name = DTService().name

        async def generate_original_post_content(self, brief, ask):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        builders.run_due(settings, Killed())
    before = builders.load_attempt(session, attempt_id)
    decided = (before.draw, before.decided_at, before.target_length, before.messages_sha256)
    assert before.decided_at is not None
    with write() as writing:
        claim.reap(writing, utc_now() + timedelta(minutes=1))
    builders.run_due(settings)
    after = builders.load_attempt(session, attempt_id)
    assert after.state == AttemptState.posted
    assert (after.draw, after.decided_at, after.target_length, after.messages_sha256) == decided


def test_an_error_in_a_custom_service_is_a_failure_with_its_name(session, settings, twin):
    class Broken(DTService):
        def build_messages(self, *args):
            raise ZeroDivisionError("secret sk-test-secret-0001")

    attempt_id = builders.add_attempt(twin)
    builders.run_due(settings, Broken())
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.state, attempt.reason) == (AttemptState.failed, Reason.service_error)
    assert "ZeroDivisionError" in attempt.detail
    assert "sk-test" not in attempt.detail


def test_no_secret_is_in_the_database_in_plain_text(session, settings, twin, model_server):
    _one(session, settings, twin)
    token = session.scalars(select(ApiToken)).one()
    assert "sk-test" not in (token.secret_encrypted or "")
    assert (token.last_four, len(token.fingerprint)) == ("0001", 12)
    for call in session.scalars(select(ModelCall)):
        assert "sk-test" not in str(call.parameters)


def test_custom_writing_that_never_ends_is_ended(session, settings, twin, monkeypatch):
    monkeypatch.setattr("pdsapp.attempts.run.WRITING_SECONDS", 0.2)

    class Endless(DTService):
        async def generate_original_post_content(self, brief, ask):
            await asyncio.sleep(60)

    attempt_id = builders.add_attempt(twin)
    builders.run_due(settings, Endless())
    assert builders.load_attempt(session, attempt_id).reason == Reason.deadline


def test_an_attempt_that_lost_a_worker_runs_alone(session, settings, study, twin, model_server):
    others = [builders.make_twin(study, f"other_{n}", twin.api_token) for n in range(3)]
    model_server.default = lambda request: fake.text(SHORT_POST).later(0.2)
    struck = builders.add_attempt(twin)
    with transaction() as writing:
        writing.get_one(Attempt, struck).strikes = 1
    for other in others:
        builders.add_attempt(other)
    builders.run_due(settings, at_once=4)
    times = {
        attempt.id: (attempt.claimed_at, attempt.finished_at) for attempt in session.scalars(select(Attempt))
    }
    alone = times.pop(struck)
    assert all(end <= alone[0] or begin >= alone[1] for begin, end in times.values())


def test_a_batch_that_is_told_to_stop_gives_back_without_a_strike(session, settings, twin, model_server):
    model_server.enqueue(fake.hang(20))
    attempt_id = builders.add_attempt(twin)
    shop = make_workshop(settings.model_copy(update={"stop_seconds": 0.2}), DTService())
    batch = Batch(shop, "stopping", None, 10, 4)

    async def stop_soon():
        drain = asyncio.create_task(batch.drain())
        await asyncio.sleep(0.8)
        batch.stop()
        await drain

    asyncio.run(stop_soon())
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.state, attempt.strikes) == (AttemptState.due, 0)
    assert [call.state for call in attempt.calls] == [CallState.lost]


def test_a_reply_cut_off_at_the_token_limit_ends_with_its_last_whole_sentence(
    session, settings, twin, model_server
):
    model_server.enqueue(fake.text("Trains are late. And what is wor", finish_reason="length"))
    model_server.default = lambda request: fake.text(
        "Trains are late. And what is wor", finish_reason="length"
    )
    attempt = _one(session, settings, twin)
    assert attempt.post.text == "Trains are late."
    assert attempt.fit_flags == ["too_short"]


def test_a_reply_that_repeats_the_key_is_never_a_post_and_is_not_kept(session, settings, twin, model_server):
    model_server.default = lambda request: fake.text(
        "my key is sk-test-secret-0001, keep it well, dear neighbours"
    )
    attempt = _one(session, settings, twin)
    assert (attempt.state, attempt.reason) == (AttemptState.failed, Reason.bad_reply)
    assert "key" in attempt.detail
    for call in attempt.calls:
        assert "sk-test" not in f"{call.reply}{call.detail}{call.model_returned}"


def test_a_key_cut_by_the_end_of_a_quotation_is_hidden_too(session, settings, twin, model_server):
    model_server.enqueue(fake.error(400, "x" * 180 + "sk-test-secret-0001"))
    attempt = _one(session, settings, twin)
    assert attempt.state == AttemptState.failed
    assert "sk-test" not in attempt.detail


def test_nul_in_a_reply_is_dropped(session, settings, twin, model_server):
    model_server.default = lambda request: fake.text(SHORT_POST.replace(" ", "\x00 "))
    attempt = _one(session, settings, twin)
    assert attempt.state == AttemptState.posted
    assert "\x00" not in attempt.post.text + attempt.calls[0].reply


@pytest.mark.parametrize("when", ["before it is run again", "while it is written"])
def test_a_twin_that_is_banned_meanwhile_does_not_post(session, settings, twin, write, when):
    attempt_id = builders.add_attempt(twin)

    def ban():
        with write() as writing:
            twins.set_banned(writing, writing.get_one(DigitalTwin, twin.id).user_profile, True, utc_now())

    class Bans(DTService):
        name = DTService().name

        async def generate_original_post_content(self, brief, ask):
            draft = await super().generate_original_post_content(brief, ask)
            ban()
            if when == "before it is run again":
                raise KeyboardInterrupt
            return draft

    if when == "before it is run again":
        with pytest.raises(KeyboardInterrupt):
            builders.run_due(settings, Bans())
        with write() as writing:
            claim.reap(writing, utc_now() + timedelta(minutes=1))
        builders.run_due(settings)
    else:
        builders.run_due(settings, Bans())
    attempt = builders.load_attempt(session, attempt_id)
    expected = AttemptState.skipped if when == "before it is run again" else AttemptState.cancelled
    assert (attempt.state, attempt.reason) == (expected, Reason.banned)
    assert attempt.prompt_tokens  # what was paid for is counted, posted or not
    assert session.scalar(select(func.count(Post.id))) == 0
    assert ledger(session).adds_up


def test_a_database_that_fails_for_a_moment_costs_no_attempt_and_no_strike(session, settings, twin):
    attempt_id = builders.add_attempt(twin)

    class Locked(DTService):
        def create_original_post(self, *args):
            raise OperationalError("INSERT", {}, Exception("database is locked"))

    assert builders.run_due(settings, Locked()) == {}
    attempt = builders.load_attempt(session, attempt_id)
    assert (attempt.state, attempt.strikes) == (AttemptState.due, 0)
    assert attempt.not_before > utc_now()


def test_a_lease_is_renewed_while_the_model_writes(session, settings, twin, model_server, monkeypatch):
    monkeypatch.setattr(claim, "RENEW_SECONDS", 0.1)
    model_server.enqueue(fake.text(SHORT_POST).later(1.0))
    attempt_id = builders.add_attempt(twin)
    seen = []
    shop = make_workshop(settings, DTService())

    async def watch():
        drain = asyncio.create_task(Batch(shop, "renewing", None, 10, 4).drain())
        while not drain.done():
            await asyncio.sleep(0.2)
            seen.append(builders.load_attempt(session, attempt_id).lease_until)
        await drain

    asyncio.run(watch())
    leases = [until for until in seen if until is not None]
    assert len(set(leases)) >= 3
    assert leases == sorted(leases)
    assert builders.load_attempt(session, attempt_id).state == AttemptState.posted
