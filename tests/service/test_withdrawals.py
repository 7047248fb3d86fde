"""Withdrawing a participant: nothing of what they said or are called is left, and nothing else is changed."""

import json
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy import select

from pdsapp.attempts.replay import replay
from pdsapp.domain.erasure import ERASED
from pdsapp.domain.policy import LengthBand
from pdsapp.domain.reasons import ExperimentState, Visibility
from pdsapp.dt_service import load_service
from pdsapp.errors import BadInput
from pdsapp.extensions import db
from pdsapp.models import (
    Attempt,
    Base,
    DigitalTwin,
    Experiment,
    Notice,
    Post,
    PostRevision,
    ProtocolChange,
    UserProfile,
    Withdrawal,
    utc_now,
)
from pdsapp.services import (
    compacting,
    edits,
    erasing,
    posts,
    protocol,
    rollups,
    tombstones,
    visibility,
    withdrawals,
)
from pdsapp.services.ledger import ledger
from tests import builders
from tests.conftest import TEST_DATABASE_URL

pytestmark = pytest.mark.database
SAID = "My sister lost her job at the harbour in May, and nobody at the office will say why."
QUOTING = (
    "So anna_k’s sister lost her job at the harbour in May. Nobody at the office will say why, she writes."
)
NEEDLES = (
    "anna_k",
    "Anna Keller",
    "Anna K.",
    "lost her job at",
    "nobody at the office",
    "She was a crane driver",
)


LEFT = "Bread is dear, and the bakery is closed on Mondays now."


@pytest.fixture
def anna(study, write):
    """A person with a bio, who was called otherwise before."""
    walt = builders.make_person(study, "annie_before")
    with write() as writing:
        row = writing.get_one(UserProfile, walt.id)
        edits.change_profile(
            writing, row, row.edit_version, utc_now(), username="anna_k", display_name="Anna Keller",
            bio="She was a crane driver once.",
        )  # fmt: skip
    return walt


@pytest.fixture
def scene(session, settings, write, model_server, study, twin, anna):
    """Anna's posts; a twin and a person who quote her; the trail of it all. The other person."""
    bo = builders.make_person(study, "bo")
    first = builders.make_post(anna, SAID, minutes=90)
    hidden = builders.make_post(
        anna, "She was a crane driver for twenty years, said Anna Keller.", minutes=80
    )
    builders.make_post(bo, LEFT, minutes=70)
    now = utc_now()
    with write() as writing:
        row = writing.get_one(Post, first.id)
        posts.change_text(writing, row, f"{SAID} Nobody.", now - timedelta(minutes=60))
        visibility.set_visibility(writing, writing.get_one(Post, hidden.id), Visibility.hidden, now)
        own = writing.get_one(UserProfile, bo.id)
        reply = posts.add_post(
            writing, own, "@anna_k: “lost her job at the harbour” is hard.", now, parent=row
        )
        posts.change_text(writing, reply, "lost her job at the harbour, Anna K. said", now)
        study_row = writing.get_one(Experiment, study.id)
        writing.add(
            ProtocolChange(
                experiment_id=study.id, part="life", state="running", made_by="x@example.org",
                summary="a twin quoted anna_k", reason="Anna Keller asked for it", before={"who": "anna_k"},
                after={}, made_at=now,
            )
        )  # fmt: skip
        writing.add(Notice(event="line", title="@anna_k asks", body=json.dumps({"text": "@anna_k asks"})))
        study_row.description = "Anna Keller is the first participant."
        policy = protocol.PostingPolicy(bands=(LengthBand("any", 1, 280, 100),))
        protocol.save_policy(writing, study_row, study_row.edit_version, policy, now, "Anna Keller")
    model_server.enqueue(QUOTING)
    attempt = builders.ask_and_run(session, settings, twin)
    assert attempt.state == "posted" and "lost her job" in attempt.post.text
    return bo


def withdraw(write, anna, **options):
    """The withdrawal, finished."""
    with write() as writing:
        row = writing.get_one(UserProfile, anna.id)
        made = withdrawals.ask(writing, row, row.username, utc_now(), **options)
        writing.flush()
        key = made.id
    assert erasing.finish(key, 10)
    return key


def everything(session):
    """Every text of every table, as one; and how many rows each table has."""
    session.rollback()
    found, counts = [], {}
    for table in Base.metadata.sorted_tables:
        rows = session.execute(select(table)).all()
        counts[table.name] = len(rows)
        found += [
            f"{table.name}: {json.dumps([str(value) for value in row], ensure_ascii=False)}" for row in rows
        ]
    return found, counts


def test_nothing_of_them_is_left_in_any_row(session, write, scene, anna):
    before, counts = everything(session)
    for needle in NEEDLES:
        assert any(needle in line for line in before), needle
    withdraw(write, anna, other_names=["Anna K.", "annie"])
    after, counts_after = everything(session)
    assert [line for line in after if any(needle.lower() in line.lower() for needle in NEEDLES)] == []
    assert not [line for line in after if "annie_before" in line]
    assert {name for name in counts if counts_after[name] != counts[name]} == {"audit_event", "withdrawal"}


def test_what_others_said_of_their_own_stays(session, write, scene, anna, study):
    withdraw(write, anna, other_names=["Anna K."])
    pseudonym = session.scalars(select(Withdrawal.pseudonym)).one()
    texts = set(session.scalars(select(Post.text)))
    assert texts == {
        ERASED,
        LEFT,
        f"{ERASED}, {pseudonym} said",
        f"So {pseudonym}’s {ERASED}, she writes.",
    }
    assert f"@{pseudonym}: “{ERASED}” is hard." in set(session.scalars(select(PostRevision.text)))
    assert session.get_one(Experiment, study.id).description == f"{pseudonym} is the first participant."


def test_rows_sums_and_times_are_those_of_before(session, write, scene, anna, study):
    while rollups.roll_up(utc_now() + timedelta(hours=1)):
        pass

    def state():
        session.rollback()
        kept = [
            session.execute(
                select(Attempt.id, Attempt.state, Attempt.changed_at, Attempt.finished_at, Attempt.length,
                       Attempt.prompt_tokens, Attempt.messages_sha256)
            ).all(),
            sorted(map(str, session.execute(select(Post.id, Post.created_at, Post.parent_id)))),
            sorted(map(tuple, session.execute(select(*PostRevision.__table__.primary_key.columns)))),
        ]  # fmt: skip
        return kept, [
            sorted(map(str, session.execute(select(table))))
            for table in Base.metadata.sorted_tables
            if table.name.endswith("_tally")
        ]

    before = state()
    assert all(before[0])
    withdraw(write, anna)
    with write() as writing:
        rollups.forget(writing)
    while rollups.roll_up(utc_now() + timedelta(hours=1)):
        pass
    assert state() == before
    assert ledger(session, now=utc_now()).problems == ()


def test_posts_leave_the_feed_and_hidden_ones_stay_hidden(session, write, scene, anna):
    withdraw(write, anna)
    own = session.scalars(select(Post).where(Post.user_profile_id == anna.id).order_by(Post.id)).all()
    assert [post.visibility for post in own] == [Visibility.erased, Visibility.hidden]
    with write() as writing, pytest.raises(BadInput, match="erased and stays so"):
        visibility.set_visibility(writing, writing.get_one(Post, own[1].id), Visibility.visible, utc_now())
    with write() as writing, pytest.raises(BadInput, match="its author withdrew"):
        posts.change_text(writing, writing.get_one(Post, own[0].id), "Back again.", utc_now())


def test_their_own_texts_are_gone_with_the_first_commit(session, write, scene, anna):
    with write() as writing:
        withdrawals.ask(writing, writing.get_one(UserProfile, anna.id), "@anna_k", utc_now())
    profile = session.get_one(UserProfile, anna.id)
    assert profile.username.startswith("withdrawn_") and profile.is_banned and profile.bio == ""
    assert set(session.scalars(select(Post.text).where(Post.user_profile_id == anna.id))) == {ERASED}
    revisions = select(PostRevision.text).join(Post).where(Post.user_profile_id == anna.id)
    assert set(session.scalars(revisions)) == {ERASED}


@pytest.mark.parametrize("typed", ["", "anna", "ANNA_K", "Anna Keller"])
def test_another_name_erases_nothing(session, write, scene, anna, typed):
    with write() as writing, pytest.raises(BadInput, match="exactly as it is: anna_k") as caught:
        withdrawals.ask(writing, writing.get_one(UserProfile, anna.id), typed, utc_now())
    assert caught.value.field == "username"
    assert session.get_one(UserProfile, anna.id).username == "anna_k"
    assert not erasing.erase_for(1)


def test_a_twin_is_not_withdrawn_and_nobody_twice(write, scene, anna, twin):
    with write() as writing, pytest.raises(BadInput, match="A twin is no participant"):
        withdrawals.ask(writing, writing.get_one(DigitalTwin, twin.id).user_profile, "maya", utc_now())
    withdraw(write, anna)
    with write() as writing:
        row = writing.get_one(UserProfile, anna.id)
        with pytest.raises(BadInput, match="has withdrawn"):
            withdrawals.ask(writing, row, row.username, utc_now())
        with pytest.raises(BadInput, match="nothing of this profile changes"):
            edits.change_profile(
                writing, row, row.edit_version, utc_now(), username="anna_k", display_name="A", bio=""
            )


@pytest.mark.parametrize("state", [ExperimentState.ended, ExperimentState.archived])
def test_also_where_the_experiment_is_over(session, write, scene, anna, study, state):
    with write() as writing:
        writing.execute(sa.update(Experiment).where(Experiment.id == study.id).values(state=state))
    withdraw(write, anna, other_names=["Anna K.", "annie"])
    after, _ = everything(session)
    assert not [line for line in after if any(needle in line for needle in NEEDLES)]


def test_nothing_begins_before_what_may_have_read_it_has_ended(session, settings, write, scene, anna, twin):
    waiting = builders.add_attempt(twin)
    with write() as writing:
        attempt = writing.get_one(Attempt, waiting)
        attempt.state, attempt.lease_until = "running", utc_now() + timedelta(seconds=45)
        made = withdrawals.ask(writing, writing.get_one(UserProfile, anna.id), "anna_k", utc_now())
        writing.flush()
        key = made.id
    assert not erasing.erase_for(1)
    row = session.get_one(Withdrawal, key)
    assert row.progress == {}
    assert erasing.state_of(session, row).words == "Waiting until 1 attempt that may have read it has ended"
    with write() as writing:
        writing.get_one(Attempt, waiting).state = "due"
    assert builders.run_due(settings) == {}, "attempts of the experiment wait"
    assert erasing.finish(key, 10)
    assert sum(builders.run_due(settings).values()) == 1


def test_a_process_that_dies_in_the_middle_leaves_one_that_goes_on(session, write, scene, anna, monkeypatch):
    monkeypatch.setattr(erasing, "CHUNK", 1)
    with write() as writing:
        made = withdrawals.ask(
            writing,
            writing.get_one(UserProfile, anna.id),
            "anna_k",
            utc_now(),
            other_names=["Anna K.", "annie"],
        )
        writing.flush()
        key = made.id
    seen = set()
    for _ in range(500):
        found = erasing._next()
        if found is None:
            break
        erasing._erase_some(*found)  # each with an eraser of its own, as a new process would
        session.rollback()
        seen.add(json.dumps(session.get_one(Withdrawal, key).progress, sort_keys=True))
        session.expire_all()
    assert len(seen) > len(erasing.STEPS)
    after, _ = everything(session)
    assert not [line for line in after if any(needle in line for needle in NEEDLES)]
    row = session.get_one(Withdrawal, key)
    assert (row.texts, row.names) == (None, None)


def test_a_row_that_cannot_be_read_keeps_nobody_from_being_erased(session, write, scene, anna):
    with write() as writing:
        first = writing.scalars(select(ProtocolChange.id)).first()
        writing.add(
            ProtocolChange(
                experiment_id=anna.experiment_id, part="life", state="running", made_by="x",
                summary="of anna_k too", before={}, after={}, made_at=utc_now(),
            )
        )  # fmt: skip
        if writing.get_bind().dialect.name == "sqlite":
            writing.execute(
                sa.text("UPDATE protocol_change SET before='{not json' WHERE id=:id"), {"id": first}
            )
    withdraw(write, anna)
    session.rollback()
    assert "anna_k" not in " ".join(
        session.scalars(select(ProtocolChange.summary).where(ProtocolChange.id != first))
    )


def test_replay_says_that_a_text_was_erased_rather_than_another_result(session, settings, write, scene, anna):
    attempt = session.scalars(select(Attempt).where(Attempt.state == "posted")).one()
    service = load_service(settings)
    assert replay(session, attempt, service).verdict == "same"
    withdraw(write, anna)
    session.expire_all()
    session.rollback()
    found = replay(session, attempt, service)
    assert found.verdict == "not reproducible"
    assert found.causes == ("A participant’s text was erased from what it was shown.",)
    assert [check.name for check in found.checks if not check.is_same] == ["messages"]


def test_names_that_are_words_can_be_left_in_sentences(session, write, study):
    sky, bo = builders.make_person(study, "sky"), builders.make_person(study, "bo")
    builders.make_post(bo, "The sky is grey, @sky.")
    withdraw(write, sky, only_mentions=True)
    pseudonym = session.scalars(select(Withdrawal.pseudonym)).one()
    assert session.scalars(select(Post.text)).all() == [f"The sky is grey, @{pseudonym}."]


def test_too_many_or_too_long_names_are_refused(write, scene, anna):
    for names in (["x"] * 21, ["x" * 81]):
        with write() as writing, pytest.raises(BadInput, match="at most 20 names") as caught:
            row = writing.get_one(UserProfile, anna.id)
            withdrawals.ask(writing, row, "anna_k", utc_now(), other_names=names)
        assert caught.value.field == "other_names"


def test_other_experiments_are_not_touched(session, write, scene, anna):
    other = builders.make_person(builders.make_experiment("Other"), "anna_k")
    post = builders.make_post(other, SAID)
    withdraw(write, anna)
    assert session.get_one(Post, post.id).text == SAID
    assert session.get_one(UserProfile, other.id).username == "anna_k"


@pytest.mark.skipif(TEST_DATABASE_URL is not None, reason="PostgreSQL keeps its files itself")
def test_the_files_of_the_database_hold_no_byte_of_it(session, settings, write, scene, anna):
    session.rollback()
    withdraw(write, anna, other_names=["Anna K.", "annie"])
    assert compacting.is_wanted()
    session.rollback()
    session.close()
    erasing.erase_for(1)
    assert not compacting.is_wanted()
    db.session.remove()
    files = [path for path in settings.data_dir.rglob("*") if path.is_file()]
    assert any(path.name == "discourse_twins.sqlite3" for path in files)
    for path in files:
        held = path.read_bytes()
        assert not [needle for needle in NEEDLES if needle.encode() in held], path


@pytest.mark.skipif(TEST_DATABASE_URL is not None, reason="PostgreSQL keeps its backups itself")
def test_a_tombstone_lies_beside_the_backups_once(settings, write, scene, anna):
    withdraw(write, anna)
    erasing.erase_for(1)
    file = settings.data_dir / "backups" / tombstones.NAME
    assert [each.profile for each in tombstones.read(file)] == [anna.uuid]
    assert file.stat().st_mode & 0o777 == 0o600
    with file.open("a") as more:
        more.write('{"profile": "not')
    assert len(tombstones.read(file)) == 1
