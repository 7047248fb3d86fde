"""Every screen under axe-core, in light and in the dark: nothing serious or critical."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from . import screens, steps

pytestmark = [pytest.mark.browser, pytest.mark.stack]
GRAVE = ("serious", "critical")


def grave_violations(page):
    """What axe-core finds, as lines: which rule, how often, and the first place."""
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{each['impact']} {each['id']} × {len(each['nodes'])}: {each['nodes'][0]['html'][:120]}"
        for each in found
        if each["impact"] in GRAVE
    ]


def test_no_screen_has_a_serious_violation_in_light_or_dark(page, studio):
    steps.post_now(page, studio.twin)
    steps.expect_end(page, "posted")
    wrong = []
    for path in screens.walk(page, page.url):
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            wrong += [f"{path} {scheme}: {words}" for words in grave_violations(page)]
    assert not wrong, "\n".join(wrong)
