"""The stream of attempts: filtered by its address, polled by a cursor, with what happens now beside it."""

import html
import re
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from pdsapp.domain.reasons import AttemptState, Trigger
from pdsapp.models import Attempt, Cadence, ProcessKind, Schedule, utc_now
from pdsapp.services import heartbeats, reports_attempts
from tests.attempt_rows import add_row, put_row
from tests.builders import make_experiment, make_twin
from tests.web.looking import assert_nothing_inline, counted_queries, words_of


def ago(**spans):
    return utc_now() - timedelta(**spans)


@pytest.fixture
def study(app):
    return make_experiment("Campus climate", "Europe/Rome")


@pytest.fixture
def twin(study):
    return make_twin(study, "dr_okafor")


@pytest.fixture
def stream(study, twin, write):
    """One attempt of each kind; their ids by name."""
    other = make_twin(study, "lena_k")
    with write() as session:
        schedule = Schedule(name="Daytime", experiment_id=study.id, cadence=Cadence.cron, cron="* * * * *")
        session.add(schedule)
        session.flush()
    found = {
        "posted": add_row(twin, "posted", "drawn", ago(minutes=9), "The bus came.", draw=0.9),
        "skipped": add_row(twin, "skipped", "recency", ago(minutes=8), draw=0.1, age_hours=0.5),
        "busy": add_row(
            other, "skipped", "twin_busy", ago(minutes=7), schedule_id=schedule.id, trigger=Trigger.schedule
        ),
        "failed": add_row(other, "failed", "deadline", ago(minutes=6), draw=0.9, trigger=Trigger.cli),
        "due": add_row(twin, "due", None, ago(minutes=5)),
    }
    return {**found, "schedule": str(schedule.uuid)}


def states_of(answer):
    """The states of the rows shown, newest first."""
    body = re.search(r'<tbody id="attempts">.*?</tbody>', answer.text, re.S)[0]
    return re.findall(r'<span class="pill \w+"><svg.*?</svg>(\w+)</span>', body)


def poll_of(answer):
    """The address and the cursor polling starts with."""
    return (
        re.search(r'data-poll-url="([^"]*)"', answer.text)[1].replace("&amp;", "&"),
        re.search(r'data-cursor="([^"]*)"', answer.text)[1],
    )


def polled(browser, answer):
    address, cursor = poll_of(answer)
    return browser.get(f"{address}{'&' if '?' in address else '?'}since={cursor}")


def change(write, number, **values):
    with write() as session:
        attempt = session.get_one(Attempt, number)
        attempt.changed_at = utc_now()
        for name, value in values.items():
            setattr(attempt, name, value)


def test_attempts_stand_newest_first_with_what_happened(viewer, stream):
    answer = viewer.get("/activity")
    assert states_of(answer) == ["due", "failed", "skipped", "skipped", "posted"]
    words = words_of(answer)
    assert "The bus came. 13 characters, short" in words
    assert "last post 30 min ago: 0.80; 0 of the last 20 posts are its own: 0.00" in words
    assert "already at work on another post" in words
    assert "waiting for a worker" in words


@pytest.mark.parametrize(
    ("query", "states"),
    [
        ("state=failed", ["failed"]),
        ("reason=recency", ["skipped"]),
        ("class=limit", ["skipped"]),
        ("class=rule", ["skipped", "posted"]),
        ("trigger=schedule", ["skipped"]),
        ("trigger=cli", ["failed"]),
        ("twin=%40lena_k", ["failed", "skipped"]),
        ("twin=LENA_K&state=failed", ["failed"]),
        ("state=&reason=&twin=", ["due", "failed", "skipped", "skipped", "posted"]),
    ],
)
def test_the_address_holds_the_filter(viewer, stream, query, states):
    assert states_of(viewer.get(f"/activity?{query}")) == states


def test_attempts_of_a_schedule_and_of_an_experiment_can_be_chosen(viewer, stream, study):
    add_row(make_twin(make_experiment("Other")), "posted", "drawn", ago(minutes=1))
    assert states_of(viewer.get(f"/activity?schedule={stream['schedule']}")) == ["skipped"]
    assert len(states_of(viewer.get("/activity"))) == 6
    assert len(states_of(viewer.get(f"/activity?experiment={study.identifier}"))) == 5
    assert len(states_of(viewer.get(f"/activity?experiment={study.uuid}"))) == 5


@pytest.mark.parametrize(
    ("query", "status", "sentence"),
    [
        ("state=nonsense", 400, "“nonsense” is no state of an attempt. Known: due, running"),
        ("reason=%00", 400, "is no reason of an attempt"),
        ("class=CLASS", 400, "is no class of an attempt"),
        ("trigger=bot", 400, "is no trigger of an attempt"),
        ("twin=nobody", 404, "There is no twin “nobody”"),
        ("twin=%00", 404, "There is no twin"),
        ("twin=00000000-0000-0000-0000-000000000000", 404, "There is no twin"),
        ("schedule=7", 404, "There is no schedule “7”"),
        ("experiment=zzzzz", 404, "There is no experiment “zzzzz”"),
        ("experiment=%00abcd", 404, "There is no experiment"),
        ("experiment=not-an-id", 404, "There is no experiment"),
        ("before=x", 400, "is no place in the list"),
        ("before=-1", 400, "is no place in the list"),
        ("before=" + "9" * 30, 400, "is no place in the list"),
        ("before=9223372036854775808", 400, "is no place in the list"),
        ("after=٣", 400, "is no place in the list"),
        ("from=yesterday", 400, "“yesterday” is no time. Write it like 2026-11-29T14:30"),
        ("from=0001-01-01T00:00:00%2B23:59", 400, "is no time"),
        ("until=2026-13-01T00:00", 400, "is no time"),
        ("from=2026-11-02T00:00&until=2026-11-01T00:00", 400, "“From” has to be before “until”."),
        ("search=%00", 400, "Search for at most 200 characters"),
        ("model=" + "m" * 201, 400, "Search for at most 200 characters"),
    ],
)
def test_an_absurd_filter_gets_a_sentence(viewer, stream, query, status, sentence):
    answer = viewer.get(f"/activity?{query}")
    assert answer.status_code == status
    assert sentence in words_of(answer)


def test_a_username_two_experiments_know_asks_for_the_experiment(viewer, twin):
    make_twin(make_experiment("Other"), "dr_okafor")
    answer = viewer.get("/activity?twin=dr_okafor")
    assert answer.status_code == 400
    assert "Several experiments have a twin @dr_okafor" in words_of(answer)


def test_a_filter_that_nothing_fits_offers_to_show_all(viewer, stream):
    words = words_of(viewer.get("/activity?state=cancelled"))
    assert "No attempt matches these filters. Show all" in words


def test_an_empty_stream_says_why(viewer):
    assert "No twin has been asked yet." in words_of(viewer.get("/activity"))


def test_fifty_stand_on_a_page_and_the_pager_leads_there_and_back(viewer, twin, write):
    with write() as session:
        numbers = [put_row(session, twin, "skipped", "recency", ago(minutes=200 - i)).id for i in range(70)]
    first = viewer.get("/activity?state=skipped")
    assert len(states_of(first)) == 50
    older = re.search(r'href="([^"]+)" rel="next"', first.text)[1].replace("&amp;", "&")
    assert older == f"/activity?before={numbers[20]}&state=skipped"
    second = viewer.get(older)
    assert len(states_of(second)) == 20
    assert "data-live" not in second.text  # a page of the past does not move
    newer = re.search(r'href="([^"]+)" rel="prev"', second.text)[1].replace("&amp;", "&")
    assert states_of(viewer.get(newer)) == states_of(first)


def test_polling_says_nothing_while_nothing_changes(viewer, stream):
    answer = polled(viewer, viewer.get("/activity"))
    assert (answer.status_code, answer.data) == (204, b"")


def test_polling_brings_new_and_changed_rows_and_a_new_cursor(viewer, stream, twin, write):
    page = viewer.get("/activity")
    change(write, stream["due"], state=AttemptState.cancelled)
    new = add_row(twin, "due", None, utc_now())
    answer = polled(viewer, page)
    assert answer.status_code == 200
    with write() as session:
        uuids = [str(session.get_one(Attempt, number).uuid) for number in (new, stream["due"])]
    assert re.findall(r'<tr id="attempt-([^"]+)">', answer.text)[:2] == uuids
    address, _ = poll_of(page)
    again = viewer.get(f"{address}&since={answer.headers['X-Cursor']}")
    assert again.status_code == 204


def test_polling_with_a_filter_names_rows_that_no_longer_fit(viewer, stream, write):
    page = viewer.get("/activity?state=due")
    change(write, stream["due"], state=AttemptState.cancelled)
    answer = polled(viewer, page)
    assert re.search(r'<tr id="attempt-[^"]+" data-gone></tr>', answer.text)
    assert "pill" not in answer.text


def test_polling_in_one_tab_does_not_choose_the_experiment_of_another(viewer, stream, study):
    page = viewer.get(f"/activity?experiment={study.identifier}")
    viewer.get("/activity?experiment=")
    polled(viewer, page)
    assert "All experiments · every attempt" in words_of(viewer.get("/activity"))


@pytest.mark.parametrize("since", ["", "x", "1.2.3.4", "9" * 50])
def test_a_cursor_that_is_none_is_refused(viewer, app, since):
    assert viewer.get(f"/activity/rows?since={since}").status_code == 400


def test_a_stranger_gets_no_rows(client, stream):
    assert client.get("/activity").status_code == 302
    assert client.get("/activity/rows?since=0.0.0", headers={"Accept": "text/html"}).status_code == 302


def test_workers_lanes_and_attempts_at_work_stand_beside_it(viewer, twin, write):
    with write() as session:
        heartbeats.beat(session, ProcessKind.worker, "worker-1", utc_now(), "default")
        heartbeats.beat(session, ProcessKind.worker, "worker-2", ago(minutes=4), "now")
        heartbeats.beat(session, ProcessKind.scheduler, "scheduler-1", utc_now(), is_leader=True)
        at = ago(seconds=9)
        put_row(session, twin, "running", None, at, claimed_by="worker-1", claimed_at=at, stage="asking")
        put_row(session, twin, "due", None, ago(minutes=3), lane="now")
    for address in ("/activity", "/activity/now"):
        words = words_of(viewer.get(address))
        assert re.search(r"worker-1 lane default, 1 at work, last beat \d s ago", words)
        assert "worker-2 lane now, last beat 4 min ago" in words
        assert re.search(r"scheduler-1 leads, last beat \d s ago", words)
        assert "now 1 due, the oldest for 3 min, nobody serves it" in words
        assert "@dr_okafor asking the model, since" in words


def test_nothing_stands_inline_and_hostile_text_stays_text(viewer, twin):
    add_row(twin, "posted", "drawn", ago(minutes=1), "<img src=x onerror=alert(1)>", draw=0.9)
    answer = viewer.get("/activity?twin=dr_okafor")
    assert "&lt;img src=x onerror=alert(1)&gt;" in answer.text
    assert_nothing_inline(viewer.get("/activity/now"))
    assert "<img" not in answer.text and " style=" not in answer.text


def test_a_filter_value_is_escaped_in_the_answer(viewer, app):
    answer = viewer.get("/activity?state=<script>alert(1)</script>")
    assert "<script>alert" not in answer.text


def test_a_page_costs_the_same_queries_however_long_it_is(viewer, twin, write):
    def cost():
        with counted_queries() as found:
            viewer.get("/activity")
        return len(found)

    add_row(twin, "posted", "drawn", ago(minutes=99), draw=0.9)
    few = cost()
    with write() as session:
        for i in range(60):
            put_row(session, twin, "posted", "drawn", ago(minutes=60 - i), draw=0.9)
    assert cost() == few


@pytest.fixture
def two_models(twin):
    """Posts by two models, three hours apart."""
    add_row(twin, "posted", "drawn", ago(hours=4), "The 100% truth about buses.", model="small-1")
    add_row(twin, "posted", "drawn", ago(hours=1), "Nothing but bread today.", model="large-2")


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("model=small-1", 1),
        ("model=small", 0),
        ("search=TRUTH", 1),
        ("search=100%25", 1),
        ("search=1_0", 0),
        ("search=%25", 1),
        ("search=nobody+said+this", 0),
    ],
)
def test_attempts_are_found_by_model_and_by_what_was_posted(viewer, two_models, query, count):
    assert len(states_of(viewer.get(f"/activity?{query}"))) == count


def test_a_time_is_of_the_experiments_clock(viewer, two_models, twin, study):
    zone = ZoneInfo(study.zone)
    border = f"{ago(hours=2).astimezone(zone):%Y-%m-%dT%H:%M}"
    base = f"/activity?experiment={study.identifier}"
    assert "bread" in words_of(viewer.get(f"{base}&from={border}"))
    assert "bread" not in words_of(viewer.get(f"{base}&until={border}"))
    assert "truth" in words_of(viewer.get(f"{base}&until={border}"))
    assert f'value="{border}"' in viewer.get(f"{base}&until={border}").text
    for far in ("from=9999-12-31T23:59", "until=0001-01-02T00:00"):
        assert states_of(viewer.get(f"{base}&{far}")) == []


def test_what_no_index_answers_is_looked_for_piece_by_piece(viewer, twin, monkeypatch):
    monkeypatch.setattr(reports_attempts, "MOST_SEARCHED", 30)
    add_row(twin, "failed", "refused", ago(hours=30))
    for minutes in range(100, 0, -1):
        add_row(twin, "skipped", "recency", ago(minutes=minutes))
    looked, address = 0, "/activity?reason=refused"
    while not states_of(answer := viewer.get(address)):
        assert "Looked at 30 attempts, back to" in words_of(answer)
        address = html.unescape(re.search(r'href="([^"]+)">Look further back', answer.text)[1])
        looked += 1
    assert states_of(answer) == ["failed"] and 2 <= looked <= 4
    assert "Look further back" not in answer.text


def test_polling_keeps_to_the_model_and_the_text(viewer, two_models, twin):
    text = viewer.get("/activity?search=bread").text
    address = html.unescape(re.search(r'data-poll-url="([^"]+)"', text)[1])
    assert "search=bread" in address
    cursor = re.search(r'data-cursor="([^"]+)"', text)[1]
    add_row(twin, "posted", "drawn", utc_now(), "Bread again.")
    add_row(twin, "posted", "drawn", utc_now(), "A bus.")
    answer = viewer.get(f"{address}&since={cursor}")
    assert "Bread again." in answer.text and "A bus." not in answer.text
