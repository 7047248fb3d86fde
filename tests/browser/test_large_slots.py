"""A slot that asks each of 2,500 twins, in the real stack: expanded, followed, and stopped half way."""

import re
from datetime import timedelta

import pytest
from playwright.sync_api import expect

from pdsapp import create_app
from pdsapp.config import read_settings
from pdsapp.database import transaction
from pdsapp.extensions import db
from pdsapp.models import Experiment, OverlapPolicy, utc_now
from pdsapp.services import schedules
from tests import builders
from tests.twins import add_many

from .test_control_room import SIZES, look, open_at
from .test_post_now import NARROW

pytestmark = [pytest.mark.browser, pytest.mark.stack]
COUNT = 2_500
ALL_ASKED = re.compile(r"^\s*2,500 asked")


@pytest.fixture(scope="module")
def schedule(stack):
    """The id of a schedule whose first slot is due in a moment and spread over its hour."""
    app = create_app(read_settings(PDS_DATA_DIR=str(stack.data_dir), PDS_DEMO="0"), with_web=False)
    with app.app_context():
        experiment = builders.make_experiment("Ten thousand", zone="Europe/Rome")
        add_many(experiment, COUNT)
        now = utc_now()
        with transaction() as session:
            wish = schedules.Wish(
                "Everybody, hourly", session.get_one(Experiment, experiment.id), interval_seconds=3600,
                anchor_at=now + timedelta(seconds=2), jitter_seconds=3600, asks_all=True,
                overlap_policy=OverlapPolicy.allow, is_enabled=True,
            )  # fmt: skip
            made = schedules.add_schedule(session, wish, now)
            session.flush()
            found = made.id
        db.session.remove()
        db.engine.dispose()
    return found


def reload_until(page, holds):
    """Loads the page again and again until this holds, or a minute is over."""
    for _ in range(60):
        if holds():
            return
        page.wait_for_timeout(1_000)
        page.reload()


@SIZES
def test_how_far_a_large_slot_is_stands_on_its_page_and_on_the_dashboard(page, schedule, size):
    open_at(page, f"/admin/schedule/details/?id={schedule}", size)
    reload_until(page, lambda: page.get_by_text(ALL_ASKED).count())
    expect(page.get_by_text(ALL_ASKED).first).to_be_visible()
    page.get_by_role("button", name="Stop this slot").scroll_into_view_if_needed()
    look(page, "large-slot", size)
    open_at(page, "/admin/schedule/", size)
    expect(page.get_by_text("each active twin").first).to_be_visible()
    look(page, "large-slot-list", size)
    open_at(page, "/admin/?experiment=", size)
    page.get_by_text("now: 2,500 asked").first.scroll_into_view_if_needed()
    look(page, "large-slot-dashboard", size)


@SIZES
def test_each_of_them_is_ticked_beside_the_number(page, schedule, size):
    open_at(page, f"/admin/schedule/edit/?id={schedule}", size)
    expect(page.get_by_label("Ask each of them")).to_be_checked()
    page.get_by_label("Ask each of them").evaluate("box => box.scrollIntoView({block: 'center'})")
    look(page, "large-slot-form", size)


def test_stopped_by_its_button_nothing_of_it_is_left(page, schedule):
    open_at(page, f"/admin/schedule/details/?id={schedule}", NARROW)
    stop = page.get_by_role("button", name="Stop this slot")
    reload_until(page, stop.count)
    stop.click()
    page.get_by_role("dialog").get_by_role("button", name="Stop this slot").click()
    expect(page.get_by_text("waiting were cancelled").first).to_be_visible(timeout=30_000)
    reload_until(page, lambda: not stop.count())  # those a worker had at that moment end soon
    expect(stop).to_have_count(0)
    page.get_by_text("The slot was stopped").first.scroll_into_view_if_needed()
    look(page, "large-slot-stopped", NARROW)
