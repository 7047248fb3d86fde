"""Importing people's posts: read, planned, then all of it once or nothing."""

import json
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select

from pdsapp.domain.reasons import ExperimentState, Visibility
from pdsapp.errors import BadInput, ReadOnly
from pdsapp.models import (
    AuditEvent,
    DigitalTwin,
    Experiment,
    Post,
    PostRevision,
    ProtocolChange,
    UserProfile,
    utc_now,
)
from pdsapp.services import post_import, withdrawals
from tests import builders
from tests.service import importing
from tests.service.importing import HEADER, NOW, TALK, carry_out, count

pytestmark = pytest.mark.database


@pytest.fixture
def study(app):
    return builders.make_experiment()


@pytest.fixture
def people(study):
    return [builders.make_person(study, name) for name in ("ada", "bob")]


@pytest.fixture
def plan_of(study):
    """`plan_of(text)` plans the import of a CSV file with this text."""
    return lambda text, *more, of=None, **options: importing.plan_of(of or study, text, *more, **options)


@pytest.fixture
def bring_in(study):
    """`bring_in(text)` imports a CSV file with this text."""
    return lambda text, *more, **options: importing.bring_in(study, text, *more, **options)


def errors_of(plan):
    return [(each.place, each.column, each.message) for each in plan.errors]


def feed(session):
    """Author, text, time and parent's text of every post, by its id."""
    session.rollback()
    session.expire_all()
    texts = {key: text for key, text in session.execute(select(Post.id, Post.text))}
    return [
        (each.user_profile.username, each.text, each.created_at, texts.get(each.parent_id))
        for each in session.scalars(select(Post).order_by(Post.id))
    ]


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_posts_and_replies_are_there_with_their_times_and_first_revisions(bring_in, people, session):
    done = bring_in(HEADER + TALK)
    assert done.is_new
    top = "The early train was on time."
    assert feed(session) == [
        ("ada", top, at("2026-11-20T07:30"), None),
        ("bob", "So was mine.", at("2026-11-20T08:00"), top),
        ("ada", "Which line?", at("2026-11-20T09:15"), top),
    ]
    revisions = session.execute(select(PostRevision.number, PostRevision.text, PostRevision.created_at))
    assert sorted(map(tuple, revisions)) == sorted((1, text, when) for _, text, when, _ in feed(session))
    posts = session.scalars(select(Post)).all()
    assert {(p.changed_at, p.revision, p.is_rehearsal, p.visibility) for p in posts} == {
        (NOW, 1, False, Visibility.visible)
    }
    assert done.first_seen == posts[0].uuid


def test_a_dry_run_counts_and_writes_nothing(plan_of, people, session):
    plan = plan_of(HEADER + TALK + "Eve,Hello.,,,\n")
    assert (plan.counts_words, plan.author_count, plan.new_people) == ("2 posts and 2 replies", 3, ("Eve",))
    assert plan.period == (at("2026-11-20T07:30"), at("2026-11-20T09:15")) and plan.timeless_count == 1
    assert [post.reply_to for post in plan.posts] == ["", "@ada, line 2", "@bob, line 3", ""]
    assert not plan.errors and count(session) == 0 and count(session, UserProfile) == 2


def test_a_row_without_a_time_is_posted_now(bring_in, people, session):
    bring_in("text,author\nHello.,ada\n")
    assert feed(session) == [("ada", "Hello.", NOW, None)]


def test_people_who_are_not_here_are_added_only_when_asked_for(bring_in, people, session):
    text = "author,text\nEve,Hello.\n@eve,Again.\nzoe.x,Me too.\n"
    with pytest.raises(BadInput, match=r"Not here yet: @Eve, @zoe\.x\.") as refused:
        bring_in(text)
    assert refused.value.field == "add_people" and count(session) == 0
    bring_in(text, add_people=True)
    assert [(author, said) for author, said, _, _ in feed(session)] == [
        ("Eve", "Hello."), ("Eve", "Again."), ("zoe.x", "Me too."),
    ]  # fmt: skip
    eve = session.scalars(select(UserProfile).where(UserProfile.username_key == "eve")).one()
    assert (eve.is_bot, eve.is_banned, eve.display_name) == (False, False, "Eve")


def test_every_mistake_is_listed_by_row_and_column(plan_of, study, people, write, session):
    builders.make_twin(study, "robo")
    with write() as own:
        own.get_one(UserProfile, people[1].id).is_banned = True
    plan = plan_of(
        HEADER
        + "robo,I am a twin.,,,\n"
        + "bob,I am banned.,,,\n"
        + "a b,No name.,,,\n"
        + f"ada,{'x' * 281},,,\n"
        + "ada,,yesterday,,\n"
        + "ada,Tomorrow.,2026-11-22T08:00,,\n"
        + "ada,Long ago.,1969-12-31T23:00Z,,\n"
        + "short\n"
        + "ada,Twice.,,,k\n"
        + "ada,Twice.,,,k\n"
    )
    found = [(place, column) for place, column, _ in errors_of(plan)]
    assert found == [
        ("line 2", "author"), ("line 3", "author"), ("line 4", "author"), ("line 5", "text"),
        ("line 6", "text"), ("line 6", "time"), ("line 7", "time"), ("line 8", "time"), ("line 9", ""),
        ("line 11", "id"),
    ]  # fmt: skip
    words = " ".join(message for _, _, message in errors_of(plan))
    for each in (
        "@robo is a twin", "@bob is banned", "Use 1 to 30", "at most 280 fit", "must not be empty",
        "no time in ISO 8601", "lies in the future", "before 1970", "another number of cells",
        "This is the id of line 10 already",
    ):  # fmt: skip
        assert each in words
    with pytest.raises(post_import.ImportErrors, match="10 things have to be mended"):
        carry_out(study, plan)
    assert count(session) == 0


@pytest.mark.parametrize(
    ("rows", "place", "words"),
    [
        ("ada,Reply.,,b,a\nada,Top.,,,b\n", "line 2", "This is line 3, further down"),
        ("ada,One.,,b,a\nada,Two.,,a,b\n", "line 2", "This is line 3, further down"),
        ("ada,One.,,a,a\n", "line 2", "no reply to itself"),
        ("ada,One.,,nobody,a\n", "line 2", "no row above with this id"),
        ("ada,One.,,01938f5e-0000-7000-8000-000000000000,a\n", "line 2", "no post in this feed"),
    ],
    ids=["further down", "a cycle", "itself", "unknown id", "unknown UUID"],
)  # fmt: skip
def test_a_parent_is_a_row_above_or_a_post_of_the_feed(plan_of, people, rows, place, words):
    plan = plan_of(HEADER + rows)
    (found,) = plan.errors
    assert (found.place, found.column) == (place, "parent") and words in found.message


def test_a_reply_is_never_earlier_than_what_it_replies_to(plan_of, people):
    plan = plan_of(
        HEADER
        + "ada,Top.,2026-11-20T10:00,,a\n"
        + "ada,Earlier.,2026-11-20T09:59,a,\n"
        + "ada,Now.,,,n\n"
        + "ada,Before now.,2026-11-20T10:00,n,\n"
        + "ada,The same moment.,2026-11-20T10:00,a,\n"
    )
    assert [(place, column) for place, column, _ in errors_of(plan)] == [
        ("line 3", "time"),
        ("line 5", "time"),
    ]
    assert "earlier than line 2" in plan.errors[0].message


def test_replies_hang_below_posts_that_are_there(bring_in, study, people, session, write):
    top = builders.make_post(people[1], "In the feed.", minutes=60)
    with write() as own:
        reply = Post(
            experiment_id=study.id, user_profile_id=people[0].id, parent_id=top.id, text="A reply.",
            created_at=top.created_at, changed_at=top.created_at,
        )  # fmt: skip
        own.add(reply)
    done = bring_in(f"{HEADER}ada,To the post.,,{top.uuid},\nada,To the reply.,,{reply.uuid},\n", utc_now())
    assert [parent for *_, parent in feed(session)] == [None, *["In the feed."] * 3]
    assert done.first_seen == top.uuid


def test_parents_elsewhere_hidden_or_below_a_hidden_post_are_refused(plan_of, study, people, write):
    elsewhere = builders.make_post(builders.make_person(builders.make_experiment("Other")), "Elsewhere.")
    hidden = builders.make_post(people[0], "Hidden.")
    with write() as own:
        own.get_one(Post, hidden.id).visibility = Visibility.hidden
        below = Post(
            experiment_id=study.id, user_profile_id=people[0].id, parent_id=hidden.id, text="Below.",
            created_at=hidden.created_at, changed_at=hidden.created_at,
        )  # fmt: skip
        own.add(below)
    rows = "".join(f"ada,Reply.,,{post.uuid},\n" for post in (elsewhere, hidden, below))
    messages = [message for *_, message in errors_of(plan_of(HEADER + rows, now=utc_now()))]
    assert "of another experiment" in messages[0]
    assert "is hidden" in messages[1] and "is hidden" in messages[2]


def test_the_replies_of_a_row_with_a_mistake_are_no_mistakes_of_their_own(plan_of, people):
    plan = plan_of(HEADER + "ada,,,,a\nbob,Reply.,,a,b\nada,Reply to that.,,b,c\n")
    assert [(place, column) for place, column, _ in errors_of(plan)] == [("line 2", "text")]


@pytest.mark.parametrize(
    ("zone", "written", "instant"),
    [
        ("Europe/Rome", "2026-10-25T02:30", "2026-10-25T00:30"),
        ("Europe/Rome", "2026-10-25T02:30+01:00", "2026-10-25T01:30"),
        ("Asia/Kathmandu", "2026-11-20T05:45:30.5", "2026-11-20T00:00:30.5"),
        ("Pacific/Kiritimati", "2026-11-20", "2026-11-19T10:00"),
        ("America/New_York", "2026-11-20T08:00:00Z", "2026-11-20T08:00"),
        ("UTC", "20261120T0800-0330", "2026-11-20T11:30"),
    ],
)
def test_times_without_an_offset_are_of_the_experiments_zone(app, plan_of, zone, written, instant):
    other = builders.make_experiment("Zone", zone)
    builders.make_person(other, "ada")
    (post,) = plan_of(f"author,text,time\nada,Hello.,{written}\n", of=other).posts
    assert post.created_at == at(instant)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("2026-03-29T02:30", "The clocks of Europe/Rome skip this time"),
        ("20.11.2026 08:00", "no time in ISO 8601"),
        ("2026-11-20T08:00[Europe/Rome]", "no time in ISO 8601"),
        ("0001-01-01T00:00+14:00", "no time in ISO 8601"),
        ("9999-12-31T23:59-12:00", "no time in ISO 8601"),
        ("9999-12-31T23:59", "lies in the future"),
        ("1700000000", "no time in ISO 8601"),
        ("٢٠٢٦-١١-٢٠", "no time in ISO 8601"),
    ],
)
def test_times_nobody_can_place_are_refused(plan_of, people, written, words):
    (error,) = plan_of(f"author,text,time\nada,Hello.,{written}\n").errors
    assert words in error.message and error.column == "time"


def test_the_same_content_is_imported_once_however_it_is_saved(
    bring_in, plan_of, people, session, write, study
):
    first = bring_in(HEADER + TALK)
    assert not bring_in(HEADER + TALK).is_new
    again = bring_in("\ufeff" + (HEADER + TALK).replace("\n", "\r\n"))
    assert not again.is_new and again.first_seen == first.first_seen
    rows = [dict(zip(HEADER.strip().split(","), row.split(","), strict=True)) for row in TALK.splitlines()]
    assert plan_of("\n".join(map(json.dumps, rows)), "talk.jsonl").is_there
    with write() as own:  # what has changed since is no reason to do it again
        own.get_one(UserProfile, people[0].id).is_banned = True
    assert not bring_in(HEADER + TALK).is_new
    assert count(session) == 3
    assert session.scalar(select(func.count()).where(AuditEvent.action == "import")) == 1


def test_what_somebody_who_withdrew_said_does_not_come_back(bring_in, people, session, write):
    bring_in(HEADER + TALK)
    with write() as own:
        withdrawals.ask(own, own.get_one(UserProfile, people[0].id), "ada", NOW)
    assert not bring_in(HEADER + TALK).is_new
    texts = session.scalars(select(Post.text).order_by(Post.id)).all()
    assert texts == ["[erased]", "So was mine.", "[erased]"]


def test_the_same_content_goes_into_another_experiment_too(bring_in, plan_of, people, app):
    bring_in(HEADER + TALK)
    other = builders.make_experiment("Other")
    assert not plan_of(HEADER + TALK, of=other).is_there


def test_what_changed_since_it_was_seen_is_not_imported(plan_of, people, write, study, session):
    plan = plan_of(HEADER + TALK)
    with write() as own:
        own.get_one(UserProfile, people[1].id).is_banned = True
    with pytest.raises(BadInput, match="changed what this was made from"):
        carry_out(study, plan)
    assert count(session) == 0


def test_somebody_who_came_meanwhile_is_not_added_twice(plan_of, people, write, study, session):
    plan = plan_of("author,text\neve,Hello.\n")
    builders.make_person(study, "Eve")
    with pytest.raises(BadInput, match="changed what this was made from"):
        carry_out(study, plan, add_people=True)
    assert count(session) == 0


@pytest.mark.parametrize("state", [ExperimentState.ended, ExperimentState.archived])
def test_an_experiment_that_is_over_takes_no_posts(plan_of, people, write, study, session, state):
    plan = plan_of(HEADER + TALK)
    with write() as own:
        own.get_one(Experiment, study.id).state = state
    with pytest.raises(ReadOnly):
        carry_out(study, plan)
    assert count(session) == 0


def test_posts_of_a_draft_are_part_of_its_rehearsal(bring_in, people, write, study, session):
    with write() as own:
        own.get_one(Experiment, study.id).state = ExperimentState.draft
    bring_in(HEADER + TALK)
    assert set(session.scalars(select(Post.is_rehearsal))) == {True}


def test_the_audit_log_and_the_protocol_have_counts_and_no_texts(bring_in, people, session):
    bring_in(HEADER + TALK + "eve,Hello.,,,\n", add_people=True, reason="From the pilot")
    (event,) = session.scalars(select(AuditEvent).where(AuditEvent.action == "import"))
    assert event.object_type == "experiment" and event.after == {
        "file": "talk.csv", "posts": 2, "replies": 2, "authors": 3, "new_people": 1,
        "from": "2026-11-20T07:30:00+00:00", "until": NOW.isoformat(timespec="seconds"),
    }  # fmt: skip
    (change,) = session.scalars(select(ProtocolChange))
    assert (change.part, change.summary, change.reason) == (
        "posts", "Imported 2 posts and 2 replies from talk.csv", "From the pilot",
    )  # fmt: skip
    assert "train" not in json.dumps([event.after, change.after])


def test_no_twin_has_posted_by_an_import(bring_in, study, people, session):
    twin = builders.make_twin(study)
    bring_in(HEADER + TALK)
    assert session.get_one(DigitalTwin, twin.id).last_post is None
