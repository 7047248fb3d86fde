"""Limits of a token on its screens, why an attempt waits, and endpoints that are left alone."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from pdsapp.llm.endpoint import place_of
from pdsapp.models import ApiToken, Attempt, AuditEvent, EndpointBreaker, ProcessKind, ProtocolChange, utc_now
from pdsapp.services import heartbeats
from tests import builders
from tests.web.looking import assert_nothing_inline, words_of
from tests.web.test_admin_tokens import edit, form

LIMITS = {"max_at_once": "3", "max_per_minute": "1,200", "max_tokens_per_minute": "90000"}


def stored(session):
    session.rollback()
    session.expire_all()
    return session.scalars(select(ApiToken).order_by(ApiToken.id.desc())).first()


@pytest.fixture
def down(app, settings, write):
    """Makes a breaker for an address; it has been open for three minutes."""

    def put(url, **changes):
        now = utc_now()
        with write() as session:
            session.add(
                EndpointBreaker(
                    **{
                        "place": place_of(url), "failures": 7, "detail": "It answered with status 502.",
                        "failed_at": now - timedelta(seconds=20), "opened_at": now - timedelta(minutes=3),
                        "next_probe_at": now + timedelta(seconds=40), **changes,
                    }
                )
            )  # fmt: skip

    return put


def test_limits_are_kept_shown_exported_and_audited(researcher, session):
    assert researcher.post("/admin/apitoken/new/", data=form(**LIMITS)).status_code == 302
    token = stored(session)
    assert (token.max_at_once, token.max_per_minute, token.max_tokens_per_minute) == (3, 1200, 90_000)
    words = "3 calls at once, 1,200 requests a minute, 90,000 tokens a minute"
    assert f"at most {words}" in words_of(researcher.get("/admin/apitoken/"))
    page = researcher.get(f"/admin/apitoken/details/?id={token.id}")
    assert words in words_of(page)
    assert_nothing_inline(page)
    edit_page = researcher.get(f"/admin/apitoken/edit/?id={token.id}").text
    assert 'value="1,200"' in edit_page and 'placeholder="no limit"' in edit_page
    lines = researcher.get("/admin/apitoken/export/csv/").text.splitlines()
    assert "Calls at once,Requests per minute,Tokens per minute" in lines[0]
    assert ",3,1200,90000," in lines[1]
    event = session.scalars(select(AuditEvent).where(AuditEvent.object_type == "api_token")).one()
    assert event.after["limits"] == words


def test_a_changed_limit_is_audited_and_no_change_of_a_protocol(researcher, rows, session):
    assert edit(researcher, rows, max_per_minute="60").status_code == 302
    assert stored(session).max_per_minute == 60
    event = session.scalars(select(AuditEvent).order_by(AuditEvent.id.desc())).first()
    assert (event.before, event.after) == ({"limits": "none"}, {"limits": "60 requests a minute"})
    assert session.scalars(select(ProtocolChange)).all() == []
    assert edit(researcher, rows, max_per_minute=" none ", edit_version=2).status_code == 302
    assert stored(session).max_per_minute is None


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("max_at_once", "0", "Write a whole number from 1 to 10,000, for example 8"),
        ("max_at_once", "10001", "from 1 to 10,000"),
        ("max_at_once", "-3", "from 1 to 10,000"),
        ("max_per_minute", "2.5", "from 1 to 1,000,000"),
        ("max_per_minute", "\u0663", "from 1 to 1,000,000"),
        ("max_per_minute", "9" * 400, "from 1 to 1,000,000"),
        ("max_tokens_per_minute", "99", "from 100 to 1,000,000,000"),
        ("max_tokens_per_minute", "many", "leave it empty, or write none, for no limit"),
    ],
)
def test_what_is_no_limit_is_refused_at_its_field_and_nothing_is_stored(
    researcher, session, field, value, words
):
    answer = researcher.post("/admin/apitoken/new/", data=form(**{field: value}))
    assert answer.status_code == 400 and words in words_of(answer)
    assert stored(session) is None


def test_an_attempt_says_what_it_waits_for(viewer, rows, write, session):
    attempt_id = builders.add_attempt(rows.twin)
    why = "API token “Lab”: its requests of this minute are used up."
    with write() as own:
        found = own.get_one(Attempt, attempt_id)
        found.not_before, found.waits_for = utc_now() + timedelta(seconds=40), why
        heartbeats.beat(own, ProcessKind.worker, "worker", utc_now(), lanes="now,default")
        uuid = found.uuid
    assert f"; it is asked then. {why}" in words_of(viewer.get(f"/attempts/{uuid}"))
    assert why in words_of(viewer.get("/activity"))


def test_an_endpoint_that_does_not_work_leads_the_list_with_what_to_do(researcher, administrator, rows, down):
    down("https://llm.example.org:443/v1")
    words = words_of(researcher.get("/admin/"))
    assert "Endpoint https://llm.example.org:443/v1 does not work." in words
    assert "Left alone for 3 min after 7 failures in a row, the last 20 s ago." in words
    assert "It answered with status 502. Attempts that need it wait, up to 1 h each" in words
    assert "See the token" in words
    words = words_of(administrator.get("/system"))
    assert "https://llm.example.org:443/v1 does not work." in words


def test_the_page_of_a_token_says_that_its_endpoint_is_down_and_what_is_put_off(
    researcher, rows, write, session, settings, down
):
    address = f"/admin/apitoken/details/?id={rows.token.id}"
    other = builders.make_token(settings, "https://other.example.org/v1")
    twins = [builders.make_twin(rows.experiment, token=each) for each in (rows.token, rows.token, other)]
    assert "does not work" not in words_of(researcher.get(address))
    assert "put off" not in words_of(researcher.get(address))
    down("https://llm.example.org/v1")
    attempts = [builders.add_attempt(each) for each in twins]
    with write() as own:
        for number in attempts:
            found = own.get_one(Attempt, number)
            found.not_before, found.waits_for = utc_now() + timedelta(minutes=4), "Its requests are used up."
    words = words_of(researcher.get(address))
    assert "Its endpoint does not work. Left alone for 3 min after 7 failures in a row" in words
    assert "2 attempts are put off. Its requests are used up." in words
    assert edit(researcher, rows, max_per_minute="200").status_code == 302
    session.rollback()
    due = dict(session.execute(select(Attempt.id, Attempt.not_before <= utc_now())).all())
    assert [due[number] for number in attempts] == [True, True, False], "those of the token are tried at once"
    assert "put off" not in words_of(researcher.get(address))


def test_failures_that_are_not_five_and_endpoints_nobody_asks_any_more_are_not_told(researcher, rows, down):
    down("https://llm.example.org/v1", opened_at=None)
    down("https://old.example.org/v1", failed_at=utc_now() - timedelta(days=8))
    assert "does not work" not in words_of(researcher.get("/admin/"))


def test_who_sees_no_twin_of_an_endpoint_is_not_told_of_it(sign_in, rows, down):
    down("https://llm.example.org/v1")
    assert "does not work" not in words_of(
        sign_in("viewer", "other@example.org", sees_all=False).get("/admin/")
    )
