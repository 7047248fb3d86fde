"""The site below a path of its host: no address leads out of it, no cookie is sent elsewhere."""

import re
from collections import deque
from html import unescape
from urllib.parse import urljoin

import pytest

from pdsapp.models import Attempt
from tests import builders

HOST = "https://lab.example.org"
PREFIX = "/twins"
ADDRESSES = re.compile(r'\s(?:href|src|action|formaction|value|data-(?!themes)[a-z-]+)="(/[^"]*)"')
MOST_PAGES = 250


@pytest.fixture(params=["kept", "taken away"])
def passes(request):
    """What the proxy does with the path."""
    return request.param


@pytest.fixture
def overrides():
    return {"PDS_PUBLIC_URL": f"{HOST}{PREFIX}/"}


def take_away(application):
    """A proxy that passes on what is below the path, and nothing else."""

    def proxy(environ, start_response):
        path = environ["PATH_INFO"]
        if not path.startswith(f"{PREFIX}/"):
            start_response("502 Outside", [])
            return [b"outside"]
        environ["PATH_INFO"] = path[len(PREFIX) :]
        return application(environ, start_response)

    return proxy


@pytest.fixture
def browser(app, write, client, passes):
    """An administrator who has signed in at the path."""
    if passes == "taken away":
        app.wsgi_app = take_away(app.wsgi_app)
    with write() as session:
        from pdsapp.services.accounts import add_account
        from tests.conftest import NOON
        from tests.web.conftest import PASSWORD

        add_account(session, "a@example.org", "administrator", NOON, PASSWORD)
    answer = client.post(
        f"{PREFIX}/login", base_url=HOST, data={"email": "a@example.org", "password": PASSWORD}
    )
    assert (answer.status_code, answer.location) == (302, f"{PREFIX}/")
    return client


def addresses(answer):
    return {unescape(found) for found in ADDRESSES.findall(answer.text)}


def without_numbers(path):
    return re.sub(r"[0-9a-f-]{36}|\d+", "N", path.partition("?")[0])


def test_every_page_that_is_linked_stays_below_the_path(browser, rows, session, settings, model_server):
    builders.add_attempt(rows.twin)
    wanted, seen, outside = deque([f"{PREFIX}/"]), set(), set()
    while wanted and len(seen) < MOST_PAGES:
        path = wanted.popleft()
        if without_numbers(path) in seen or path.endswith("/logout"):
            continue
        seen.add(without_numbers(path))
        answer = browser.get(path, base_url=HOST)
        # 400: an address that a script or a form completes first
        assert answer.status_code in (200, 302, 308, 400), f"{path}: {answer.status_code}"
        found = {answer.location} if answer.location else set()
        if answer.mimetype == "text/html":
            found |= addresses(answer)
        outside |= {f"{path} → {each}" for each in found if not urljoin(path, each).startswith(f"{PREFIX}/")}
        wanted.extend(urljoin(path, each) for each in found if is_a_get(answer, each))
    assert not outside
    assert len(seen) > 40, seen
    assert session.query(Attempt).count() == 1


def is_a_get(answer, address):
    """Forms that change something are not sent."""
    return f'action="{address}"' not in unescape(answer.text) and "/static/" not in address


def test_styles_and_scripts_are_there(browser):
    page = browser.get(f"{PREFIX}/admin/", base_url=HOST)
    files = {each for each in addresses(page) if "/static/" in each}
    assert len(files) > 15
    assert {browser.get(each, base_url=HOST).status_code for each in files} == {200}


def test_cookies_are_sent_to_the_path_only_and_over_https(browser):
    answer = browser.post(
        f"{PREFIX}/theme", base_url=HOST, data={"theme": "dark", "next": f"{PREFIX}/system"}
    )
    assert answer.location == f"{PREFIX}/system"
    session_cookie = browser.get_cookie("discourse_twins", "lab.example.org", PREFIX)
    theme = browser.get_cookie("theme", "lab.example.org", PREFIX)
    assert (session_cookie.path, session_cookie.secure) == (PREFIX, True)
    assert (theme.path, theme.value) == (PREFIX, "dark")
    page = browser.get(f"{PREFIX}/admin/", base_url=HOST).text
    assert f'data-themes="{PREFIX}"' in page, "the script writes the cookie with the same path"


def test_strangers_come_back_to_the_page_they_asked_for(browser):
    browser.post(f"{PREFIX}/logout", base_url=HOST)
    answer = browser.get(f"{PREFIX}/activity?state=posted", base_url=HOST)
    assert answer.location == f"{PREFIX}/login?next={PREFIX}/activity?state%3Dposted"
    from tests.web.conftest import PASSWORD

    fields = {"email": "a@example.org", "password": PASSWORD, "next": f"{PREFIX}/activity?state=posted"}
    answer = browser.post(f"{PREFIX}/login", base_url=HOST, data=fields)
    assert answer.location == f"{PREFIX}/activity?state=posted"


def test_buttons_of_the_frame_lead_back_and_not_outside(browser, rows):
    switch = f"{PREFIX}/switch"
    for asked, reached in [
        (f"{PREFIX}/activity?state=posted", f"{PREFIX}/activity?state=posted"),
        ("/activity", f"{PREFIX}/admin/"),
        ("//evil.example/", f"{PREFIX}/admin/"),
        (f"{PREFIX}//evil.example/", f"{PREFIX}/admin/"),
    ]:
        answer = browser.post(switch, base_url=HOST, data={"experiment": "", "next": asked})
        assert answer.location == reached


def test_the_page_one_is_on_is_marked_in_the_menu(browser):
    page = browser.get(f"{PREFIX}/activity", base_url=HOST).text
    assert f'<a href="{PREFIX}/activity" aria-current="page">' in page


def test_health_is_answered_at_both_places(app, client):
    assert client.get("/healthz").status_code == 200
    assert client.get(f"{PREFIX}/healthz").status_code == 200


def test_the_one_time_link_of_the_command_line_is_one_that_can_be_opened(app, client):
    said = app.test_cli_runner().invoke(args=["create-admin", "b@example.org"]).stdout.strip()
    assert said.startswith(f"{HOST}{PREFIX}/first-sign-in/")
    assert client.get(said.removeprefix(HOST), base_url=HOST).status_code == 200
