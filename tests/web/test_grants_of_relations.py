"""What is seen of other experiments through rows of none or of several, and by what a thread does later."""

from contextvars import Context

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from pdsapp import grants
from pdsapp.database import reading
from pdsapp.models import Base, Experiment, Schedule, utc_now
from pdsapp.services import schedules
from tests.web import test_grants
from tests.web.test_grants import SECRET

two, granted = test_grants.two, test_grants.granted

UNLIMITED = {
    "Account", "ApiToken", "Downtime", "Heartbeat", "Installation", "Membership", "Persona",
    "PersonaVersion", "PostingPolicyVersion", "PromptVersion", "Role", "SignInLink",
}  # fmt: skip


def test_nothing_that_belongs_to_no_experiment_leads_to_what_belongs_to_one():
    leads = {
        f"{mapper.class_.__name__}.{relation.key}"
        for mapper in Base.registry.mappers
        for relation in mapper.relationships
        if mapper.class_.__name__ in UNLIMITED and relation.mapper.class_.__name__ not in UNLIMITED
    }
    assert leads == set()


@pytest.fixture
def moved(two, write):
    """The schedule that has asked the granted experiment asks the other one now, under another name."""
    with write() as session:
        row = session.get_one(Schedule, two.own.schedule.id)
        foreign = session.get_one(Experiment, two.foreign.experiment.id)
        for name in ("Daily mine", f"Now {SECRET}"):
            wish = schedules.Wish(name, foreign, cron="0 9 * * *", is_enabled=True)
            schedules.change_schedule(session, row, wish, utc_now(), seen=row.edit_version, reason="Moved")
            session.flush()
    return two


@pytest.mark.parametrize("role", ["viewer", "researcher"])
def test_a_schedule_that_asks_another_experiment_by_now_is_not_told_of_by_what_it_did_before(
    moved, granted, role
):
    browser, own = granted(role), moved.own
    for path in (
        f"/attempts/{own.attempt.uuid}",
        f"/attempts/{own.attempt.uuid}?form=json",
        "/activity",
        "/admin/",
        "/admin/attempt/",
        "/admin/attempt/export/csv/",
        f"/admin/attempt/details/?id={own.attempt.id}",
        "/admin/schedule/",
        f"/admin/schedule/details/?id={own.schedule.id}",
        f"/admin/schedule/edit/?id={own.schedule.id}",
        f"/admin/digitaltwin/details/?id={own.twin.id}",
        f"/admin/experiment/details/?id={own.experiment.id}",
        f"/experiments/{own.experiment.identifier}/feed",
        "/admin/post/",
    ):
        answer = browser.get(path, follow_redirects=True)
        assert answer.status_code < 500, path
        assert SECRET not in answer.text.lower(), path


@pytest.fixture
def thread(app):
    """`thread(do, browser)` gives `do` the same browser, whose requests share one context as on a thread."""

    def run(do, *browsers):
        def plain(browser):
            client = FlaskClient(app, app.response_class, use_cookies=True)
            client._cookies = browser._cookies
            return client

        return Context().run(do, *[plain(browser) for browser in browsers])

    return run


def count_experiments(app):
    with app.app_context(), reading() as session:
        return session.scalar(sa.select(sa.func.count(Experiment.id)))


def test_what_a_thread_does_after_a_limited_request_is_not_limited(
    app, moved, granted, administrator, client, thread
):
    own = f"/experiments/{moved.own.experiment.identifier}/feed"
    foreign = f"/experiments/{moved.foreign.experiment.identifier}/feed"

    def go(limited, boss, stranger):
        assert limited.get(own).status_code == 200 and limited.get(foreign).status_code == 404
        assert count_experiments(app) == 2, "what runs on this thread between two requests"
        assert stranger.get("/healthz").status_code == 200 and not grants.is_limited()
        assert limited.get(own).status_code == 200
        assert boss.get(foreign).status_code == 200
        assert limited.get(foreign).status_code == 404, "the limit is back after an administrator's request"
        assert limited.get("/nowhere").status_code == 404
        listed = app.test_cli_runner().invoke(args=["experiments", "list"])
        assert moved.foreign.experiment.identifier in listed.output
        assert count_experiments(app) == 2

    thread(go, granted("viewer"), administrator, client)


def test_an_error_in_a_limited_request_leaves_no_limit(app, moved, granted, monkeypatch, thread):
    browser = granted("viewer")
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.config["TESTING"] = False

    def burst(*_args, **_options):
        assert grants.is_limited()
        raise RuntimeError("burst")

    monkeypatch.setitem(app.view_functions, "activity.stream", burst)

    def go(limited):
        assert limited.get("/activity").status_code == 500
        assert not grants.is_limited() and count_experiments(app) == 2

    thread(go, browser)
