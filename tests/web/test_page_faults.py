"""Absurd addresses: every page of the control room answers with what it can show, or with a sentence."""

import re

import pytest
import sqlalchemy as sa

from pdsapp.models import Attempt, Base, utc_now
from tests.attempt_rows import add_row

from .looking import words_of

TOKEN = "metrics-token-0123456789abcdef"
NOBODY = "00000000-0000-0000-0000-000000000000"
LONG = "x" * 10_000

# As they stand in an address, percent-encoded where a browser would.
VALUES = {
    "nothing": "",
    "NUL inside": "a%00b",
    "no UTF-8": "%ff%fe%80",
    "half a percent": "%zz%",
    "lone surrogate": "%ed%a0%80",
    "10 kB of letters": LONG,
    "10 kB of digits": "9" * 10_000,
    "a superscript": "%c2%b2",
    "minus one": "-1",
    "1e400": "1e400",
    "beyond 32 bits": "2147483648",
    "beyond 64 bits": "9223372036854775808",
    "foreign id": NOBODY,
    "markup": "%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
}
PLACES = {
    "other digits": "%d9%a3",
    "the last of 32 bits": "2147483647",
    "the last of 64 bits": "9223372036854775807",
    "not a number": "nan",
    "year 1": "0001-01-01T00:00",
    "year 1 in UTC": "0001-01-01T00:00Z",
    "year 1 far east": "0001-01-01T00:00%2B14:00",
    "year 9999": "9999-12-31T23:59",
    "year 9999 in UTC": "9999-12-31T23:59Z",
    "year 9999 far west": "9999-12-31T23:59-12:00",
    "year 10000": "10000-01-01T00:00",
    "a negative year": "-0044-03-15T12:00",
    "cursor of year 1": "-62135596800000000.0.0",
    "cursor before year 1": "-99999999999999999999.0.0",
    "cursor of year 9999": "253402300799999999.1.0",
    "cursor of 10 kB": "9" * 5_000 + ".1.0",
}
OF_PLACES = {"since", "from", "until", "before", "after", "page"}

# `experiment` comes last: it may choose one for all that follows.
STREAM = (
    "scope", "since", "twin", "schedule", "trigger", "state", "reason", "class", "part", "model", "from",
    "until", "search", "before", "after", "experiment",
)  # fmt: skip
LIST = ("page", "page_size", "sort", "desc", "search", "flt0_0", "twin", "state", "rehearsal", "experiment")
FEED = ("who", "author", "search", "hidden", "marks", "before", "after", "start", "as", "experiment")

# Page: the parameters that it reads, or that a neighbour reads and somebody may leave in the address.
PAGES = {
    "/admin/": ("period", "part", "experiment"),
    "/dashboard/over-time.csv": ("period", "experiment"),
    "/dashboard/VALUE.csv": ("period",),
    "/activity": STREAM,
    "/activity/rows": STREAM,
    "/activity/now": ("experiment",),
    "/attempts/ATTEMPT": ("since", "experiment"),
    "/attempts/ATTEMPT/state": ("since",),
    "/attempts/ATTEMPT/brief": ("since",),
    "/attempts/ATTEMPT/progress": ("since",),
    "/attempts/VALUE": (),
    "/attempts/VALUE/state": (),
    "/attempts/VALUE/brief": (),
    "/attempts/VALUE/progress": (),
    "/admin/attempt/": ("reason", "class", "trigger", *LIST),
    "/admin/attempt/details/": ("id",),
    "/admin/attempt/export/csv/": LIST,
    "/admin/post/": ("author", "kind", "visibility", *LIST),
    "/admin/post/details/": ("id", "url"),
    "/admin/post/export/csv/": LIST,
    "/experiments/EXPERIMENT/feed": FEED,
    "/experiments/EXPERIMENT/feed.csv": FEED,
    "/experiments/EXPERIMENT/feed.jsonl": FEED,
    "/experiments/VALUE/feed": (),
    "/experiments/VALUE/feed.csv": (),
    "/admin/digitaltwin/ask/": ("id", "url", "length"),
    "/system": ("experiment",),
    "/metrics": ("experiment",),
    "/admin/notices/": ("experiment",),
    "/admin/userprofile/withdraw/": ("id", "url"),
    "/healthz": ("experiment",),
    "/readyz": ("experiment",),
}


@pytest.fixture
def overrides():
    return {"PDS_METRICS_TOKEN": TOKEN, "REDIS_URL": "unix:///nowhere/socket?db=0"}


@pytest.fixture
def place(app, session, rows, schedule):
    """The page's path with the ids of rows that are there; what crashes is a page, as on a server."""
    app.config.update(TESTING=False, PROPAGATE_EXCEPTIONS=False)
    app.extensions["queue_sign"].note(is_away=True)
    uuid = session.get_one(Attempt, add_row(rows.twin, "posted", "drawn", utc_now(), draw=0.9)).uuid
    return lambda path: path.replace("ATTEMPT", str(uuid)).replace("EXPERIMENT", rows.experiment.identifier)


def contents(session):
    """Every row of every table but the audit log, in which downloads are noted."""
    session.rollback()
    tables = [table for table in Base.metadata.sorted_tables if table.name != "audit_event"]
    return {table.name: sorted(map(str, session.execute(sa.select(table)))) for table in tables}


def addresses(path, names):
    """(what is absurd, address) of every parameter with every value, alone and repeated."""
    for what, value in VALUES.items():
        if "VALUE" in path:
            yield what, path.replace("VALUE", value.replace("/", "") or "%20")
    for name in names:
        for what, value in (VALUES | PLACES if name in OF_PLACES else VALUES).items():
            yield f"{name}: {what}", f"{path}?{name}={value}".replace("VALUE", "over-time")
        yield f"{name}: repeated", f"{path}?{name}=a&{name}=1&{name}={LONG}&{name}[]=2".replace("VALUE", "x")


@pytest.mark.database
@pytest.mark.parametrize("path", PAGES)
def test_an_absurd_address_gets_a_page_or_a_sentence_and_changes_nothing(administrator, place, session, path):
    before, wrong = contents(session), []
    for what, address in addresses(place(path), PAGES[path]):
        answer = administrator.get(address, headers={"Authorization": f"Bearer {TOKEN}"})
        is_fine = answer.status_code < 500 or path == "/readyz"
        if answer.status_code >= 400 and path != "/readyz":
            is_fine = is_fine and says_what_to_do(answer)
        if not is_fine:
            wrong.append((what, answer.status_code, words_of(answer)[-200:]))
    assert wrong == []
    assert contents(session) == before


@pytest.mark.database
@pytest.mark.parametrize("query", ["after=2147483647&state=posted", "before=2147483647"])
def test_a_place_at_the_end_of_all_numbers_is_one(viewer, rows, query):
    add_row(rows.twin, "posted", "drawn", utc_now(), draw=0.9)
    answer = viewer.get(f"/activity?{query}")
    assert (answer.status_code, "@maya_reads" in answer.text) == (200, True)


@pytest.mark.database
@pytest.mark.parametrize("key", ["2147483648", "999999999999", "-1", "%00", "\u0663"])
def test_rows_that_no_number_leads_to_are_not_chosen(administrator, rows, session, key):
    before = contents(session)
    sent = {
        "/admin/digitaltwin/action/": {"action": "deactivate", "rowid": key},
        "/admin/digitaltwin/post-now/": {"id": key, "request_id": "web-0123456789abcdef"},
        "/admin/userprofile/withdraw/": {"id": key, "username": "ada"},
        "/admin/digitaltwin/new/": {"experiment": key, "username": "lena", "persona_version": key},
    }
    for path, data in sent.items():
        assert administrator.post(path, data=data, follow_redirects=True).status_code < 500, path
    assert contents(session) == before


def says_what_to_do(answer):
    """Whether an error page has a sentence of its own or the usual one, short enough to be read."""
    found = re.search(r'<p class="lead">(.*?)</p>', answer.text, re.S)
    return bool(found) and 20 < len(found[1]) < 600 and found[1].strip().endswith((".", "”"))
