"""The dashboard's figures over a week in a town: what they show is what was put in, in tables and files."""

import csv
import io
import re
from collections import Counter

import pytest
from sqlalchemy import select

from pdsapp.database import reading, transaction
from pdsapp.domain.latency import STEPS_MS, quantile_ms, step_of
from pdsapp.domain.reasons import CallState
from pdsapp.models import ModelCall, Post, utc_now
from pdsapp.services import rollups
from pdsapp.services.reports_rule import Tenth
from tests.attempt_rows import add_row
from tests.builders import make_experiment, make_person, make_post, make_twin
from tests.history import make_town
from tests.web.looking import words_of

pytestmark = pytest.mark.database
KEYS = ("over-time", "silence", "calibration", "lengths", "when", "who", "endpoints")


@pytest.fixture(params=["rolled up", "from rows"])
def town(app, request):
    """The town, its sums rolled up or not."""
    now = utc_now()
    made = make_town(now)
    if request.param == "rolled up":
        while rollups.roll_up(now):
            pass
    return made


def table(browser, town, key, period="7d"):
    """The rows of a figure's file, by what they are of."""
    answer = browser.get(f"/dashboard/{key}.csv?period={period}&experiment={town.experiment.identifier}")
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text)))


def summed(rows, *columns):
    return [sum(int(row[column]) for row in rows) for column in columns]


def test_every_figure_has_the_sums_of_the_town(viewer, town):
    week = town.week
    skipped = week["skipped by rule"] + week["held back"]
    assert summed(table(viewer, town, "over-time"), "posted", "skipped", "failed") == [
        week["posted"], skipped, week["failed"],
    ]  # fmt: skip
    reasons = {row["Reason"]: int(row["attempts"]) for row in table(viewer, town, "silence")}
    assert reasons["posted recently"] == week["recency"] and reasons["quiet hours"] == week["quiet_hours"]
    assert sum(reasons.values()) == skipped
    days = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
    assert sum(summed(table(viewer, town, "when"), *days)) == week["post"]
    who = table(viewer, town, "who")
    assert summed(who, "posts") == [week["post"]]
    people = sum(int(row["posts"]) for row in who if row["is"] == "person")
    assert people == week["post of a person"] if all(row["is"] for row in who) else people > 0
    assert summed(table(viewer, town, "lengths"), "posts") == [week["posted"]]
    assert summed(table(viewer, town, "endpoints"), "calls", "failed") == [
        week["posted"] + week["failed"], week["failed"],
    ]  # fmt: skip
    calibration = table(viewer, town, "calibration")
    assert summed(calibration, "silent") == [week["skipped by rule"]]


def test_the_page_says_the_same_in_words(viewer, town):
    words = words_of(viewer.get(f"/admin/?period=7d&experiment={town.experiment.identifier}"))
    assert f"Posted {town.week['posted']}" in words
    assert "Does the draw keep its word?" in words and "When they post" in words
    assert f"{town.week['post']} posts; an empty cell is none." in words
    assert "Tokens used" in words and "It adds up." in words
    assert "llm.example.edu llama-3.3-70b" in words and "mostly “no answer within the time limit”" in words


def test_posts_stand_in_the_hour_of_the_zones_clock(viewer, town):
    """Counted by hand, post by post."""
    from zoneinfo import ZoneInfo

    zone, by_hand = ZoneInfo(town.experiment.zone), Counter()
    with reading() as session:
        for at in session.scalars(select(Post.created_at).where(Post.visibility != "hidden")):
            local = at.astimezone(zone)
            by_hand[f"{local:%H}:00", f"{local:%a}"] += 1
    shown = Counter()
    for row in table(viewer, town, "when"):
        for day in ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"):
            shown[row["Hour"], day] = int(row[day])
    assert +shown == by_hand


@pytest.mark.parametrize("key", KEYS)
def test_each_drawing_links_to_its_numbers(viewer, app, key):
    twin = make_twin(make_experiment())
    add_row(twin, "posted", "drawn", utc_now(), draw=0.9)
    add_row(twin, "skipped", "recency", utc_now(), draw=0.1, age_hours=0.5)
    text = viewer.get("/admin/?period=24h").text
    if key != "endpoints":
        assert f"/dashboard/{key}.csv?period=24h" in text
    answer = viewer.get(f"/dashboard/{key}.csv?period=24h")
    assert answer.status_code == 200 and answer.mimetype == "text/csv"
    assert re.fullmatch(
        rf"attachment; filename={key}-24h-\d{{8}}T\d{{4}}\.csv", answer.headers["Content-Disposition"]
    )


def test_the_offline_writer_is_one_endpoint_whatever_its_port(viewer, app, write):
    """It has another one each time it is started."""
    study, now = make_experiment(), utc_now()
    with write() as own:
        for port in (41001, 41002):
            own.add(
                ModelCall(
                    experiment_id=study.id, endpoint=f"http://127.0.0.1:{port}/v1", endpoint_source="offline",
                    model_asked="offline-writer", state=CallState.answered, latency_ms=5, started_at=now,
                    finished_at=now,
                )
            )  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(viewer.get("/dashboard/endpoints.csv?period=24h").text)))
    assert [(row["Endpoint"], row["calls"]) for row in rows] == [("offline writer", "2")]


def test_a_figure_nobody_has_is_answered_with_those_there_are(viewer):
    answer = viewer.get("/dashboard/%3Cb%3Esales.csv")
    assert answer.status_code == 404
    assert "The dashboard has no figure “<b>sales”. Known: calibration" in words_of(answer)
    assert viewer.get("/dashboard/who.csv?experiment=zzzzz").status_code == 404


def test_a_file_holds_no_formula_and_no_hidden_post(viewer, app):
    study = make_experiment()
    person = make_person(study, "walt")
    make_post(person)
    with transaction() as session:
        hidden = session.get_one(Post, make_post(person, "No.").id)
        hidden.visibility = "hidden"
    answer = viewer.get(f"/dashboard/who.csv?experiment={study.identifier}")
    assert answer.text.splitlines()[1] == "'@walt,person,1,100 %"


def test_a_stranger_gets_no_numbers(client):
    assert client.get("/dashboard/who.csv").status_code == 302


@pytest.mark.parametrize(
    ("asked", "silent", "expected", "is_far"),
    [
        (0, 0, 0.0, False), (60, 37, 39.0, False), (60, 5, 39.0, True), (45, 45, 45.0, False),
        (45, 40, 45.0, True), (3, 0, 0.0, False), (10_000, 6_500, 6_500.0, False),
        (10_000, 6_200, 6_500.0, True),
    ],
)  # fmt: skip
def test_only_what_chance_hardly_explains_is_called_far(asked, silent, expected, is_far):
    assert Tenth(0.6, 0.7, asked, silent, expected).is_far is is_far


def test_medians_are_good_to_a_step():
    took = [30, 120, 130, 140, 800, 2_500, 95_000]
    counts = Counter(step_of(ms) for ms in took)
    assert 100 <= quantile_ms(counts, 0.5) <= 150
    assert quantile_ms(counts, 1.0) == STEPS_MS[-1]
    assert quantile_ms({}, 0.5) is None
