"""The feed: the discourse as its members read it."""

import re
from datetime import timedelta

import pytest

from pdsapp.domain.reasons import Visibility
from pdsapp.models import Attempt, Post, utc_now
from tests.attempt_rows import add_row
from tests.builders import make_experiment, make_person, make_post, make_twin
from tests.web.looking import assert_nothing_inline, counted_queries, words_of


@pytest.fixture
def study(app):
    return make_experiment("Campus climate", "America/New_York")


@pytest.fixture
def twin(study):
    return make_twin(study, "dr_okafor")


@pytest.fixture
def person(study):
    return make_person(study, "walt")


def feed_of(study, query=""):
    return f"/experiments/{study.identifier}/feed{query}"


def texts_of(answer):
    return re.findall(r'<div class="said"[^>]*>(.*?)</div>', answer.text, re.S)


def test_posts_stand_newest_first_with_author_mark_and_zone(viewer, study, twin, person):
    make_post(person, "Bread is dear.", minutes=9)
    add_row(twin, "posted", "drawn", utc_now() - timedelta(minutes=3), "The bus came.", draw=0.9)
    answer = viewer.get(feed_of(study))
    assert texts_of(answer) == ["The bus came.", "Bread is dear."]
    words = words_of(answer)
    assert "@dr_okafor twin" in words and "@walt person" in words
    assert re.search(r"\d\d:\d\d E[SD]T", words)


def test_each_post_of_a_twin_leads_to_its_attempt(viewer, study, twin, person, session):
    make_post(person)
    number = add_row(twin, "posted", "drawn", utc_now(), "The bus came.", draw=0.9)
    uuid = session.get_one(Attempt, number).uuid
    answer = viewer.get(feed_of(study))
    assert answer.text.count("Why was this posted?") == 1
    assert f'href="/attempts/{uuid}"' in answer.text


def test_text_of_the_offline_writer_is_labelled(viewer, study, twin):
    add_row(twin, "posted", "drawn", utc_now(), "The bus came.", draw=0.9, is_stand_in=True)
    assert "stand-in" in words_of(viewer.get(feed_of(study)))


def test_marks_can_be_switched_off_to_read_it_blind(viewer, study, twin, person):
    make_post(person)
    add_row(twin, "posted", "drawn", utc_now(), "The bus came.", draw=0.9, is_stand_in=True)
    page = viewer.get(feed_of(study, "?marks=off")).text
    articles = " ".join(re.findall(r"<article.*?</article>", page, re.S))
    for telling in ("twin", "person", "stand-in", "Why was this posted", "/attempts/"):
        assert telling not in articles


@pytest.mark.parametrize(("who", "texts"), [("twins", ["The bus came."]), ("people", ["Bread is dear."])])
def test_posts_of_twins_or_people_can_be_read_alone(viewer, study, twin, person, who, texts):
    make_post(person, "Bread is dear.")
    add_row(twin, "posted", "drawn", utc_now(), "The bus came.", draw=0.9)
    assert texts_of(viewer.get(feed_of(study, f"?who={who}"))) == texts


def test_hidden_posts_are_not_shown_and_replies_stand_under_theirs(viewer, study, person, write):
    top = make_post(person, "Bread is dear.", minutes=9)
    hidden = make_post(person, "Hidden.", minutes=8)
    at = utc_now()
    with write() as session:
        session.get_one(Post, hidden.id).visibility = Visibility.hidden
        session.add(
            Post(
                experiment_id=study.id,
                user_profile_id=person.id,
                parent_id=top.id,
                text="So is butter.",
                created_at=at,
                changed_at=at,
            )
        )
    answer = viewer.get(feed_of(study))
    assert texts_of(answer) == ["Bread is dear.", "So is butter."]
    assert 'aria-label="Replies"' in answer.text


def test_posts_of_other_experiments_are_not_shown(viewer, study, person):
    make_post(make_person(make_experiment("Other"), "eve"), "Elsewhere.")
    assert texts_of(viewer.get(feed_of(study))) == []


def link_of(answer, rel):
    found = re.search(rf'href="([^"]+)" rel="{rel}"', answer.text)
    return found and found[1].replace("&amp;", "&")


def test_pages_show_every_post_once_and_lead_back(viewer, study, person):
    for minute in range(70, 0, -1):
        make_post(person, f"Post {minute}.", minutes=minute)
    first = viewer.get(feed_of(study))
    second = viewer.get(link_of(first, "next"))
    third = viewer.get(link_of(second, "next"))
    texts = texts_of(first) + texts_of(second) + texts_of(third)
    assert texts == [f"Post {minute}." for minute in range(1, 71)]
    assert link_of(third, "next") is None and link_of(first, "prev") is None
    assert texts_of(viewer.get(link_of(third, "prev"))) == texts_of(second)
    assert texts_of(viewer.get(link_of(second, "prev"))) == texts_of(first)


def test_a_link_to_a_post_opens_the_feed_there(viewer, study, person):
    make_post(person, "Old.", minutes=9)
    wanted = make_post(person, "Wanted.", minutes=5)
    make_post(person, "New.", minutes=1)
    answer = viewer.get(feed_of(study, f"?start={wanted.uuid}"))
    assert texts_of(answer) == ["Wanted.", "Old."]
    assert f'id="post-{wanted.uuid}"' in answer.text
    assert link_of(answer, "prev")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?who=cats", 400),
        ("?marks=%00", 400),
        ("?before=x", 404),
        ("?start=00000000-0000-0000-0000-000000000000", 404),
    ],
)
def test_an_absurd_address_gets_a_sentence(viewer, study, query, status):
    answer = viewer.get(feed_of(study, query))
    assert answer.status_code == status
    assert "broke" not in words_of(answer)


@pytest.mark.parametrize("text", ["zzzzz", "not-an-id", "00000000-0000-0000-0000-000000000000"])
def test_a_feed_of_no_experiment_is_not_there(viewer, text):
    answer = viewer.get(f"/experiments/{text}/feed")
    assert answer.status_code == 404
    assert "There is no experiment" in words_of(answer)


def test_the_feed_alone_leads_to_the_chosen_experiment_else_the_newest(viewer, study):
    newest = make_experiment("Newer")
    assert viewer.get("/feed").location == f"/experiments/{newest.identifier}/feed"
    viewer.get(f"/admin/?experiment={study.identifier}")
    assert viewer.get("/feed").location == f"/experiments/{study.identifier}/feed"


def test_without_an_experiment_the_feed_leads_to_the_dashboard(viewer, app):
    assert viewer.get("/feed").location == "/admin/"


def test_an_empty_feed_says_what_to_do(researcher, study):
    assert "Nobody has posted yet." in words_of(researcher.get(feed_of(study)))


def test_only_who_may_write_is_offered_to_write_and_edit(viewer, researcher, study, person):
    make_post(person)
    assert ">Edit<" not in viewer.get(feed_of(study)).text
    assert "Write a post" not in viewer.get(feed_of(study)).text
    assert ">Edit<" in researcher.get(feed_of(study)).text
    assert "Write a post" in researcher.get(feed_of(study)).text


def test_hostile_text_stays_text(viewer, study, person):
    make_post(person, "<script>alert(1)</script>{{ 7*7 }}\u202e")
    answer = viewer.get(feed_of(study))
    assert "<script>alert" not in answer.text and "49" not in texts_of(answer)[0]
    assert_nothing_inline(answer)


def test_a_page_costs_the_same_queries_however_many_posts(viewer, study, person, twin):
    def cost():
        with counted_queries() as found:
            viewer.get(feed_of(study))
        return len(found)

    make_post(person)
    add_row(twin, "posted", "drawn", utc_now(), draw=0.9)
    few = cost()
    for number in range(12):
        make_post(make_person(study, f"p{number}"))
        add_row(twin, "posted", "drawn", utc_now(), draw=0.9)
    assert cost() == few
