"""Where words and names of somebody who withdrew may hide: texts changed later, escapes, names of fields."""

import json
from datetime import timedelta

import pytest
from sqlalchemy import select

from pdsapp.domain.erasure import ERASED
from pdsapp.extensions import db
from pdsapp.models import Attempt, AuditEvent, Experiment, Notice, Post, UserProfile, Withdrawal, utc_now
from pdsapp.services import audit, edits, erasing, exports, posts, withdrawals
from tests import builders

pytestmark = pytest.mark.database
SAID = "My sister lost her job at the harbour in May, and nobody at the office will say why."
QUOTE = "lost her job at the harbour in May"


def withdraw(write, person, **options):
    with write() as writing:
        row = writing.get_one(UserProfile, person.id)
        made = withdrawals.ask(writing, row, row.username, utc_now(), **options)
        writing.flush()
        key = made.id
    assert erasing.finish(key, 10)
    db.session.rollback()


def test_a_post_of_before_that_was_changed_to_quote_them_is_erased(session, write, study):
    anna, bo = builders.make_person(study, "anna_k"), builders.make_person(study, "bo")
    older = builders.make_post(bo, "Good morning to all of you at the harbour.", minutes=90)
    builders.make_post(anna, SAID, minutes=60)
    with write() as writing:
        posts.change_text(writing, writing.get_one(Post, older.id), f"She {QUOTE}.", utc_now())
    withdraw(write, anna)
    assert session.get_one(Post, older.id).text == f"She {ERASED}."


def test_what_somebody_said_before_them_stays_though_it_was_hidden_since(session, write, study):
    anna, bo = builders.make_person(study, "anna_k"), builders.make_person(study, "bo")
    older = builders.make_post(bo, SAID, minutes=90)
    builders.make_post(anna, f"“{QUOTE}”: how sad.", minutes=60)
    with write() as writing:
        writing.get_one(Post, older.id).changed_at = utc_now()
    withdraw(write, anna)
    assert session.get_one(Post, older.id).text == SAID


def test_a_bio_and_a_description_that_quote_them_are_erased(session, write, study):
    bo = builders.make_person(study, "bo")
    with write() as writing:
        for row in (writing.get_one(UserProfile, bo.id), writing.get_one(Experiment, study.id)):
            row.created_at = utc_now() - timedelta(days=9)
    anna = builders.make_person(study, "anna_k")
    builders.make_post(anna, SAID, minutes=60)
    with write() as writing:
        row = writing.get_one(UserProfile, bo.id)
        edits.change_profile(
            writing, row, row.edit_version, utc_now(), username="bo", display_name="Bo", bio=f"She {QUOTE}!"
        )
        writing.get_one(Experiment, study.id).description = f"Anna {QUOTE}."
    withdraw(write, anna)
    assert session.get_one(UserProfile, bo.id).bio == f"She {ERASED}!"
    assert session.get_one(Experiment, study.id).description == f"Anna {ERASED}."


def test_a_draft_of_an_attempt_that_was_due_before_they_spoke_is_erased(
    session, settings, write, model_server, study, twin
):
    anna = builders.make_person(study, "anna_k")
    waiting = builders.add_attempt(twin)
    with write() as writing:
        attempt = writing.get_one(Attempt, waiting)
        attempt.created_at -= timedelta(hours=3)
        attempt.not_before -= timedelta(hours=3)
    builders.make_post(anna, SAID, minutes=60)
    for _ in range(3):  # whatever length is asked for
        model_server.enqueue(f"She {QUOTE}. We are sorry.")
    builders.run_due(settings)
    session.rollback()
    assert QUOTE in session.get_one(Attempt, waiting).draft
    withdraw(write, anna)
    assert "harbour" not in session.get_one(Attempt, waiting).draft


def test_a_name_with_letters_that_json_escapes_leaves_the_notices(session, write, study):
    zoe = builders.make_person(study, "zoe")
    with write() as writing:
        row = writing.get_one(UserProfile, zoe.id)
        row.display_name = "Zoë Müller"
        body = {"event": "line", "line": {"title": "Zoë Müller asks", "key": "asked_if_human:1"}}
        writing.add(Notice(event="line", title="Zoë Müller asks", body=json.dumps(body, ensure_ascii=True)))
    withdraw(write, zoe)
    notice = session.scalars(select(Notice)).one()
    pseudonym = session.scalars(select(Withdrawal.pseudonym)).one()
    assert json.loads(notice.body)["line"]["title"] == notice.title == f"{pseudonym} asks"


def test_somebody_called_like_a_field_breaks_no_audit_event(session, write, study):
    exports.note("feed", study.id, utc_now())
    withdraw(write, builders.make_person(study, "what"))
    assert [each.what for each in exports.noted(session, study.id, None)] == ["feed"]


def test_names_of_a_profile_that_had_the_same_number_are_not_theirs(session, write, study):
    """SQLite gives the number of a deleted row to the next one."""
    anna = builders.make_person(study, "anna_k")
    builders.make_post(builders.make_person(study, "bo"), "Autumn is here, at last.")
    with write() as writing:
        row = writing.get_one(UserProfile, anna.id)
        audit.record(writing, "change", row, utc_now(), before={"username": "autumn"}, after={})
        event = writing.scalars(select(AuditEvent).order_by(AuditEvent.id.desc()).limit(1)).one()
        event.experiment_id = None
    withdraw(write, anna)
    assert "Autumn is here, at last." in session.scalars(select(Post.text)).all()


def test_two_who_spoke_of_each_other_and_withdraw_together_leave_nothing(session, write, study):
    anna, bo = builders.make_person(study, "anna_k"), builders.make_person(study, "bo_keller")
    cy = builders.make_person(study, "cy")
    builders.make_post(bo, "Yesterday I met anna_k at the old harbour.", minutes=60)
    quoting = builders.make_post(cy, "He wrote: Yesterday I met anna_k at the old harbour. Well!", minutes=30)
    with write() as writing:
        for person in (anna, bo):
            row = writing.get_one(UserProfile, person.id)
            withdrawals.ask(writing, row, row.username, utc_now())
    keys = session.scalars(select(Withdrawal.id).order_by(Withdrawal.id)).all()
    session.rollback()
    assert erasing.finish(keys[0], 10)
    waiting = session.scalars(select(Withdrawal.texts).where(Withdrawal.id == keys[1])).one()
    assert "anna_k" not in json.dumps(waiting)
    session.rollback()
    assert erasing.finish(keys[1], 10)
    assert session.get_one(Post, quoting.id, populate_existing=True).text == f"He wrote: {ERASED}. Well!"
