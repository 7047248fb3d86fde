"""Forms as a colleague in a hurry sends them: twice, with a day that is over, with odd files."""

import io
from datetime import date, datetime, timedelta

import pytest
import sqlalchemy as sa

from pdsapp.domain.reasons import ExperimentState
from pdsapp.models import BulkImport, DigitalTwin, Experiment, utc_now
from pdsapp.services.ends import clean_end, last_day_of
from tests.web.looking import fields_of, words_of

BACK = "/admin/digitaltwin/bulk/"


def upload(browser, experiment, content, name="twins.csv"):
    form = fields_of(browser.get(BACK), "experiment")
    form |= {"experiment": experiment.id, "source": "table", "table": (io.BytesIO(content), name)}
    return browser.post(BACK, data=form, content_type="multipart/form-data")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n\n",
        b"\xef\xbb\xbf",
        b"username\n",
        b"username,persona\n",
        b";;;\n;;;\n",
        b",,,\n,,,\n",
        b"nothing\nknown\n",
        b"\x00\x01\x02",
        b"username;persona\n",
        b'"username\n',
        b"\xff\xfe",
        b"persona,persona\na,b\n",
    ],
)
def test_a_file_without_rows_is_refused_with_a_sentence(researcher, rows, session, content):
    answer = upload(researcher, rows.experiment, content)
    assert answer.status_code == 400, answer.headers.get("Location")
    session.rollback()
    assert session.scalars(sa.select(BulkImport)).all() == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"username;persona\nanna;Likes tea.\n", "line 1 is separated by semicolons"),
        (b"username\tpersona\nanna\tLikes tea.\n", "line 1 is separated by tabs"),
        ("username,persona\n\u00e4nna,Likes tea\n".encode("cp1252"), "is not UTF-8"),
    ],
)
def test_a_table_of_another_kind_is_said_to_be_one(researcher, rows, content, words):
    answer = upload(researcher, rows.experiment, content)
    assert answer.status_code == 400 and words in words_of(answer)


def test_one_column_is_enough(researcher, rows):
    place = upload(researcher, rows.experiment, b"persona\nLikes tea.\nLikes bread.\n").headers["Location"]
    assert "2 to create." in words_of(researcher.get(place))


def test_a_plan_confirmed_twice_and_from_the_back_button_is_carried_out_once(researcher, rows, session):
    place = upload(researcher, rows.experiment, b"username,persona\nanna,Likes tea.\n").headers["Location"]
    form = fields_of(researcher.get(place), "fingerprint") | {"reason": "Pilot"}
    answers = [researcher.post(f"{place}set-up/", data=form).status_code for _ in range(3)]
    assert answers == [302] * 3
    session.rollback()
    assert session.scalar(sa.select(sa.func.count(DigitalTwin.id))) == 2


@pytest.mark.parametrize(
    "zone",
    [
        "Europe/Rome",
        "Pacific/Apia",
        "America/St_Johns",
        "Africa/Casablanca",
        "UTC",
        "America/Santiago",
        "Asia/Beirut",
    ],
)
@pytest.mark.parametrize(
    "day",
    [
        date(2026, 3, 28),
        date(2026, 3, 29),
        date(2026, 10, 24),
        date(2026, 10, 25),
        date(2027, 4, 3),
        date(2026, 9, 5),
        date(2026, 9, 6),
    ],
)
def test_a_last_day_at_a_clock_change_is_read_back_as_that_day(zone, day):
    now = datetime.fromisoformat("2026-01-01T00:00+00:00")
    row = Experiment(zone=zone, ends_at=clean_end(day, zone, now))
    assert last_day_of(row) == day
    length = row.ends_at - clean_end(day - timedelta(days=1), zone, now)
    assert timedelta(hours=22) < length < timedelta(hours=26)


@pytest.mark.parametrize("state", [ExperimentState.running, ExperimentState.draft])
def test_another_zone_keeps_the_last_day_or_says_that_it_is_over(researcher, rows, session, write, state):
    today = utc_now().date()
    with write() as writing:
        row = writing.get_one(Experiment, rows.experiment.id)
        row.zone, row.state = "Etc/GMT+12", state
        row.ends_at = clean_end(today, "Etc/GMT+12", utc_now())
    page = f"/admin/experiment/edit/?id={rows.experiment.id}"
    form = fields_of(researcher.get(page), "zone")
    assert form["last_day"] == today.isoformat()
    answer = researcher.post(page, data=form | {"zone": "Pacific/Kiritimati", "reason": "Moved"})
    session.rollback()
    session.expire_all()
    row = session.get_one(Experiment, rows.experiment.id)
    if answer.status_code == 302:
        assert last_day_of(row) == today
    else:
        assert "is over in Pacific/Kiritimati" in words_of(answer)
    for day, wanted in (
        (today - timedelta(days=30), 400),
        (today, None),
        ("31.12.2026", 400),
        ("9999-12-31", 400),
    ):
        form = fields_of(researcher.get(page), "zone")
        got = researcher.post(page, data=form | {"last_day": str(day), "reason": "x"})
        assert got.status_code == wanted or wanted is None
