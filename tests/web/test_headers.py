"""What every answer says about loading, framing and keeping."""

import re

import pytest

POLICY = {
    "default-src": "'self'",
    "style-src": "'self'",
    "script-src": "'self'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
    "object-src": "'none'",
}
PAGES = [
    "/admin/",
    "/admin/experiment/",
    "/admin/experiment/new/",
    "/admin/experiment/details/?id=1",
    "/admin/digitaltwin/",
    "/admin/digitaltwin/edit/?id=1",
    "/admin/schedule/new/",
    "/admin/attempt/",
    "/admin/nothing/",
]


@pytest.mark.parametrize(
    "path", ["/login", "/healthz", "/static/css/base.css", "/nowhere", "/first-sign-in/x"]
)
def test_strangers_get_the_same_headers(client, path):
    check(client.get(path))


@pytest.mark.parametrize("path", PAGES)
def test_pages_load_nothing_from_elsewhere_and_are_not_kept(researcher, rows, path):
    answer = researcher.get(path)
    check(answer)
    assert answer.headers["Cache-Control"] == "no-store"
    assert not re.search(r"\son[a-z]+=|\sstyle=|<style|javascript:", answer.text)
    assert not re.search(r"<script(?![^>]*\ssrc=\"/static/)", answer.text)
    for address in re.findall(r'(?:src|href|action)="([^"]*)"', answer.text):
        assert address == "" or (address.startswith(("/", "#", "?")) and not address.startswith("//")), (
            address
        )


def check(answer):
    policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
    assert policy == POLICY
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert "geolocation=()" in answer.headers["Permissions-Policy"]


@pytest.fixture
def overrides(request):
    return getattr(request, "param", {})


@pytest.fixture
def is_own_app():
    return True  # one gets a page more


@pytest.mark.parametrize(
    ("overrides", "seen"),
    [({}, "127.0.0.1 http"), ({"PDS_TRUSTED_PROXIES": "1"}, "198.51.100.7 https")],
    ids=["none trusted", "one trusted"],
    indirect=["overrides"],
)
def test_only_trusted_proxies_say_who_asks(app, client, seen):
    from flask import request

    app.add_url_rule("/healthz2", "seen", lambda: f"{request.remote_addr} {request.scheme}")
    from pdsapp.web import access

    access.PUBLIC_RULES |= {"/healthz2"}
    headers = {"X-Forwarded-For": "203.0.113.9, 198.51.100.7", "X-Forwarded-Proto": "https"}
    try:
        assert client.get("/healthz2", headers=headers).text == seen
    finally:
        access.PUBLIC_RULES -= {"/healthz2"}
