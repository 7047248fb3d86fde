"""The desk: steps of many attempts share a transaction, and each keeps what it had alone."""

import asyncio
import re
import threading
import time
from collections import Counter

import pytest
import sqlalchemy as sa
from sqlalchemy import event, func, select

from pdsapp.attempts import desk as desks
from pdsapp.attempts.batch import Batch
from pdsapp.attempts.desk import Desk, Urgency
from pdsapp.attempts.workshop import make_workshop
from pdsapp.database import transaction
from pdsapp.domain.reasons import AttemptState, CallState, Reason, SlotKind
from pdsapp.dt_service import DTService
from pdsapp.extensions import db
from pdsapp.models import (
    Attempt,
    AttemptContext,
    Experiment,
    ModelCall,
    Post,
    ScheduleRevision,
    Slot,
)
from pdsapp.services.ledger import ledger
from tests import builders
from tests.model_server import text

from .slot_helpers import MINUTE, START, make_schedule

pytestmark = pytest.mark.database
MANY = 24


@pytest.fixture
def shop(settings, twin):
    return make_workshop(settings, DTService())


@pytest.fixture
def crowd(settings, study, model_server):
    """Attempts of many twins, all of whom are forced to post; their ids."""
    model_server.default = lambda request: text(fitting(request)).later(0.05)
    token = builders.make_token(settings, model_server.base_url, "crowd")
    twins = [builders.make_twin(study, f"crowd_{number}", token=token) for number in range(MANY)]
    return [builders.add_attempt(each) for each in twins]


def fitting(request):
    """A reply as long as was asked for, so that no second call is made."""
    length = int(re.search(r"about (\d+)</length>", request.messages[-1]["content"])[1])
    return ("The kiosk sold out of coffee before nine, and nobody minded the rain. " * 5)[: length - 1] + "."


def rename(word):
    """A step that changes a row and says what stands there."""

    def step(session):
        study = session.scalars(select(Experiment)).one()
        study.description += word
        return study.description

    return step


def fail(session):
    rename("never")(session)
    session.flush()
    raise ValueError("in the middle")


def commits():
    """How many transactions are committed from now on, counted in a list."""
    found = []
    event.listen(db.engine, "commit", lambda _connection: found.append(1))
    return found


def at_the_desk(shop, *steps):
    """What each step gave or raised, all handed in at the same moment."""

    async def run():
        async with Desk(shop) as desk:
            return await asyncio.gather(*(desk.alone(step) for step in steps), return_exceptions=True)

    return asyncio.run(run())


def test_what_comes_in_together_is_committed_together(shop):
    found = commits()
    assert at_the_desk(shop, *[rename(word) for word in "abcd"])[-1].endswith("abcd")
    assert len(found) == 1


def test_what_fails_in_company_is_done_again_alone(shop, session):
    first, broken, last = at_the_desk(shop, rename("a"), fail, rename("b"))
    assert isinstance(broken, ValueError)
    assert (first[-1], last[-2:]) == ("a", "ab")
    assert session.scalars(select(Experiment.description)).one().endswith("ab")


def test_an_exception_that_is_a_result_is_raised_for_its_order_alone(shop, session):
    found = at_the_desk(shop, rename("a"), lambda _session: LookupError("only mine"), rename("b"))
    assert isinstance(found[1], LookupError)
    assert session.scalars(select(Experiment.description)).one().endswith("ab")


def test_what_was_called_off_before_its_turn_is_not_done(shop, session):
    async def run():
        async with Desk(shop) as desk:
            slow = asyncio.create_task(desk.alone(lambda _session: time.sleep(0.2)))
            await asyncio.sleep(0.05)
            late = asyncio.create_task(desk.alone(rename("late")))
            await asyncio.sleep(0)
            late.cancel()
            await slow

    asyncio.run(run())
    assert "late" not in session.scalars(select(Experiment.description)).one()


def test_leaving_the_desk_waits_for_what_is_under_way_and_drops_the_rest(shop, session):
    async def run():
        async with Desk(shop) as desk:
            for step in (lambda own: time.sleep(0.2) or rename("kept")(own), rename("dropped")):
                asyncio.create_task(desk.alone(step))  # noqa: RUF006
                await asyncio.sleep(0.05)

    asyncio.run(run())
    assert session.scalars(select(Experiment.description)).one().endswith("kept")


def test_what_ends_attempts_goes_before_what_begins_them(shop, monkeypatch):
    monkeypatch.setattr(desks, "MOST_TOGETHER", 2)
    order = []

    def note(_session, _shop, words):
        order.extend(words)
        return words

    async def run():
        async with Desk(shop) as desk:
            wanted = [("begin", Urgency.beginning)] * 3 + [("call", Urgency.calling), ("end", Urgency.ending)]
            await asyncio.gather(*(desk.do(note, *each) for each in wanted))

    asyncio.run(run())
    assert order == ["end", "call", "begin", "begin", "begin"]


def test_the_event_loop_goes_on_while_the_database_is_slow(shop):
    async def run():
        async with Desk(shop) as desk:
            slow = asyncio.create_task(desk.alone(lambda _session: time.sleep(0.3)))
            ticks = 0
            while not slow.done():
                await asyncio.sleep(0.01)
                ticks += 1
            return ticks

    assert asyncio.run(run()) > 10


def test_a_crowd_is_decided_asked_and_published_in_few_transactions(settings, session, crowd):
    found = commits()
    assert builders.run_due(settings, at_once=MANY) == {AttemptState.posted: MANY}
    assert len(found) < MANY  # alone, each would take four and more
    assert session.scalar(select(func.count(Post.id))) == MANY
    calls = session.execute(select(ModelCall.attempt_id, ModelCall.state)).all()
    assert sorted(calls) == [(number, CallState.answered) for number in crowd]
    assert ledger(session).problems == ()


def test_nothing_is_read_for_each_of_a_crowd_by_itself(settings, study, crowd, write):
    schedule = make_schedule(study, is_enabled=False)
    with write() as session:
        revision = session.scalars(select(ScheduleRevision.id)).one()
        for number, key in enumerate(crowd):
            slot = Slot(
                schedule_id=schedule.id, revision_id=revision, experiment_id=study.id,
                kind=SlotKind.fired, slot_at=START + number * MINUTE,
            )  # fmt: skip
            session.add(slot)
            session.flush()
            session.get_one(Attempt, key).slot_id = slot.id
    committed, read = commits(), Counter()

    def note(_connection, _cursor, statement, *_):
        if statement.startswith(("SELECT", "WITH")):
            read[re.sub(r"\([?%][^()]*\)", "(…)", statement)] += 1

    event.listen(db.engine, "before_cursor_execute", note)
    assert builders.run_due(settings, at_once=MANY) == {AttemptState.posted: MANY}
    event.remove(db.engine, "before_cursor_execute", note)
    ((statement, count),) = read.most_common(1)
    assert count <= len(committed) < MANY, statement


def test_each_of_a_crowd_has_its_own_figures(settings, session, study, crowd):
    """As if each had been alone: replay would say so otherwise, and messages would not fit."""
    person = builders.make_person(study, "walt")
    for number in range(12):
        builders.make_post(person, f"Post number {number} of a person.", 5)
    builders.run_due(settings, at_once=MANY)
    attempts = session.scalars(select(Attempt)).all()
    assert len({each.messages_sha256 for each in attempts}) == MANY
    assert len({each.draw for each in attempts}) == MANY
    assert {(each.prompt_tokens, each.completion_tokens) for each in attempts} == {(100, 20)}
    shown = session.execute(
        select(AttemptContext.attempt_id, func.count()).group_by(AttemptContext.attempt_id)
    ).all()
    assert {count for _, count in shown} == {10}
    for each in attempts:
        assert each.decision_key.endswith(str(each.uuid)) or str(each.uuid) in each.decision_key


def test_one_whose_code_fails_fails_alone(settings, session, crowd):
    class Picky(DTService):
        def create_original_post(self, session, attempt, draft, now):
            if attempt.id in crowd[:3]:
                raise RuntimeError("not this one")
            return super().create_original_post(session, attempt, draft, now)

    ended = builders.run_due(settings, Picky(), at_once=MANY)
    assert ended == {AttemptState.posted: MANY - 3, AttemptState.failed: 3}
    failed = session.scalars(select(Attempt).where(Attempt.state == AttemptState.failed)).all()
    assert {each.id for each in failed} == set(crowd[:3])
    assert {each.reason for each in failed} == {Reason.service_error}
    assert session.scalar(select(func.count(Post.id))) == MANY - 3


def test_one_whose_rule_fails_fails_alone(settings, session, crowd):
    class Picky(DTService):
        def get_recent_post_context(self, session, twin, policy):
            if twin.user_profile.username == "crowd_7":
                raise RuntimeError("not this one")
            return super().get_recent_post_context(session, twin, policy)

    ended = builders.run_due(settings, Picky(), at_once=MANY)
    assert ended == {AttemptState.posted: MANY - 1, AttemptState.failed: 1}


def test_what_was_taken_back_is_refused_and_the_others_are_published(settings, session, crowd, write):
    class TakenBack(DTService):
        async def generate_original_post_content(self, brief, ask):
            draft = await super().generate_original_post_content(brief, ask)
            if brief.speaker.username in ("crowd_3", "crowd_4"):
                taken = [crowd[3], crowd[4]]
                await asyncio.to_thread(self._take_back, taken)
            return draft

        def _take_back(self, numbers):
            with transaction() as own:
                own.execute(
                    sa.update(Attempt)
                    .where(Attempt.id.in_(numbers), Attempt.state == AttemptState.running)
                    .values(state=AttemptState.due, lease_token=None, lease_until=None)
                )

    shop = make_workshop(settings, TakenBack())
    batch = Batch(shop, "test-worker", None, MANY, MANY)
    asyncio.run(batch.drain())
    assert batch.ended == {AttemptState.posted: MANY - 2}
    assert session.scalar(select(func.count(Post.id))) == MANY - 2


def test_no_more_calls_are_out_than_may_be(settings, session, crowd, model_server):
    builders.run_due(settings, at_once=16)
    assert session.scalar(select(func.count(Post.id))) == MANY
    assert 8 <= model_server.max_at_once <= 16


def test_two_batches_share_a_crowd_without_doing_anything_twice(app, settings, session, crowd):
    def run():
        with app.app_context():
            builders.run_due(settings, at_once=16, limit=MANY)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    posts = session.execute(select(Post.attempt_id, func.count()).group_by(Post.attempt_id)).all()
    assert sorted(posts) == [(number, 1) for number in sorted(crowd)]
    assert session.scalar(select(func.count(ModelCall.id))) == MANY
    assert ledger(session).problems == ()
