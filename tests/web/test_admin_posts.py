"""The screens of posts, profiles and attempts."""

import csv
import io

import pytest
from sqlalchemy import select

from pdsapp.attempts.create import Request, add_for_twin
from pdsapp.domain.reasons import REASON_CLASS, AttemptState, Reason, Trigger, Visibility
from pdsapp.models import Attempt, DigitalTwin, Experiment, Post, PostRevision, UserProfile
from tests.conftest import NOON


@pytest.fixture
def attempts(rows, write):
    """An attempt that posted and one that skipped."""
    with write() as session:
        twin = session.get(DigitalTwin, rows.twin.id)
        posted = add_for_twin(session, twin, Request(Trigger.cli, "request-of-posted", True), NOON)
        skipped = add_for_twin(session, twin, Request(Trigger.button, "request-of-skipped"), NOON)
        for attempt, state, reason in (
            (posted, AttemptState.posted, Reason.forced),
            (skipped, AttemptState.skipped, Reason.recency),
        ):
            attempt.state, attempt.reason, attempt.reason_class = state, reason, REASON_CLASS[reason]
            attempt.finished_at = NOON
        session.add(
            Post(
                experiment_id=twin.experiment_id,
                user_profile_id=twin.user_profile_id,
                attempt_id=posted.id,
                text="=SUM(1) said the twin.",
                is_stand_in=True,
                created_at=NOON,
                changed_at=NOON,
            )
        )
        return posted, skipped


def test_a_post_is_written_in_a_persons_name(researcher, rows, session):
    page = researcher.get("/admin/post/new/?experiment=").text
    assert "@ada, Ada · Campus climate" in page
    assert "@maya_reads" not in page
    answer = researcher.post(
        "/admin/post/new/",
        data={"user_profile": rows.person.id, "text": "Anyone there?"},
        follow_redirects=True,
    )
    assert "Anyone there?" in answer.text
    post = session.scalars(select(Post).order_by(Post.id.desc()).limit(1)).one()
    assert (post.user_profile_id, post.experiment_id) == (rows.person.id, rows.experiment.id)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"text": "x" * 281}, "at most 280 fit"),
        ({"text": "  "}, "must not be empty"),
        ({"user_profile": "1"}, "valid choice"),
    ],
    ids=["too long", "blank", "a twin"],
)
def test_what_cannot_be_posted_is_said_and_not_saved(researcher, rows, session, values, words):
    answer = researcher.post("/admin/post/new/", data={"user_profile": rows.person.id, "text": "Hi"} | values)
    assert answer.status_code == 400
    assert words in answer.text
    assert len(session.scalars(select(Post)).all()) == 1


def test_an_edited_post_keeps_what_it_said_before(researcher, rows, session):
    page = f"/admin/post/edit/?id={rows.post.id}"
    assert "Third bus in a row." in researcher.get(page).text
    researcher.post(page, data={"text": "Fourth bus.", "edit_version": 1})
    assert session.scalars(select(PostRevision.text).order_by(PostRevision.number)).all() == [
        "Third bus in a row.",
        "Fourth bus.",
    ]
    shown = researcher.get(f"/admin/post/details/?id={rows.post.id}").text
    assert "Third bus in a row." in shown
    assert "Fourth bus." in shown
    again = researcher.post(page, data={"text": "Fifth bus.", "edit_version": 1})
    assert "Somebody else has saved this" in again.text


def test_what_a_twin_wrote_is_hidden_and_never_edited(researcher, rows, attempts, session):
    post = session.scalars(select(Post).where(Post.attempt_id.is_not(None))).one()
    page = researcher.get(f"/admin/post/details/?id={post.id}").text
    assert "stand-in" in page
    assert f"/attempts/{attempts[0].uuid}" in page
    assert f"/admin/post/edit/?id={post.id}" not in page
    assert researcher.get(f"/admin/post/edit/?id={post.id}").status_code == 400
    answer = researcher.post(f"/admin/post/edit/?id={post.id}", data={"text": "Mine now", "edit_version": 1})
    assert answer.status_code == 400
    researcher.post("/admin/post/hide/", data={"id": post.id})
    session.rollback()
    assert (post.visibility, post.text) == (Visibility.hidden, "=SUM(1) said the twin.")
    researcher.post("/admin/post/show/", data={"id": post.id})
    session.rollback()
    assert post.visibility == Visibility.visible


def test_a_person_is_added_banned_and_deleted(researcher, rows, session):
    data = {"experiment": rows.experiment.id, "username": "ben", "display_name": "", "bio": ""}
    researcher.post("/admin/userprofile/new/", data=data)
    ben = session.scalars(select(UserProfile).where(UserProfile.username == "ben")).one()
    assert (ben.is_bot, ben.display_name) == (False, "ben")
    assert "exists in this experiment already" in researcher.post("/admin/userprofile/new/", data=data).text
    researcher.post("/admin/userprofile/ban/", data={"id": ben.id})
    session.rollback()
    assert ben.is_banned
    researcher.post("/admin/userprofile/unban/", data={"id": ben.id})
    researcher.post("/admin/userprofile/delete/", data={"id": ben.id})
    session.rollback()
    assert session.scalars(select(UserProfile).where(UserProfile.username == "ben")).all() == []
    answer = researcher.post("/admin/userprofile/delete/", data={"id": rows.person.id}, follow_redirects=True)
    assert "@ada has 1 post, and they keep their author. Ban it instead." in answer.text


def test_banning_a_twins_profile_takes_it_out_of_the_draw(researcher, rows, session):
    researcher.post("/admin/userprofile/ban/", data={"id": rows.twin.user_profile_id})
    assert session.get(DigitalTwin, rows.twin.id).active_rank is None
    assert session.get(Experiment, rows.experiment.id).active_twin_count == 0
    assert "banned" in researcher.get("/admin/digitaltwin/").text
    location = researcher.get(f"/admin/userprofile/edit/?id={rows.twin.user_profile_id}").location
    assert location == f"/admin/digitaltwin/edit/?id={rows.twin.id}"


def test_attempts_are_listed_filtered_and_lead_to_their_page(viewer, rows, attempts):
    posted, skipped = attempts
    for query, expected in {
        "": {posted, skipped},
        "state=posted": {posted},
        "reason=recency": {skipped},
        "class=rule&trigger=button": {skipped},
        "twin=@Maya_reads": {posted, skipped},
        "twin=nobody": set(),
        f"experiment={rows.experiment.identifier}": {posted, skipped},
    }.items():
        page = viewer.get(f"/admin/attempt/?{query}").text
        assert {a for a in attempts if f"/attempts/{a.uuid}" in page} == expected, query
    assert viewer.get(f"/admin/attempt/details/?id={posted.id}").location == f"/attempts/{posted.uuid}"


def test_nobody_changes_an_attempt(researcher, attempts, session):
    for path in ("new", "edit", "delete", "action"):
        answer = researcher.post(f"/admin/attempt/{path}/", data={"id": 1, "action": "delete", "rowid": 1})
        assert answer.status_code in (302, 404)
    assert len(session.scalars(select(Attempt)).all()) == 2


def test_the_export_of_attempts_has_the_contracts_columns_and_no_formulas(viewer, attempts):
    from pdsapp.services.attempt_rows import FIELDS

    text = viewer.get("/admin/attempt/export/csv/").text
    head, *lines = csv.reader(io.StringIO(text))
    assert tuple(head) == FIELDS
    posted = next(line for line in lines if line[FIELDS.index("state")] == "posted")
    assert posted[FIELDS.index("content")] == "'=SUM(1) said the twin."
    assert posted[FIELDS.index("forced")] == "yes"
