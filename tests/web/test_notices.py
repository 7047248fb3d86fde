"""The screen of notices: for administrators, without a secret, with a test that goes to the outbox."""

import pytest
from sqlalchemy import select

from pdsapp.database import reading
from pdsapp.models import AuditEvent, Notice, utc_now
from pdsapp.services import notices
from tests.web.looking import words_of

CONFIGURED = {
    "PDS_NOTICE_URL": "https://hooks.example.org/zqaddress",
    "PDS_NOTICE_SECRET": "zqsecret-of-some-length",
    "PDS_HEARTBEAT_URL": "https://alive.example.org/zqheart",
}
on = pytest.mark.parametrize("overrides", [CONFIGURED], indirect=True)


@pytest.fixture
def overrides(request):
    return getattr(request, "param", {})


def test_while_they_are_off_it_says_how_to_have_them(administrator):
    words = words_of(administrator.get("/admin/notices/"))
    assert "Notices are off. Set PDS_NOTICE_URL and PDS_NOTICE_SECRET" in words
    assert "Send a test" not in words


def test_a_test_without_an_address_is_refused_with_what_to_do(administrator):
    assert administrator.post("/admin/notices/test").status_code == 400
    with reading() as session:
        assert session.scalars(select(Notice)).all() == []


@on
def test_a_test_waits_in_the_outbox_is_audited_and_shown(administrator):
    assert administrator.post("/admin/notices/test").status_code == 302
    words = words_of(administrator.get("/admin/notices/"))
    assert "This is a test." in words and "not tried yet" in words
    with reading() as session:
        assert session.scalars(select(Notice.event)).all() == ["test"]
        assert "test notices" in session.scalars(select(AuditEvent.action)).all()
    assert administrator.get("/admin/audit/").status_code == 200


@on
def test_no_address_or_secret_stands_on_it_or_on_the_system_page(administrator):
    for page in ("/admin/notices/", "/system"):
        assert "zq" not in administrator.get(page).text


@on
def test_a_notice_that_was_given_up_is_on_the_dashboard_with_a_way_to_the_screen(
    administrator, viewer, write
):
    with write() as session:
        notice = notices.add_test(session, utc_now(), None)
        notice.is_waiting, notice.given_up_at, notice.problem = False, utc_now(), "No answer."
    text = administrator.get("/admin/").text
    assert "Notices cannot be delivered." in text and "See the notices" in text
    assert "See the notices" not in viewer.get("/admin/").text
    assert "given up" in words_of(administrator.get("/admin/notices/"))


@pytest.mark.parametrize("who", ["viewer", "researcher"])
def test_only_administrators_see_it(request, who):
    browser = request.getfixturevalue(who)
    assert browser.get("/admin/notices/").status_code == 403
    assert browser.post("/admin/notices/test").status_code == 403
