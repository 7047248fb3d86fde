"""X-Forwarded-Prefix: believed from a proxy that is trusted, if it is a plain path."""

import pytest


@pytest.fixture
def overrides(request):
    return {"PDS_TRUSTED_PROXIES": str(request.param)}


@pytest.mark.parametrize(
    ("overrides", "told", "led_to"),
    [
        (0, "/twins", "/login"),
        (1, "/twins", "/twins/login"),
        (1, "/twins/", "/twins/login"),
        (1, "/theirs, /labs/twins", "/labs/twins/login"),
        (2, "/labs, /twins", "/labs/login"),
        (2, "/twins", "/login"),
        (1, "//evil.example", "/login"),
        (1, "/twins\\x", "/login"),
        (1, "https://evil.example", "/login"),
        (1, "/../x", "/login"),
        (1, "", "/login"),
    ],
    ids=str,
    indirect=["overrides"],
)
def test_where_a_stranger_is_led(client, told, led_to):
    answer = client.get("/activity", headers={"X-Forwarded-Prefix": told})
    assert answer.location.partition("?")[0] == led_to
