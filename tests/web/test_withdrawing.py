"""The page on which somebody is withdrawn: what it says before, while and after, and who may."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from pdsapp.domain.reasons import ExperimentState
from pdsapp.models import (
    Attempt,
    AuditEvent,
    Experiment,
    Post,
    ProcessKind,
    UserProfile,
    Withdrawal,
    utc_now,
)
from pdsapp.services import erasing, heartbeats, posts, withdrawals
from tests import builders
from tests.conftest import TEST_DATABASE_URL
from tests.web.looking import words_of

SAID = "My sister lost her job at the harbour in May, and nobody will say why."


@pytest.fixture
def anna(rows):
    anna = builders.make_person(rows.experiment, "anna_k")
    builders.make_post(anna, SAID)
    builders.make_post(builders.make_person(rows.experiment, "bo"), f"Annie wrote: {SAID}", minutes=1)
    return anna


@pytest.fixture
def page(anna):
    return f"/admin/userprofile/withdraw/?id={anna.id}"


def test_the_page_says_what_goes_what_stays_and_which_copies_are_older(researcher, page, rows):
    researcher.get("/admin/post/export/csv/")
    researcher.get(f"/experiments/{rows.experiment.identifier}/feed.csv")
    words = words_of(researcher.get(page))
    assert "Their posts, replies among them 1" in words
    assert "anna_k" in words and "every sum stay as they are" in words
    assert "Posts, by researcher@example.org" in words and "Feed, by researcher@example.org" in words
    assert "There is no backup in the data folder" in words


@pytest.mark.skipif(TEST_DATABASE_URL is not None, reason="a server's backups are not made here")
def test_a_backup_that_was_downloaded_is_among_the_older_copies(administrator, page, settings):
    administrator.post("/system/backup")
    (backup,) = (settings.data_dir / "backups").glob("hand-*")
    administrator.get(f"/system/backup/{backup.name}")
    backup.unlink()
    assert f"Backup {backup.name}, by " in words_of(administrator.get(page))


@pytest.mark.parametrize(
    "address", ["/admin/post/export/csv/", "/experiments/{}/feed.csv", "/dashboard/who.csv"]
)
def test_who_asks_for_the_head_of_a_file_has_taken_none(researcher, page, rows, address, session):
    researcher.head(address.format(rows.experiment.identifier))
    assert session.scalars(select(AuditEvent).where(AuditEvent.action == "export")).all() == []


def test_with_the_username_it_is_erased_and_the_page_says_how_far_it_is(researcher, page, anna, session):
    data = {"id": anna.id, "username": "anna_k", "other_names": "Annie\n\n"}
    answer = researcher.post(page, data=data, follow_redirects=True)
    words = words_of(answer)
    pseudonym = session.scalars(select(Withdrawal.pseudonym)).one()
    assert f"the profile is @{pseudonym} now" in words
    assert "No scheduler is alive to go on" in words and 'data-renew="2"' in answer.text
    assert erasing.finish(session.scalars(select(Withdrawal.id)).one(), 10)
    after = researcher.get(page)
    words = words_of(after)
    assert "Posts 1" in words and "Earlier texts of posts 1" in words
    assert "written anew within the next minute" in words
    assert "data-renew" not in after.text
    erasing.erase_for(1)
    assert "holds none of it any more" in words_of(researcher.get(page))


@pytest.mark.parametrize("typed", ["", "anna", "Anna_K"])
def test_another_name_erases_nothing_and_stays_in_the_form(researcher, page, anna, session, typed):
    answer = researcher.post(page, data={"id": anna.id, "username": typed, "other_names": "Annie"})
    assert answer.status_code == 400
    assert "Nothing was erased" in words_of(answer) and "Annie" in answer.text
    assert session.scalars(select(Withdrawal)).all() == []
    assert session.get_one(UserProfile, anna.id).username == "anna_k"


@pytest.mark.parametrize("state", [ExperimentState.ended, ExperimentState.archived])
def test_also_where_the_experiment_is_only_read(researcher, page, anna, session, write, rows, state):
    with write() as writing:
        writing.execute(update(Experiment).where(Experiment.id == rows.experiment.id).values(state=state))
    details = researcher.get(f"/admin/userprofile/details/?id={anna.id}")
    assert "Withdraw …" in words_of(details)
    answer = researcher.post(page, data={"id": anna.id, "username": "anna_k"})
    assert answer.status_code == 302
    assert session.scalars(select(Withdrawal.experiment_id)).one() == rows.experiment.id


def test_a_viewer_withdraws_nobody(viewer, page, anna, session):
    assert viewer.get(page).status_code == 403
    assert viewer.post(page, data={"id": anna.id, "username": "anna_k"}).status_code == 403
    assert session.scalars(select(Withdrawal)).all() == []
    assert "Withdraw …" not in words_of(viewer.get(f"/admin/userprofile/details/?id={anna.id}"))


def test_pressing_twice_erases_once(researcher, page, anna, session):
    data = {"id": anna.id, "username": "anna_k"}
    assert researcher.post(page, data=data).status_code == 302
    again = researcher.post(page, data=data)
    assert again.status_code == 200 and "Being erased" in words_of(again)
    assert len(session.scalars(select(Withdrawal)).all()) == 1


def test_no_screen_shows_a_name_or_a_text_any_more(administrator, page, anna, rows, session):
    administrator.post(page, data={"id": anna.id, "username": "anna_k", "other_names": "Annie"})
    erasing.finish(session.scalars(select(Withdrawal.id)).one(), 10)
    post = session.scalars(select(Post.id).where(Post.user_profile_id == anna.id)).one()
    addresses = (
        "/admin/userprofile/", f"/admin/userprofile/details/?id={anna.id}", "/admin/post/",
        f"/admin/post/details/?id={post}", "/admin/audit/", "/admin/", "/activity",
        f"/experiments/{rows.experiment.identifier}/feed?hidden=shown",
        f"/experiments/{rows.experiment.identifier}/feed.jsonl", "/admin/post/export/csv/",
    )  # fmt: skip
    for address in addresses:
        answer = administrator.get(address)
        assert answer.status_code == 200, address
        assert not [word for word in ("anna_k", "Annie", "sister lost her job") if word in answer.text], (
            address
        )
    shown = words_of(administrator.get("/admin/userprofile/"))
    assert "withdrawn" in shown and "Lift the ban" not in shown
    assert administrator.get(f"/admin/userprofile/edit/?id={anna.id}").status_code == 400
    assert administrator.post("/admin/userprofile/unban/", data={"id": anna.id}).status_code in (302, 400)
    session.expire_all()
    session.rollback()
    assert session.get_one(UserProfile, anna.id).is_banned


def test_what_others_said_below_an_erased_post_stays_readable(researcher, page, anna, rows, session, write):
    feed = f"/experiments/{rows.experiment.identifier}/feed"
    with write() as writing:
        parent = writing.scalars(select(Post).where(Post.user_profile_id == anna.id)).one()
        bo = writing.scalars(select(UserProfile).where(UserProfile.username == "bo")).one()
        posts.add_post(writing, bo, "Who decides that, I wonder.", utc_now(), parent=parent)
    researcher.post(page, data={"id": anna.id, "username": "anna_k"})
    erasing.finish(session.scalars(select(Withdrawal.id)).one(), 10)
    shown = words_of(researcher.get(feed))
    assert "erased" in shown and "[erased]" in shown and "Who decides that, I wonder." in shown
    exported = researcher.get(f"{feed}.csv").text
    assert "Who decides that, I wonder." in exported and "sister" not in exported


def test_one_that_takes_long_is_on_the_attention_list(researcher, page, anna, write, rows):
    with write() as writing:
        profile = writing.get_one(UserProfile, anna.id)
        withdrawals.ask(writing, profile, "anna_k", utc_now() - timedelta(minutes=2))
    answer = researcher.get("/admin/")
    assert "is being erased." in words_of(answer) and f"withdraw/?id={anna.id}" in answer.text


def test_the_audit_log_names_nobody(administrator, page, anna, session):
    administrator.post(page, data={"id": anna.id, "username": "anna_k"})
    erasing.finish(session.scalars(select(Withdrawal.id)).one(), 10)
    session.rollback()
    event = session.scalars(select(AuditEvent).where(AuditEvent.action == "withdraw")).one()
    assert event.object_name.startswith("@withdrawn_") and event.actor == "administrator@example.org"


def test_a_twin_that_is_asked_meanwhile_waits_and_its_page_says_for_what(researcher, page, anna, rows, write):
    researcher.post(page, data={"id": anna.id, "username": "anna_k"})
    number = builders.add_attempt(rows.twin)
    with write() as writing:
        heartbeats.beat(writing, ProcessKind.worker, "w1", utc_now(), "default,now")
        attempt = writing.get_one(Attempt, number)
        attempt.lane, uuid = "now", attempt.uuid
    for address in (f"/attempts/{uuid}", f"/attempts/{uuid}/progress"):
        assert (
            "A participant is being erased from this experiment; it is asked when that is done."
            in words_of(researcher.get(address))
        )
    assert erasing.finish(1, 10)
    assert "being erased" not in words_of(researcher.get(f"/attempts/{uuid}"))
