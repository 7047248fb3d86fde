"""Posts from a file or pasted rows: a dry run first, then all of them once, or nothing."""

import io
import re

import pytest
from sqlalchemy import func, select

from pdsapp.domain.reasons import ExperimentState
from pdsapp.models import Experiment, Post, ProtocolChange, UserProfile
from tests.web.looking import assert_nothing_inline, fields_of, words_of

EVIL = '<script>alert(1)</script> {{7*7}} "><img src=x onerror=alert(1)>'
QUOTED = EVIL.replace('"', '""')
TALK = (
    "author,text,time,parent,id\n"
    "ada,The early train was on time.,2026-11-20T08:30,,a\n"
    "ADA,So was the late one.,2026-11-20T21:00,a,\n"
)


def page_of(experiment):
    return f"/experiments/{experiment.identifier}/feed/import"


@pytest.fixture
def choose(researcher, rows):
    """`choose(text)` sends a chosen file and gives the page that comes."""

    def send(data, name="talk.csv", browser=researcher, **values):
        data = data if isinstance(data, bytes) else data.encode()
        return browser.post(page_of(rows.experiment), data={"file": (io.BytesIO(data), name), **values})

    return send


@pytest.fixture
def confirm(researcher, rows):
    """`confirm(page)` presses the button of a dry run."""

    def send(answer, **values):
        data = fields_of(answer, "fingerprint") | values
        return researcher.post(
            page_of(rows.experiment), data=data, content_type="multipart/form-data", follow_redirects=True
        )

    return send


def count(session, model=Post):
    session.rollback()
    return session.scalar(select(func.count()).select_from(model))


def test_a_dry_run_comes_first_and_nothing_is_written_before_it_is_confirmed(choose, confirm, rows, session):
    answer = choose(TALK)
    words = words_of(answer)
    assert answer.status_code == 200
    assert (
        "Posts 1 Replies 1 Authors 1 Period Fri 20 Nov 2026, 08:30 CET to Fri 20 Nov 2026, 21:00 CET" in words
    )
    assert "(Europe/Rome)" in words and "@ada, line 2" in words
    assert_nothing_inline(answer)
    assert re.search(r'/feed" aria-current="page">Feed<', answer.text)
    assert count(session) == 1
    done = confirm(answer, reason="From the pilot")
    assert "Imported 1 post and 1 reply from talk.csv." in words_of(done)
    assert "The early train was on time." in done.text and count(session) == 3
    assert session.scalars(select(ProtocolChange.reason)).all() == ["From the pilot"]


def test_the_page_afterwards_shows_the_feed_from_these_posts_on(choose, confirm, rows, session):
    data = fields_of(choose(TALK), "fingerprint")
    answer = confirm(choose(TALK), **data)
    top = session.scalars(select(Post).where(Post.text == "The early train was on time.")).one()
    assert answer.request.args["start"] == str(top.uuid)
    assert f'id="post-{top.uuid}"' in answer.text


def test_a_double_click_a_reload_and_a_second_upload_make_the_posts_once(choose, confirm, session):
    answer = choose(TALK)
    confirm(answer)
    assert "These posts are there already. Nothing was imported twice." in words_of(confirm(answer))
    again = choose(TALK)
    assert "These posts are there already" in words_of(again) and "See them in the feed" in again.text
    assert 'name="fingerprint"' not in again.text
    assert count(session) == 3


def test_what_is_there_stays_there_whatever_became_of_its_authors(choose, confirm, rows, write, session):
    confirm(choose(TALK))
    with write() as own:
        own.get_one(UserProfile, rows.person.id).is_banned = True
    again = choose(TALK)
    assert again.status_code == 200 and "These posts are there already" in words_of(again)
    link = re.search(r'href="([^"]+)">See them in the feed', again.text)[1]
    assert str(session.scalars(select(Post.uuid).where(Post.text.startswith("The early"))).one()) in link


def test_all_mistakes_are_shown_and_nothing_can_be_confirmed(choose, rows, session):
    answer = choose(f'author,text,time\nmaya_reads,Hello.,\nada,,2999-01-01\nada,"{QUOTED * 9}",\n')
    words = words_of(answer)
    assert answer.status_code == 400
    for each in (
        "To be mended 4 in all", "line 2 author @maya_reads is a twin", "line 3 text This must not be empty.",
        "line 3 time This lies in the future", "line 4 text This has",
    ):  # fmt: skip
        assert each in words
    assert EVIL not in answer.text and 'name="fingerprint"' not in answer.text and count(session) == 1


def test_many_mistakes_are_counted_and_cut(choose):
    words = words_of(choose("author,text\n" + "ada,\n" * 1_200))
    assert "To be mended 1,200 in all" in words and "The first 1,000 of them." in words
    assert "line 1001" in words and "line 1002" not in words


def test_people_are_listed_and_added_only_with_a_tick(choose, confirm, session):
    text = "author,text\nEve,Hello.\n"
    answer = choose(text)
    assert "Not here yet @Eve" in words_of(answer)
    refused = confirm(answer)
    assert refused.status_code == 400 and "Tick that those who are not here yet are added" in words_of(
        refused
    )
    assert count(session) == 1 and count(session, UserProfile) == 2
    done = confirm(choose(text, add_people="on"))
    assert "Imported 1 post and 0 replies from talk.csv, and added 1 person." in words_of(done)
    assert count(session, UserProfile) == 3


def test_pasted_rows_are_taken_too_and_come_back_to_be_mended(researcher, rows, confirm, session):
    page = page_of(rows.experiment)
    wrong = researcher.post(page, data={"pasted": "author,text\r\nada,\r\n"})
    assert wrong.status_code == 400 and "ada,\r\n</textarea>" in wrong.text
    answer = researcher.post(page, data={"pasted": '{"author": "ada", "text": "Hello."}'})
    assert "Imported 1 post and 0 replies from pasted.jsonl." in words_of(confirm(answer))
    assert count(session) == 2


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "A file : Choose a file, or paste rows."),
        ({"pasted": " \n"}, "Choose a file, or paste rows."),
        ({"pasted": "author\ttext\nada\tHello.\n"}, "separated by tabs"),
        ({"content": "nonsense", "name": "talk.csv"}, "did not come back whole"),
    ],
)
def test_what_cannot_be_read_is_said_at_its_field(researcher, rows, values, words):
    answer = researcher.post(page_of(rows.experiment), data=values, content_type="multipart/form-data")
    assert answer.status_code == 400 and words in words_of(answer)


def test_a_file_and_pasted_rows_together_are_refused(choose):
    assert "not both" in words_of(choose(TALK, pasted=TALK))


def test_what_is_confirmed_is_what_was_shown(choose, confirm, rows, session, write):
    answer, other = choose(TALK), choose("author,text\nada,Something else.\n")
    swapped = confirm(answer, content=fields_of(other, "content")["content"])
    assert swapped.status_code == 400 and "changed what this was made from" in words_of(swapped)
    with write() as own:
        own.get_one(UserProfile, rows.person.id).is_banned = True
    banned = confirm(answer)
    assert banned.status_code == 400 and "@ada is banned" in words_of(banned)
    assert count(session) == 1


def test_texts_of_a_file_are_shown_as_texts(choose, confirm):
    answer = choose(f'author,text\nada,"{QUOTED}"\nada,=HYPERLINK(1)\n', "<b>.csv")
    assert EVIL not in answer.text and "<b>.csv" not in answer.text and "=HYPERLINK(1)" in answer.text
    assert EVIL not in confirm(answer).text


@pytest.mark.parametrize("sign", ["\\u0000", "\\ud800", "\\u202e", "\\u001b[31m"])
@pytest.mark.parametrize("column", ["author", "text", "time", "parent", "id", "visibility"])
def test_what_cannot_be_stored_or_shown_is_a_mistake_of_its_row(choose, session, column, sign):
    row = {"author": "ada", "text": "Hello."} | {column: f"a{sign}b"}
    line = "{" + ", ".join(f'"{name}": "{value}"' for name, value in row.items()) + "}"
    answer = choose(line, "talk.jsonl")
    if column == "text" and sign == "\\u202e":  # a text may turn, as one written by hand
        assert answer.status_code == 200
        return
    assert answer.status_code == 400 and f"line 1 {column} " in words_of(answer)
    assert count(session) == 1


def test_the_feed_leads_here_for_those_who_may_write(researcher, viewer, rows, write):
    feed = f"/experiments/{rows.experiment.identifier}/feed"
    link = f'href="{page_of(rows.experiment)}"'
    assert link in researcher.get(feed).text and link not in viewer.get(feed).text
    assert researcher.get(page_of(rows.experiment)).status_code == 200
    assert viewer.get(page_of(rows.experiment)).status_code == 403
    with write() as session:
        session.get_one(Experiment, rows.experiment.id).state = ExperimentState.ended
    assert link not in researcher.get(feed).text


def test_a_viewer_imports_nothing(viewer, choose, session):
    assert choose(TALK, browser=viewer).status_code == 403 and count(session) == 1


def test_an_experiment_that_is_over_says_so(researcher, choose, rows, write, session):
    with write() as own:
        own.get_one(Experiment, rows.experiment.id).state = ExperimentState.ended
    for answer in (researcher.get(page_of(rows.experiment)), choose(TALK)):
        assert answer.status_code == 409 and "has ended: it is only read now" in words_of(answer)
    assert count(session) == 1


def test_one_that_ends_between_dry_run_and_import_says_so_too(choose, confirm, rows, write, session):
    answer = choose(TALK)
    with write() as own:
        own.get_one(Experiment, rows.experiment.id).state = ExperimentState.ended
    assert confirm(answer).status_code == 409 and count(session) == 1


def test_who_is_not_granted_the_experiment_does_not_find_it(sign_in, rows, choose, session):
    stranger = sign_in("researcher", "eve@example.org", sees_all=False)
    assert stranger.get(page_of(rows.experiment)).status_code == 404
    assert choose(TALK, browser=stranger).status_code == 404 and count(session) == 1


def test_a_draft_says_what_becomes_of_its_posts(choose, rows, write):
    with write() as own:
        own.get_one(Experiment, rows.experiment.id).state = ExperimentState.draft
    words = words_of(choose(TALK))
    assert "part of its rehearsal" in words and "This study has begun" not in words


def test_ten_thousand_rows_go_there_and_back(choose, confirm, session):
    rows = "".join(f"ada,Post {number} of a long talk that never ends.,,,\n" for number in range(10_000))
    answer = choose("author,text,time,parent,id\n" + rows)
    assert answer.status_code == 200 and "The first rows 10 of 10,000" in words_of(answer)
    assert len(answer.data) < 2_000_000
    confirm(answer)
    assert count(session) == 10_001


def test_a_field_larger_than_any_other_form_takes_is_taken_here(researcher, rows):
    text = "author,text\n" + "ada,Hello.\n" * 20_000 + "\n" * 2_500_000
    answer = researcher.post(page_of(rows.experiment), data={"pasted": text})
    assert answer.status_code == 200 and re.search(r"Posts 20,000", words_of(answer))
