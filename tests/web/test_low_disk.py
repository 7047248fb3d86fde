"""Low disk on the screens: the first line of the dashboard, and pages that answer all the same."""

import pytest

from tests.builders import make_experiment
from tests.web.looking import assert_nothing_inline, words_of


@pytest.fixture
def overrides(request):
    return getattr(request, "param", {})


@pytest.mark.parametrize("overrides", [{"PDS_MIN_FREE": "900000TB"}], indirect=True)
def test_the_dashboard_says_how_much_is_free_and_what_to_do(overrides, viewer):
    make_experiment()
    answer = viewer.get("/admin/")
    words = words_of(answer)
    assert "Disk is low: " in words and "free, 900000000 GB are wanted." in words
    assert "No attempt is taken and no model is asked until there is room." in words
    assert "lower PDS_MIN_FREE" in words
    assert_nothing_inline(answer)


def test_with_room_it_says_nothing(viewer):
    make_experiment()
    assert "Disk is low" not in words_of(viewer.get("/admin/"))


@pytest.mark.parametrize("overrides", [{"PDS_MIN_FREE": "900000TB", "PDS_METRICS_TOKEN": "m"}], indirect=True)
def test_readiness_is_not_concerned_and_metrics_have_the_figure(overrides, client):
    assert "disk" not in client.get("/readyz").get_json()["checks"]
    figures = client.get("/metrics", headers={"Authorization": "Bearer m"}).text
    assert "dt_disk_free_bytes" in figures
