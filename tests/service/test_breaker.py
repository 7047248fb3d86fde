"""Breakers of endpoints: they open, are probed by one attempt a minute, close by themselves, and age out."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from pdsapp.attempts import breaker
from pdsapp.attempts.breaker import Breakers, Health, Pass, health_of
from pdsapp.database import transaction
from pdsapp.domain.draft import CallFailed
from pdsapp.domain.reasons import AttemptState, Reason
from pdsapp.domain.reply import classify, classify_error
from pdsapp.errors import NotNow
from pdsapp.llm.client import CallOutcome
from pdsapp.llm.endpoint import Endpoint
from pdsapp.models import Attempt, EndpointBreaker, ModelCall, utc_now
from pdsapp.services import notices, token_tests
from pdsapp.services.ledger import ledger
from tests import builders
from tests import model_server as fake
from tests.conftest import NOON

pytestmark = pytest.mark.database
PLACE = "http://127.0.0.1:9/v1"


class Clock:
    """A clock the test moves."""

    def __init__(self):
        self.now = NOON

    def __call__(self):
        return self.now

    def later(self, **span):
        self.now += timedelta(**span)


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(breaker, "LOOK_AGAIN_SECONDS", 0.0)
    return Clock()


def outcome(status=None, kind=None, body=b"{}", latency_ms=100):
    bad = classify_error(kind) if kind else classify(status, {}, body, now=NOON)
    return CallOutcome(None, bad, status, latency_ms, {})


DOWN = outcome(kind="connect")
ANSWER = CallOutcome(
    classify(200, {}, b'{"choices":[{"message":{"content":"Rain."}}]}', now=NOON), None, 200, 9, {}
)


def row(session):
    session.rollback()
    session.expire_all()
    return session.scalars(select(EndpointBreaker)).one_or_none()


def fail(breakers, times=1):
    for _ in range(times):
        breakers.leave(Pass(PLACE), DOWN)


def enter(breakers, since=NOON, spread=0.5):
    return breakers.enter(PLACE, since, spread)


@pytest.mark.parametrize(
    ("what", "health"),
    [
        (outcome(kind="connect"), Health.down),
        (outcome(kind="timeout"), Health.down),
        (outcome(kind="closed"), Health.down),
        (outcome(kind="tls"), Health.down),
        (outcome(kind="protocol"), Health.down),
        (outcome(500), Health.down),
        (outcome(503), Health.down),
        (outcome(kind="deadline", latency_ms=60_000), Health.down),
        (outcome(kind="deadline", latency_ms=2_000), Health.unclear),
        (outcome(kind="refused_address"), Health.unclear),
        (outcome(kind="bad_key"), Health.unclear),
        (outcome(200, body=b"<html>"), Health.unclear),
        (outcome(401), Health.works),
        (outcome(404), Health.works),
        (outcome(429), Health.works),
        (ANSWER, Health.works),
    ],
    ids=lambda value: value if isinstance(value, Health) else str(value.http_status or value.bad.detail[:30]),
)
def test_what_is_the_endpoint_s_fault(what, health):
    assert health_of(what) == health


def test_one_place_is_one_place_however_its_port_is_written():
    def place(url):
        return Endpoint(url, "m", None).place

    assert (
        place("https://api.example/v1") == place("https://api.example:443/v1") == "https://api.example:443/v1"
    )
    assert len({place(f"http://{end}") for end in ("a/v1", "a:80/v1", "a:81/v1", "a/v2", "b/v1")}) == 4


def test_it_opens_after_five_failures_in_a_row_and_a_success_between_begins_anew(app, session, clock):
    breakers = Breakers(clock)
    fail(breakers, 4)
    assert row(session).opened_at is None and enter(breakers).probe_key is None
    breakers.leave(Pass(PLACE), ANSWER)
    assert row(session) is None
    fail(breakers, 4)
    assert enter(breakers)
    fail(breakers)
    assert row(session).opened_at == NOON
    with pytest.raises(NotNow, match="does not work; it is probed once a minute"):
        enter(breakers)
    assert breakers.enter("http://127.0.0.1:9/v2", NOON, 0).probe_key is None, "nothing else is held back"


def test_failures_of_several_workers_add_up_and_any_success_closes_it(app, session, clock):
    one, two = Breakers(clock), Breakers(clock)
    fail(one, 3)
    fail(two, 2)
    for each in (one, two, Breakers(clock)):
        with pytest.raises(NotNow):
            enter(each)
    two.leave(Pass(PLACE), ANSWER)  # a call that began before it opened
    assert enter(one).probe_key is None and row(session) is None


def test_nothing_is_written_while_all_goes_well(app, clock):
    import sqlalchemy as sa

    from pdsapp.extensions import db

    written = []

    def note(_connection, _cursor, statement, *_):
        if not statement.lstrip().upper().startswith(("SELECT", "PRAGMA", "BEGIN", "SET", "SHOW")):
            written.append(statement)

    sa.event.listen(db.engine, "before_cursor_execute", note)
    breakers = Breakers(clock)
    for _ in range(3):
        breakers.leave(enter(breakers), ANSWER)
        breakers.leave(enter(breakers), outcome(429))
        breakers.leave(enter(breakers), None)
    sa.event.remove(db.engine, "before_cursor_execute", note)
    assert written == []


def test_one_probe_at_a_time_over_all_workers_once_a_minute(app, session, clock):
    one, two = Breakers(clock), Breakers(clock)
    fail(one, 5)
    clock.later(seconds=59)
    with pytest.raises(NotNow):
        enter(two)
    clock.later(seconds=2)
    probe = enter(two)
    assert probe.probe_key is not None
    with pytest.raises(NotNow):
        enter(one)
    clock.later(seconds=65)  # the probe takes long: there is no second one
    with pytest.raises(NotNow):
        enter(one)
    two.leave(probe, DOWN)
    assert row(session).probe_key is None
    assert enter(one).probe_key is not None


def test_a_probe_that_died_with_its_worker_is_followed_by_another(app, clock):
    breakers = Breakers(clock)
    fail(breakers, 5)
    clock.later(seconds=61)
    enter(breakers)
    clock.later(seconds=101)
    assert enter(Breakers(clock)).probe_key is not None


def test_a_probe_nobody_waits_for_any_more_makes_room_for_the_next(app, session, clock):
    breakers = Breakers(clock)
    fail(breakers, 5)
    clock.later(seconds=61)
    breakers.leave(enter(breakers), None)
    found = row(session)
    assert found.probe_until is None and found.opened_at is not None
    clock.later(seconds=61)
    assert enter(breakers).probe_key is not None


def test_a_probe_that_succeeds_closes_it(app, session, clock):
    breakers = Breakers(clock)
    fail(breakers, 5)
    clock.later(seconds=61)
    breakers.leave(enter(breakers), ANSWER)
    assert row(session) is None and enter(breakers).probe_key is None


def test_a_clock_set_back_does_not_put_the_next_probe_off(app, clock):
    breakers = Breakers(clock)
    fail(breakers, 5)
    clock.later(hours=-3)
    assert enter(breakers).probe_key is not None


def test_attempts_wait_an_hour_and_no_longer(app, clock):
    breakers = Breakers(clock)
    fail(breakers, 5)
    with pytest.raises(NotNow) as first:
        enter(breakers, since=NOON - timedelta(hours=5))
    assert first.value.seconds == 60, "the first comes back for the probe"
    with pytest.raises(NotNow) as second:
        enter(breakers, spread=0.5)
    assert second.value.seconds == 90, "the next ones later"
    clock.later(minutes=59, seconds=30)
    for _ in range(2):
        breakers._next_prober.clear()
        if (obstacle := breakers.obstacle(PLACE, NOON, 0.9)) is not None:
            assert isinstance(obstacle, NotNow) and obstacle.seconds <= 30
    clock.later(seconds=31)
    aged = breakers.obstacle(PLACE, NOON, 0.5)
    assert isinstance(aged, CallFailed) and aged.reason == Reason.endpoint_down
    assert "has waited for it for 1 h" in aged.detail
    assert not isinstance(breakers.obstacle(PLACE, clock.now, 0.5), CallFailed), "a new one has not waited"


def test_attempts_of_a_dead_endpoint_wait_and_are_published_when_it_is_back(
    settings, session, study, model_server, monkeypatch
):
    monkeypatch.setattr("pdsapp.attempts.calls.BACK_OFF_SECONDS", (0.01, 0.01))
    token = builders.make_token(settings, model_server.base_url)
    first, second, third = (builders.make_twin(study, token=token) for _ in range(3))
    model_server.enqueue(*[fake.error(500)] * 5)
    assert builders.ask_and_run(session, settings, first).reason == Reason.endpoint_down
    opening = builders.ask_and_run(session, settings, second)  # its second call opens the breaker
    waiting = builders.ask_and_run(session, settings, third)
    assert [a.state for a in (opening, waiting)] == [AttemptState.due] * 2
    assert (waiting.strikes, waiting.decided_at, waiting.calls) == (0, None, [])
    assert "does not work; it is probed once a minute" in waiting.waits_for
    assert len(model_server.calls) == 5
    with transaction() as own:
        own.execute(update(Attempt).where(Attempt.state == "due").values(not_before=utc_now()))
        own.execute(update(EndpointBreaker).values(next_probe_at=utc_now()))
    model_server.default = lambda _: fake.text(builders.SHORT_POST)
    builders.run_due(settings, at_once=1)
    for each in (opening, waiting):
        assert builders.load_attempt(session, each.id).state == AttemptState.posted
    assert row(session) is None and ledger(session).adds_up


def test_after_an_hour_attempts_of_a_dead_endpoint_end_with_the_reason(
    settings, session, study, model_server
):
    token = builders.make_token(settings, model_server.base_url)
    twin = builders.make_twin(study, token=token)
    place = Endpoint(model_server.base_url, "m", None).place
    attempt_id = builders.add_attempt(twin)
    began = utc_now() - timedelta(minutes=61)
    with transaction() as own:
        own.add(
            EndpointBreaker(
                place=place, failures=9, detail="It cannot be reached.", failed_at=utc_now(), opened_at=began,
                next_probe_at=utc_now() + timedelta(seconds=30),
            )
        )  # fmt: skip
        own.execute(update(Attempt).values(created_at=began, not_before=began))
    builders.run_due(settings)
    found = builders.load_attempt(session, attempt_id)
    assert (found.state, found.reason) == (AttemptState.failed, Reason.endpoint_down)
    assert place in found.detail and "waited for it for 1 h" in found.detail
    assert session.scalar(select(func.count(ModelCall.id))) == 0 and ledger(session).adds_up


def test_a_token_test_that_is_answered_closes_it_at_once(settings, session, model_server):
    token = builders.make_token(settings, model_server.base_url)
    with transaction() as own:
        own.add(EndpointBreaker(place=Endpoint(model_server.base_url, "m", None).place, opened_at=utc_now()))
    asyncio.run(token_tests.test_token(token.id, settings, utc_now))
    assert row(session) is None


def test_what_an_endpoint_wrote_is_not_repeated_in_what_is_told(app, session, clock):
    breakers = Breakers(clock)
    breakers.leave(
        Pass(PLACE), outcome(500, body=b'{"error": {"message": "You are @maya. Walt said: bread"}}')
    )
    assert row(session).detail == "It answered with status 500."


def test_a_notice_tells_when_it_opens_and_when_it_closes(app, settings, session, study, clock):
    builders.make_twin(study, token=builders.make_token(settings, "http://127.0.0.1:9/v1"))
    breakers = Breakers(utc_now)
    fail(breakers, 5)

    def told():
        with transaction() as own:
            return [line for line in notices.current_lines(own, settings, utc_now()) if PLACE in line.title]

    [line] = told()
    assert line.key == f"endpoint_down:{row(session).uuid}" and line.level == "bad"
    breakers.leave(Pass(PLACE), ANSWER)
    assert told() == []
