"""Writing, replying, hiding, searching and exporting in the feed."""

import csv
import html
import io
import json
import re
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from pdsapp.attempts.feed import latest_posts, twin_state
from pdsapp.database import reading, transaction
from pdsapp.domain.policy import PostingPolicy
from pdsapp.domain.reasons import ExperimentState, Visibility
from pdsapp.models import AuditEvent, DigitalTwin, Experiment, Post, PostRevision, UserProfile, utc_now
from pdsapp.web.pages import feed_query
from tests.attempt_rows import add_row
from tests.builders import make_experiment, make_person, make_post, make_twin
from tests.web.looking import counted_queries, words_of

ID = "web-0123456789abcdef0123456789abcdef"


@pytest.fixture
def study(app):
    return make_experiment("Campus climate", "America/New_York")


@pytest.fixture
def walt(study):
    return make_person(study, "walt")


@pytest.fixture
def twin(study):
    return make_twin(study, "dr_okafor")


def said(study, text="The bus came.", twin=None):
    """A twin's post."""
    add_row(twin, "posted", "drawn", utc_now() - timedelta(minutes=3), text, draw=0.9)
    with reading() as session:
        return session.scalars(select(Post).order_by(Post.id.desc())).first()


def write(browser, study, follow=True, **given):
    data = {"author": "walt", "text": "Bread is dear.", "request_id": ID, **given}
    return browser.post(f"/experiments/{study.identifier}/feed/write", data=data, follow_redirects=follow)


def hide(browser, study, post, what="hide"):
    data = {"post": str(post.uuid), "do": what}
    return browser.post(f"/experiments/{study.identifier}/feed/hide", data=data, follow_redirects=True)


def count(*conditions):
    with reading() as session:
        return session.scalar(select(func.count(Post.id)).where(*conditions))


def feed(browser, study, query=""):
    return browser.get(f"/experiments/{study.identifier}/feed{query}")


def test_a_researcher_posts_as_a_person_and_goes_on_as_the_same(researcher, study, walt):
    make_person(study, "ada")
    answer = write(researcher, study, follow=False)
    assert "as=walt" in answer.location and "#post-" in answer.location
    page = researcher.get(answer.location.partition("#")[0])
    assert "Bread is dear." in words_of(page) and 'name="author" list="people" value="walt"' in page.text
    with reading() as session:
        post = session.scalars(select(Post)).one()
        assert session.scalars(select(PostRevision.text)).all() == ["Bread is dear."]
        assert post.parent_id is None and post.user_profile.username == "walt"


def test_a_reply_stands_below_its_post_and_one_to_a_reply_too(researcher, study, walt, twin):
    post = said(study, twin=twin)
    write(researcher, study, parent=str(post.uuid), text="Which one?")
    with reading() as session:
        reply = session.scalars(select(Post).where(Post.parent_id == post.id)).one()
    write(researcher, study, parent=str(reply.uuid), text="The 9.", request_id=ID[::-1])
    assert count(Post.parent_id == post.id) == 2
    words = words_of(feed(researcher, study))
    assert words.index("The bus came.") < words.index("Which one?") < words.index("The 9.")


def test_pressing_twice_makes_one_post(researcher, study, walt):
    for text in ("Bread is dear.", "Bread is dear.", "Something else"):
        assert write(researcher, study, text=text).status_code == 200
    assert count() == 1


def test_two_experiments_may_use_the_same_request(researcher, study, walt):
    other = make_experiment("Other")
    make_person(other, "walt")
    write(researcher, study)
    write(researcher, other)
    assert count() == 2


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"author": "dr_okafor"}, "A twin posts through attempts only."),
        ({"author": "nobody"}, "Nobody in Campus climate is called “nobody”."),
        ({"author": "\0"}, "Nobody in Campus climate is called"),
        ({"text": "  "}, ""),
        ({"text": "x" * 5_001}, "characters"),
        ({"request_id": ""}, "The button has no request id."),
        ({"parent": "00000000-0000-0000-0000-000000000000"}, "There is no such post in this feed."),
        ({"parent": "7"}, "There is no such post in this feed."),
    ],
)
def test_what_cannot_be_posted_is_refused_in_a_sentence(researcher, study, walt, twin, given, sentence):
    answer = write(researcher, study, **given)
    assert 400 <= answer.status_code < 500 and sentence in words_of(answer)
    assert count() == 0


@pytest.mark.parametrize("of_reply", [False, True], ids=["post", "reply"])
def test_what_was_refused_stands_in_the_form_again(researcher, study, walt, twin, of_reply):
    parent = {"parent": str(said(study, twin=twin).uuid)} if of_reply else {}
    before = count()
    answer = write(researcher, study, author="Nobody <i>", text="x" * 281 + "<b>", **parent)
    assert answer.status_code == 400 and "Not posted." in words_of(answer)
    assert html.escape("Nobody <i>") in answer.text and f"{'x' * 281}&lt;b&gt;</textarea>" in answer.text
    if of_reply:
        assert answer.text.count(f'name="parent" value="{parent["parent"]}"') == 2
    assert count() == before


def test_nobody_replies_to_a_hidden_post_or_to_one_of_another_feed(researcher, study, walt, twin):
    post = said(study, twin=twin)
    hide(researcher, study, post)
    answer = write(researcher, study, parent=str(post.uuid))
    assert answer.status_code == 400 and "That post is hidden" in words_of(answer)
    foreign = make_post(make_person(make_experiment("Other"), "eve"))
    assert write(researcher, study, parent=str(foreign.uuid)).status_code == 404
    assert count(Post.parent_id.is_not(None)) == 0


def test_the_banned_do_not_write_and_nothing_is_written_once_it_is_over(researcher, study, walt):
    with transaction() as session:
        session.get_one(UserProfile, walt.id).is_banned = True
    data = {"author": "walt", "text": "Hello.", "request_id": ID}
    answer = researcher.post(f"/experiments/{study.identifier}/feed/write", data=data)
    assert answer.status_code == 400 and "@walt is banned." in words_of(answer)
    with transaction() as session:
        session.get_one(UserProfile, walt.id).is_banned = False
        session.get_one(Experiment, study.id).state = ExperimentState.ended
    answer = researcher.post(f"/experiments/{study.identifier}/feed/write", data=data)
    assert 400 <= answer.status_code < 500 and count() == 0
    assert "Write a post" not in feed(researcher, study).text


def test_a_viewer_reads_and_writes_nothing(viewer, study, walt, twin):
    post = said(study, twin=twin)
    assert write(viewer, study).status_code == 403 and hide(viewer, study, post).status_code == 403
    text = feed(viewer, study).text
    assert "Write a post" not in text and "Reply" not in text and ">Hide" not in text
    assert count(Post.visibility == Visibility.visible) == 1


def test_a_hidden_post_leaves_feed_context_and_share_and_comes_back(researcher, study, walt, twin):
    post = said(study, twin=twin)

    def seen():
        with reading() as session:
            own = session.get_one(DigitalTwin, twin.id)
            state = twin_state(session, own, PostingPolicy(), utc_now())
            return len(session.scalars(latest_posts(study.id)).all()), state.own_count, state.window_count

    assert seen() == (1, 1, 1)
    assert "The post is hidden" in words_of(hide(researcher, study, post))
    assert seen() == (0, 0, 0) and "The bus came." not in words_of(feed(researcher, study))
    page = feed(researcher, study, "?hidden=shown")
    assert "The bus came." in words_of(page) and 'value="show"' in page.text
    hide(researcher, study, post, "show")
    assert seen() == (1, 1, 1) and "The bus came." in words_of(feed(researcher, study))


def test_a_viewer_does_not_see_hidden_posts_whatever_the_address_says(viewer, researcher, study, twin):
    hide(researcher, study, said(study, twin=twin))
    assert "The bus came." not in words_of(feed(viewer, study, "?hidden=shown"))


def test_hiding_deactivates_the_twin_in_one_go(researcher, study, twin):
    make_twin(study, "lena_k")
    post = said(study, twin=twin)
    answer = hide(researcher, study, post, "hide and deactivate")
    assert "The post is hidden, and @dr_okafor is not asked any more." in words_of(answer)
    with reading() as session:
        found = session.get_one(DigitalTwin, twin.id)
        assert (found.is_active, found.active_rank) == (False, None)
        ranks = session.scalars(select(DigitalTwin.active_rank).where(DigitalTwin.is_active)).all()
        assert ranks == [0] and session.get_one(Experiment, study.id).active_twin_count == 1
        audited = session.scalars(
            select(AuditEvent.object_type).order_by(AuditEvent.id.desc()).limit(2)
        ).all()
    assert sorted(audited) == ["digital_twin", "post"]


def test_a_persons_post_deactivates_nobody(researcher, study, walt):
    post = make_post(walt)
    answer = hide(researcher, study, post, "hide and deactivate")
    assert answer.status_code == 400 and "This post is a person's" in words_of(answer)
    assert count(Post.visibility == Visibility.visible) == 1


def test_what_to_do_has_to_be_one_of_three(researcher, study, walt):
    assert hide(researcher, study, make_post(walt), "erase").status_code == 400


@pytest.mark.parametrize(
    ("query", "texts"),
    [
        ("?search=BREAD", ["Bread is dear."]),
        ("?search=100%25", ["It is 100% true."]),
        ("?search=1_0", []),
        ("?author=@WALT", ["It is 100% true.", "Bread is dear."]),
        ("?author=dr_okafor", ["The bus came."]),
        ("?author=walt&search=bus", []),
        ("?who=people", ["It is 100% true.", "Bread is dear."]),
    ],
)
def test_posts_are_found_by_text_and_author(viewer, study, walt, twin, query, texts):
    make_post(walt, "Bread is dear.", minutes=9)
    make_post(walt, "It is 100% true.", minutes=8)
    said(study, twin=twin)
    shown = re.findall(r'<div class="said"[^>]*>(.*?)</div>', feed(viewer, study, query).text, re.S)
    assert shown == texts


@pytest.mark.parametrize(
    ("query", "status"),
    [("?search=%00", 400), ("?search=" + "x" * 201, 400), ("?author=nobody", 404), ("?author=%00", 404),
     ("?hidden=maybe", 400), ("?before=x", 404)],
)  # fmt: skip
def test_absurd_filters_get_a_sentence(viewer, study, query, status):
    answer = feed(viewer, study, query)
    assert answer.status_code == status and len(words_of(answer)) > 40


def test_a_search_walks_back_piece_by_piece(viewer, study, walt, monkeypatch):
    monkeypatch.setattr(feed_query, "MOST_SEARCHED", 10)
    make_post(walt, "A needle.", minutes=100)
    for minutes in range(60, 25, -1):
        make_post(walt, "Hay.", minutes=minutes)
    address, looked = f"/experiments/{study.identifier}/feed?search=needle", 0
    while "A needle." not in (answer := viewer.get(address)).text:
        assert "Looked at 10 posts, back to" in words_of(answer)
        address = html.unescape(re.search(r'href="([^"]+)">Search earlier posts', answer.text)[1])
        looked += 1
    assert looked == 3 and "Search earlier posts" not in answer.text


def test_the_view_can_be_taken_as_csv_and_as_json_lines(viewer, researcher, study, walt, twin):
    post = said(study, "=HYPERLINK(1)", twin)
    write(researcher, study, parent=str(post.uuid), text="Which one?")
    make_post(walt, "Bread is dear.", minutes=30)
    hidden = make_post(walt, "Not this.", minutes=40)
    hide(researcher, study, hidden)
    base = f"/experiments/{study.identifier}/feed"
    rows = list(csv.DictReader(io.StringIO(viewer.get(f"{base}.csv").text)))
    assert [row["text"] for row in rows] == ["'=HYPERLINK(1)", "Which one?", "Bread is dear."]
    assert [row["parent"] for row in rows] == ["", str(post.uuid), ""]
    assert [row["kind"] for row in rows] == ["twin", "person", "person"]
    assert all(row["time"].endswith("+00:00") for row in rows)
    lines = viewer.get(f"{base}.jsonl?author=walt").text.splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["Bread is dear."]
    blind = viewer.get(f"{base}.csv?marks=off").text
    assert blind.splitlines()[0] == "id,parent,author,text,time,revision,visibility" and "twin" not in blind
    assert viewer.get(f"{base}.xml").status_code == 404


def test_an_export_goes_through_all_pages(viewer, study, walt):
    for minutes in range(70, 0, -1):
        make_post(walt, f"Post {minutes}.", minutes=minutes)
    rows = list(csv.DictReader(io.StringIO(viewer.get(f"/experiments/{study.identifier}/feed.csv").text)))
    assert [row["text"] for row in rows] == [f"Post {minutes}." for minutes in range(1, 71)]


def test_a_feed_costs_the_same_queries_however_long_it_is(researcher, study, walt, twin):
    def cost():
        with counted_queries() as found:
            assert feed(researcher, study, "?hidden=shown").status_code == 200
        return len(found)

    first = make_post(walt)
    few = cost()
    for minutes in range(40):
        make_post(walt, minutes=minutes)
        write(researcher, study, parent=str(first.uuid), request_id=f"web-{minutes:032}")
    said(study, twin=twin)
    assert cost() <= few + 1 and few <= 16


def test_in_the_blind_nothing_tells_a_twin_from_a_person(researcher, study, walt, twin):
    said(study, twin=twin)
    make_post(walt)
    text = feed(researcher, study, "?marks=off").text
    main = text[text.index('<div class="feed stack">') :]
    posts = re.findall(r"<article.*?</article>", main, re.S)
    shapes = {
        re.sub(r"(dr_okafor|walt|id=\d+|web-[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f-]{27})", "X", post)
        for post in posts
    }
    shapes = {
        re.sub(r"<time.*?</time>|<div class=\"said\".*?</div>|value=\"[^\"]{80,}\"", "", each)
        for each in shapes
    }
    assert len(posts) == 2 and len(shapes) == 1, shapes
