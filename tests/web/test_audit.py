"""The audit log: who changed what, when; for administrators only, and never a secret."""

import csv
import io
import re
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from pdsapp.domain.policy import PostingPolicy
from pdsapp.models import AuditEvent, Experiment, utc_now
from pdsapp.services import protocol
from tests.web.looking import counted_queries, words_of

LIST = "/admin/audit/"
DASH = '<span class="muted">–</span>'


@pytest.fixture
def changed(rows, write):
    """A change of a policy, with a reason that looks like markup."""
    with write() as session:
        row = session.get_one(Experiment, rows.experiment.id)
        policy = replace(PostingPolicy(), share_cap=0.5)
        protocol.save_policy(session, row, row.edit_version, policy, utc_now(), "<b>pilot</b>")
    return rows


def test_the_list_says_who_did_what_and_what_differs(administrator, changed):
    words = words_of(administrator.get(LIST))
    assert "command line change Campus climate" in words
    assert "share cap: 0.70 → 0.50" in words
    assert "reason: <b>pilot</b>" in words


def test_an_event_without_values_has_a_dash_for_them(administrator, changed, write):
    with write() as session:
        session.execute(update(AuditEvent).values(before=None, after=None))
    page = administrator.get(LIST).text
    values = re.findall(r'data-label="Before and after"><div>(.*?)</div></td>', page, re.S)
    assert set(values) == {DASH}


def test_an_event_has_a_page_with_every_value(administrator, changed, session):
    number = session.scalars(select(AuditEvent.id).where(AuditEvent.action == "change")).one()
    answer = administrator.get(f"{LIST}details/?id={number}")
    words = words_of(answer)
    assert "share cap 0.70 → 0.50" in words
    assert "<b>pilot" not in answer.text


@pytest.mark.parametrize("role", ["researcher", "viewer"])
@pytest.mark.parametrize("page", ["", "details/?id=1", "export/csv/"])
def test_it_is_closed_to_others_and_not_in_their_menu(sign_in, rows, role, page):
    browser = sign_in(role)
    assert browser.get(f"{LIST}{page}").status_code == 403
    assert "Audit log" not in browser.get("/admin/").text


def test_nobody_writes_into_it(administrator, rows, app):
    rules = {rule.endpoint for rule in app.url_map.iter_rules() if rule.endpoint.startswith("audit.")}
    assert rules == {"audit.index_view", "audit.details_view", "audit.export"}
    assert administrator.post(LIST, data={"x": "1"}).status_code == 405


def test_filters_narrow_it_and_an_export_has_no_formulas(administrator, changed, session, write):
    with write() as writing:
        writing.execute(update(AuditEvent).where(AuditEvent.object_type == "persona").values(actor="=1+1"))
        writing.execute(
            update(AuditEvent)
            .where(AuditEvent.object_type == "api_token")
            .values(created_at=utc_now() - timedelta(days=60))
        )
    assert "Campus climate" not in words_of(administrator.get(f"{LIST}?kind=persona")).split("When", 1)[1]
    assert "share cap" in words_of(administrator.get(f"{LIST}?action=change"))
    assert "API token" not in words_of(administrator.get(f"{LIST}?period=30")).split("When", 1)[1]
    table = list(csv.reader(io.StringIO(administrator.get(f"{LIST}export/csv/").text)))
    assert not any(cell.startswith(("=", "+", "@")) for line in table for cell in line)
    assert any("'=1+1" in line for line in table)


def test_no_secret_is_in_it(administrator, rows):
    for page in ("", "export/csv/"):
        text = administrator.get(f"{LIST}{page}").text
        assert "sk-very-secret" not in text and "1234" not in text.replace("…1234", "")


def test_its_cost_does_not_grow_with_its_rows(administrator, changed, write):
    with counted_queries() as few:
        administrator.get(LIST)
    with write() as session:
        row = session.get_one(Experiment, changed.experiment.id)
        for number in range(20):
            policy = replace(PostingPolicy(), share_cap=0.01 * (number + 1))
            protocol.save_policy(session, row, row.edit_version, policy, utc_now(), "again")
    with counted_queries() as many:
        administrator.get(LIST)
    assert len(few) == len(many)
