"""Importing people's posts: read, planned, then all of it once or nothing."""

import json
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
import sqlalchemy as sa
from sqlalchemy import func, select

from pdsapp.domain.reasons import ExperimentState, Visibility
from pdsapp.errors import BadInput, ReadOnly
from pdsapp.extensions import db
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
from pdsapp.services import post_files, post_import, post_plan, rollups
from pdsapp.services.facets import AUTHORS, POST_KINDS
from pdsapp.services.persona_files import NamedFile
from pdsapp.services.tallying import Stretch
from tests import builders
from tests.service.test_rollups import counted, from_rows, roll_up_all

pytestmark = pytest.mark.database

NOW = datetime(2026, 11, 21, 12, 7, 30, tzinfo=UTC)
HEADER = "author,text,time,parent,id\n"
TALK = (
    "@Ada,The early train was on time.,2026-11-20T08:30,,a\n"
    "bob,So was mine.,2026-11-20T09:00:00+01:00,a,b\n"
    "ada,Which line?,2026-11-20 10:15,b,c\n"
)


@pytest.fixture
def study(app):
    return builders.make_experiment()


@pytest.fixture
def people(study):
    return [builders.make_person(study, name) for name in ("ada", "bob")]


def read(text, name="talk.csv"):
    return post_files.read_file(NamedFile(name, text if isinstance(text, bytes) else text.encode()))


@pytest.fixture
def plan_of(study, write):
    """`plan_of(text)` plans the import of a CSV file with this text."""

    def plan(text, name="talk.csv", now=NOW, of=None):
        with write() as session:
            found = session.get_one(Experiment, (of or study).id)
            return post_plan.make_plan(session, found, read(text, name), now)

    return plan


@pytest.fixture
def bring_in(study, write, plan_of):
    """`bring_in(text)` imports a CSV file with this text."""

    def run(text, now=NOW, **more):
        plan = plan_of(text, now=now)
        with write() as session:
            found = session.get_one(Experiment, study.id)
            return post_import.import_posts(session, found, plan, now, **more)

    return run


@pytest.fixture
def count_statements(app):
    """`with count_statements() as statements:` collects what is sent to the database meanwhile."""

    @contextmanager
    def counting():
        statements = []
        listen = lambda *args: statements.append(args[2])  # noqa: E731
        sa.event.listen(db.engine, "before_cursor_execute", listen)
        try:
            yield statements
        finally:
            sa.event.remove(db.engine, "before_cursor_execute", listen)

    return counting


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


def count(session, model=Post):
    session.rollback()
    return session.scalar(select(func.count()).select_from(model))


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
    with pytest.raises(post_import.ImportErrors, match="10 things have to be mended"), write() as own:
        post_import.import_posts(own, own.get_one(Experiment, study.id), plan, NOW)
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


def test_two_at_once_make_the_posts_once(app, plan_of, people, study, write, session):
    plan = plan_of(HEADER + TALK + "eve,Hello.,,,\n")
    barrier, found = threading.Barrier(2), []

    def run():
        with app.app_context():
            barrier.wait()
            with write() as own:
                experiment = own.get_one(Experiment, study.id)
                done = post_import.import_posts(own, experiment, plan, NOW, add_people=True)
            found.append(done.is_new)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(found) == [False, True]
    assert count(session) == count(session, PostRevision) == 4 and count(session, UserProfile) == 3


def test_twenty_thousand_rows_take_few_statements_and_no_long(plan_of, bring_in, people, count_statements):
    ends = NOW - timedelta(days=1)
    rows = "".join(
        f"{('ada', 'bob')[number % 2]},Post {number}.,{ends - timedelta(minutes=7 * (20_000 - number))},"
        f"{f'p{number - 3}' if number % 4 == 3 else ''},p{number}\n"
        for number in range(20_000)
    )
    started = time.monotonic()
    with count_statements() as statements:
        done = bring_in(HEADER + rows)
    assert done.is_new and time.monotonic() - started < 30
    assert len(statements) < 200, len(statements)


def test_the_same_content_goes_into_another_experiment_too(bring_in, plan_of, people, app):
    bring_in(HEADER + TALK)
    other = builders.make_experiment("Other")
    assert not plan_of(HEADER + TALK, of=other).is_there


def test_what_changed_since_it_was_seen_is_not_imported(plan_of, people, write, study, session):
    plan = plan_of(HEADER + TALK)
    with write() as own:
        own.get_one(UserProfile, people[1].id).is_banned = True
    with pytest.raises(BadInput, match="changed what this was made from"), write() as own:
        post_import.import_posts(own, own.get_one(Experiment, study.id), plan, NOW)
    assert count(session) == 0


def test_somebody_who_came_meanwhile_is_not_added_twice(plan_of, people, write, study, session):
    plan = plan_of("author,text\neve,Hello.\n")
    builders.make_person(study, "Eve")
    with pytest.raises(BadInput, match="changed what this was made from"), write() as own:
        post_import.import_posts(own, own.get_one(Experiment, study.id), plan, NOW, add_people=True)
    assert count(session) == 0


@pytest.mark.parametrize("state", [ExperimentState.ended, ExperimentState.archived])
def test_an_experiment_that_is_over_takes_no_posts(plan_of, people, write, study, session, state):
    plan = plan_of(HEADER + TALK)
    with write() as own:
        own.get_one(Experiment, study.id).state = state
    with pytest.raises(ReadOnly), write() as own:
        post_import.import_posts(own, own.get_one(Experiment, study.id), plan, NOW)
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


@pytest.mark.parametrize("is_rolled_up", [True, False], ids=["rolled up", "not rolled up"])
def test_sums_are_right_at_once_and_stay_so(bring_in, study, people, write, is_rolled_up):
    facets = (POST_KINDS, AUTHORS)
    now = utc_now()
    for minutes in (5, 300, 3000):
        builders.make_post(people[0], minutes=minutes)
    if is_rolled_up:
        roll_up_all(now)
    rows = "".join(
        f"{name},Post {number}.,{(now - timedelta(hours=number)).isoformat()},,\n"
        for number in range(1, 140)
        for name in ("ada", "bob")
    )
    bring_in(HEADER + rows + f"ada,Reply.,{(now - timedelta(hours=2)).isoformat()},,x\nada,Reply.,,x,\n", now)
    stretch = Stretch.ending(now + timedelta(seconds=1), 7 * 86_400)
    assert sum(row[-1] for row in counted(stretch, facets=(POST_KINDS,))["post_tally"] if row[0]) == 283
    assert counted(stretch, facets=facets) == from_rows(stretch, facets=facets)
    roll_up_all(now + timedelta(minutes=30))
    assert counted(stretch, facets=facets) == from_rows(stretch, facets=facets)


def test_sums_stay_right_where_many_quarters_are_counted_at_once(bring_in, people, monkeypatch):
    monkeypatch.setattr(rollups, "MOST_RUNS", 3)
    now = utc_now()
    for hours in range(0, 150, 5):
        builders.make_post(people[0], minutes=60 * hours + 1)
    roll_up_all(now)
    times = [now - timedelta(hours=7 * number + number % 3) for number in range(20)]
    bring_in(HEADER + "".join(f"bob,Post {when}.,{when.isoformat()},,\n" for when in times), now)
    stretch = Stretch.ending(now + timedelta(seconds=1), 7 * 86_400)
    facets = (POST_KINDS, AUTHORS)
    assert counted(stretch, facets=facets) == from_rows(stretch, facets=facets)


@pytest.mark.parametrize("most", [1, 2, 3, 10])
def test_runs_cover_every_block_and_are_few(most, monkeypatch):
    monkeypatch.setattr(rollups, "MOST_RUNS", most)
    starts = {900 * number for number in (0, 1, 5, 6, 7, 20, 22, 40)}
    runs = rollups._runs(starts, 900)
    assert len(runs) <= most
    assert all(any(first <= start < last for first, last in runs) for start in starts)
    assert all(a[1] < b[0] for a, b in pairwise(runs))
    assert most < 10 or runs == [(0, 1800), (4500, 7200), (18000, 18900), (19800, 20700), (36000, 36900)]
